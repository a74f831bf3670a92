// selene-inspect: what is in a checkpoint or another safetensors file, in the folder of a run, in a prepared data
// set.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "data/prepared.h"
#include "kernels/error.h"
#include "tools/inspect_data.h"
#include "tools/program.h"
#include "train/checkpoint_files.h"
#include "train/log.h"
#include "train/run_folder.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using selene::Error;
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

void line(const std::string& text) { std::printf("%s\n", text.c_str()); }

/// A metadata string exactly as it is, so that a printed recipe is a recipe.
void print_string(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (!text.ends_with('\n')) std::putchar('\n');
}

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

/// A metadata string as JSON if it is JSON, otherwise as it is.
ordered_json string_as_json(const std::string& text) {
  const ordered_json value = ordered_json::parse(text, nullptr, false);
  return value.is_object() || value.is_array() ? value : ordered_json(text);
}

ordered_json describe(const SafetensorsFile& file) {
  ordered_json all{{"file", file.path()}, {"bytes", file.size()}, {"checkpoint", verdict_on(file)}};
  uint64_t elements = 0;
  ordered_json tensors = ordered_json::array(), metadata = ordered_json::object();
  for (const auto& e : file.entries()) {
    elements += uint64_t(e.numel());
    tensors.push_back({{"name", e.name},
                       {"dtype", selene::name_of(e.dtype)},
                       {"shape", e.shape},
                       {"elements", e.numel()},
                       {"bytes", e.end - e.begin}});
  }
  for (const auto& [key, value] : file.metadata()) metadata[key] = string_as_json(value);
  all["elements"] = elements;
  all["tensors"] = std::move(tensors);
  all["metadata"] = std::move(metadata);
  return all;
}

/// One line for a metadata string: short ones whole, long ones by size.
std::string brief(const std::string& key, const std::string& value) {
  const bool plain = std::none_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (value.size() <= 80 && plain) return value;
  return grouped(value.size()) + " bytes (--show " + key + ")";
}

void print_tensors(const SafetensorsFile& file) {
  size_t width = 6;
  uint64_t elements = 0;
  for (const auto& e : file.entries()) width = std::max(width, e.name.size());
  line(padded("tensor", width) + "  dtype  elements      shape");
  for (const auto& e : file.entries()) {
    elements += uint64_t(e.numel());
    line(padded(e.name, width) + "  " + padded(selene::name_of(e.dtype), 5) + "  " +
         padded(grouped(uint64_t(e.numel())), 12) + "  " + ordered_json(e.shape).dump());
  }
  line(grouped(file.entries().size()) + " tensors, " + grouped(elements) + " elements, " + grouped(file.size()) +
       " bytes");
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
    line(describe(file).dump());
  } else {
    line(o.path + ": " + (verdict == "none" ? "safetensors file, not a checkpoint" : "checkpoint"));
    for (const auto& [key, value] : file.metadata()) line("  " + padded(key, 16) + " " + brief(key, value));
    if (verdict == "ok") line("  checksum verified");
    print_tensors(file);
  }
  if (verdict != "none" && verdict != "ok") throw Error(verdict);
}

ordered_json describe_run(const std::string& folder) {
  ordered_json list = ordered_json::array();
  const selene::train::RunCheckpoints all = selene::train::find_checkpoints(folder);
  for (const auto& c : selene::train::list_checkpoints(folder)) {
    const std::string name = fs::path(c.path).filename().string();
    const bool last = all.newest && c.path == all.newest->file.path();
    const bool best = all.validated && c.path == all.best->file.path();
    ordered_json one{{"update", c.update}, {"file", name}, {"last", last}, {"best", best}};
    try {
      const SafetensorsFile file(c.path);
      selene::train::verify_checkpoint(file);
      one["bytes"] = file.size();
      one["problem"] = "";
    } catch (const Error& e) {
      one["problem"] = e.what();
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
  const ordered_json run = describe_run(folder);
  if (o.json) return line(run.dump());
  line(folder + ": " + std::to_string(run["checkpoints"].size()) + " checkpoints, newest first");
  for (const auto& c : run["checkpoints"]) {
    const std::string problem = c["problem"];
    const std::string state = problem.empty() ? grouped(c["bytes"]) + " bytes, verified" : "REFUSED: " + problem;
    line("  " + c["file"].get<std::string>() + (c["last"] ? "  last" : "") + (c["best"] ? "  best" : "") + "  " +
         state);
  }
  if (const std::string lost = run["problem"]; !lost.empty())
    line("  " + lost + "; it was the best one, the newest takes its place");
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
  app.add_option("path", o.path, "a checkpoint or safetensors file, a run's folder, or prepared data")->required();
  auto* show = app.add_option("--show", o.string_name, "print one string of the metadata (of a run: its newest one)");
  auto* a = app.add_flag("--recipe", recipe, "print the recipe: --show recipe")->excludes(show);
  app.add_flag("--state", state, "print the training state: --show state")->excludes(show)->excludes(a);
  auto* json = app.add_flag("--json", o.json, "one JSON object instead of text");
  app.add_option("--examples", o.view.examples, "examples of prepared data to show")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 20))
      ->excludes(json)
      ->capture_default_str();
  app.add_option("--from", o.view.from, "the first of them, counted from 0")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 40))
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
