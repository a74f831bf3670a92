// selene-inspect: what is in a checkpoint or another safetensors file, in the folder of a run, in a prepared data
// set.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <string>

#include "data/io/json.h"
#include "data/io/printable.h"
#include "data/prepared.h"
#include "kernels/error.h"
#include "tools/programs/inspect_data.h"
#include "tools/programs/program.h"
#include "train/folder/checkpoint_files.h"
#include "train/folder/log.h"
#include "train/folder/run_folder.h"

namespace {

namespace fs = std::filesystem;
using selene::Error;
using selene::data::Json;
using selene::data::SafetensorsFile;

struct Options {
  std::string path, string_name;  // string_name: the metadata string to print, empty = a summary of everything
  bool json = false;
  selene::DataView view;
};

/// Numbers with a comma between thousands, as people read them.
std::string grouped(uint64_t n) {
  std::string text = std::to_string(n);
  for (size_t at = text.size(); at > 3;) text.insert(at -= 3, 1, ',');
  return text;
}

using selene::print_line;

/// A metadata string line for line: what this program writes has no character that is changed here.
void print_string(const std::string& text) { selene::print(text.ends_with('\n') ? text : text + "\n"); }

std::string padded(std::string text, size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

/// What verification says: "ok", "none" for a file that is no checkpoint, or the reason.
std::string verdict_on(const SafetensorsFile& file) {
  if (!selene::train::is_checkpoint(file)) return "none";
  try {
    selene::train::verify_checkpoint(file);
    return "ok";
  } catch (const Error& e) {
    return e.what();
  }
}

/// A metadata string as JSON if it is an object or a list, otherwise as it is.
Json string_as_json(const std::string& text) {
  if (!text.starts_with('{') && !text.starts_with('[')) return text;
  try {
    return selene::data::parse_json(text, "");
  } catch (const Error&) {
    return text;
  }
}

Json describe(const SafetensorsFile& file) {
  uint64_t elements = 0;
  Json::List tensors;
  Json::Members metadata;
  for (const auto& e : file.entries()) {
    elements += uint64_t(e.numel());
    tensors.push_back({{"name", e.name},
                       {"dtype", selene::name_of(e.dtype)},
                       {"shape", e.shape},
                       {"elements", e.numel()},
                       {"bytes", e.end - e.begin}});
  }
  for (const auto& [key, value] : file.metadata()) metadata.emplace_back(key, string_as_json(value));
  return {{"file", file.path()},  {"bytes", file.size()},          {"checkpoint", verdict_on(file)},
          {"elements", elements}, {"tensors", std::move(tensors)}, {"metadata", Json(std::move(metadata))}};
}

/// One line for a metadata string: short ones whole, long ones by size.
std::string brief(const std::string& key, const std::string& value) {
  if (value.size() <= 80 && selene::data::printable(value) == value) return value;
  return grouped(value.size()) + " bytes (--show " + key + ")";
}

void print_tensors(const SafetensorsFile& file) {
  size_t width = 6;
  uint64_t elements = 0;
  for (const auto& e : file.entries()) width = std::max(width, e.name.size());
  print_line(padded("tensor", width) + "  dtype  elements      shape");
  for (const auto& e : file.entries()) {
    elements += uint64_t(e.numel());
    print_line(padded(e.name, width) + "  " + padded(selene::name_of(e.dtype), 5) + "  " +
               padded(grouped(uint64_t(e.numel())), 12) + "  " + Json(e.shape).dump());
  }
  print_line(grouped(file.entries().size()) + " tensors, " + grouped(elements) + " elements, " +
             grouped(file.size()) + " bytes");
}

void inspect_tensors(const Options& o) {
  const SafetensorsFile file(o.path);
  if (!o.string_name.empty()) {
    const auto it = file.metadata().find(o.string_name);
    if (it == file.metadata().end()) throw Error(o.path + ": has no \"" + o.string_name + "\" in its metadata");
    print_string(it->second);
    return;
  }
  const std::string verdict = verdict_on(file);
  if (o.json) {
    print_line(describe(file).dump());
  } else {
    print_line(o.path + ": " + (verdict == "none" ? "safetensors file, not a checkpoint" : "checkpoint"));
    for (const auto& [key, value] : file.metadata()) print_line("  " + padded(key, 16) + " " + brief(key, value));
    if (verdict == "ok") print_line("  checksum verified");
    print_tensors(file);
  }
  if (verdict != "none" && verdict != "ok") throw Error(verdict);
}

Json describe_run(const std::string& folder) {
  Json::List list;
  const selene::train::RunCheckpoints all = selene::train::find_checkpoints(folder);
  for (const auto& c : selene::train::list_checkpoints(folder)) {
    const std::string name = fs::path(c.path).filename().string();
    const bool last = all.newest && c.path == all.newest->file.path();
    const bool best = all.validated && c.path == all.best->file.path();
    Json one{{"update", c.update}, {"file", name}, {"last", last}, {"best", best}};
    try {
      one.update({{"bytes", selene::train::open_checkpoint(c).file.size()}, {"problem", ""}});
    } catch (const Error& e) {
      one.set("problem", e.what());
    }
    list.push_back(std::move(one));
  }
  return {{"folder", folder}, {"checkpoints", std::move(list)}, {"problem", all.lost}};
}

void inspect_run(const std::string& folder, const Options& o) {
  if (!o.string_name.empty()) {
    const auto newest = selene::train::newest_valid_checkpoint(folder);
    if (!newest.found) throw Error(folder + ": has no checkpoint that verifies");
    print_string(newest.found->metadata(o.string_name));
    return;
  }
  const Json run = describe_run(folder);
  if (o.json) return print_line(run.dump());
  const Json::List checkpoints = run.get<Json::List>("checkpoints");
  print_line(folder + ": " + std::to_string(checkpoints.size()) + " checkpoints, newest first");
  for (const Json& c : checkpoints) {
    const std::string problem = c.get<std::string>("problem");
    const std::string state =
        problem.empty() ? grouped(uint64_t(c.get<int64_t>("bytes"))) + " bytes, verified" : "REFUSED: " + problem;
    print_line("  " + c.get<std::string>("file") + (c.get<bool>("last") ? "  last" : "") +
               (c.get<bool>("best") ? "  best" : "") + "  " + state);
  }
  if (const std::string lost = run.get<std::string>("problem"); !lost.empty())
    print_line("  " + lost + "; it was the best one, the newest takes its place");
}

void inspect(Options o) {
  if (!fs::is_directory(o.path)) {
    const selene::train::MeantFile meant = selene::train::meant_file(o.path);
    for (const std::string& told : meant.told) selene::train::log_warning(told);
    o.path = meant.path;
  }
  const fs::path path(o.path);
  if (!fs::exists(path)) throw Error(o.path + ": no such file or folder");
  if (fs::is_directory(path)) {
    const std::string folder = selene::train::checkpoint_folder(o.path);
    return folder.empty() ? selene::inspect_data_folder(o.path, o.view) : inspect_run(folder, o);
  }
  if (path.filename() == "dataset.json" || path.extension() == ".tsv")
    return selene::inspect_data_folder(path.has_parent_path() ? path.parent_path().string() : ".", o.view);
  if (selene::data::is_prepared(SafetensorsFile(o.path))) return selene::inspect_prepared(o.path, o.view);
  inspect_tensors(o);
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  bool recipe = false, state = false;
  CLI::App app{"Says what is in a checkpoint or another safetensors file, in a run, in a prepared data set.",
               "selene-inspect"};
  app.footer(
      "Example: selene-inspect runs/quickstart/checkpoints/best\n"
      "         selene-inspect runs/quickstart --recipe\n"
      "         selene-inspect data-out/lra/image --examples 64 --png sheet.png");
  app.add_option("path", o.path, "a checkpoint or safetensors file, a run's folder, or prepared data")
      ->check(selene::not_empty)
      ->required();
  auto* show = app.add_option("--show", o.string_name, "print one string of the metadata (of a run: its newest one)");
  auto* a = app.add_flag("--recipe", recipe, "print the recipe: --show recipe")->excludes(show);
  app.add_flag("--state", state, "print the training state: --show state")->excludes(show)->excludes(a);
  auto* json = app.add_flag("--json", o.json, "one JSON object instead of text");
  app.add_option("--examples", o.view.examples, "examples of prepared data to show")
      ->check(selene::whole(0, int64_t(1) << 20))
      ->excludes(json)
      ->capture_default_str();
  app.add_option("--from", o.view.from, "the first of them, counted from 0")
      ->check(selene::whole(0, int64_t(1) << 40))
      ->capture_default_str();
  app.add_option("--png", o.view.png, "write the images among them as one contact sheet")
      ->check(selene::named_file)
      ->excludes(json);
  return selene::run_program(app, argc, argv, [&] {
    if (recipe) o.string_name = "recipe";
    if (state) o.string_name = "state";
    o.view.json = o.json;
    inspect(o);
    return 0;
  });
}
