#include "tools/programs/inspect_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "data/io/durable_file.h"
#include "data/io/image.h"
#include "data/io/json.h"
#include "data/io/printable.h"
#include "data/io/same_file.h"
#include "data/prepared.h"
#include "kernels/error.h"
#include "tools/programs/program.h"

namespace selene {
namespace {

namespace fs = std::filesystem;
using data::Json;

data::Image image_of(const data::Dataset& d, int64_t example) {
  const auto row = d.row(example);
  const int64_t side = data::square_side(int64_t(row.size()));
  if (side * side != int64_t(row.size()))
    throw Error(fmt::format("{}: example {} has {} pixels, which is no square", d.name, example, row.size()));
  return {side, side, 1, {row.begin(), row.end()}};
}

Json summary(const data::Dataset& d) {
  Json all{{"file", d.name},
           {"kind", d.kind->name},
           {"symbols", d.columns.at(d.kind->class_names.empty() ? d.columns.size() - 1 : 0).elements()}};
  all.update(data::parse_json(data::facts_json(d), "facts"));
  return all;
}

/// One line for each member but those left out; a foreign name or value stays on its line.
void print_members(const Json& object, const char* left_out) {
  for (const auto& [key, value] : *object.members())
    if (key != left_out)
      print_line(fmt::format("  {:<16} {}", data::printable(key), value.text() ? *value.text() : value.dump()));
}

void print_example(const data::Dataset& d, int64_t i) {
  if (d.kind->class_names.empty()) fmt::print("\nexample {}:\n", i);
  else fmt::print("\nexample {}: {}\n", i, d.kind->class_names[size_t(d.labels()[size_t(i)])]);
  if (d.kind->image) fmt::print("{}", data::ascii_image(image_of(d, i)));
  else fmt::print("{}\n", d.kind->text(d, i));
}

void write_sheet(const data::Dataset& d, int64_t first, int64_t last, const std::string& path) {
  if (!d.kind->image) throw Error(fmt::format("{}: holds {}, no images for --png", d.name, d.kind->name));
  if (fs::exists(path) && !path.ends_with(".png") && !path.ends_with(".PNG"))
    throw Error(fmt::format("{}: is there, and no name for a PNG file; --png wants another", path));
  data::need_no_input("--png", path, {d.name, fs::path(d.name).parent_path().string()});
  if (first == last) throw Error(fmt::format("{}: no example for --png: --examples is 0", d.name));
  std::vector<data::Image> images;
  for (int64_t i = first; i < last; ++i) images.push_back(image_of(d, i));
  const auto bytes =
      data::png_bytes(data::contact_sheet(images, int64_t(std::ceil(std::sqrt(double(last - first))))));
  data::write_durably(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  print_line(fmt::format("{}: examples {} to {}, row by row", path, first, last - 1));
}

}  // namespace

void inspect_prepared(const std::string& path, const DataView& view) {
  const data::Dataset d = data::open_prepared(path);
  const Json facts = summary(d);
  if (view.json) return fmt::print("{}\n", facts.dump());
  print_line(path + ": prepared data, checksum verified");
  print_members(facts, "file");
  if (view.examples > 0 && view.from >= d.examples())
    throw Error(fmt::format("{}: --from is {}, the last example is {}", path, view.from, d.examples() - 1));
  const int64_t first = std::min(view.from, d.examples()), last = std::min(first + view.examples, d.examples());
  if (!view.png.empty()) return write_sheet(d, first, last, view.png);
  for (int64_t i = first; i < last; ++i) print_example(d, i);
}

void inspect_data_folder(const std::string& folder, const DataView& view) {
  data::need_whole(folder);
  const std::string file = (fs::path(folder) / "dataset.json").string();
  if (!fs::exists(file)) throw Error(fmt::format("{}: is no run, and there is no {}", folder, file));
  const data::Description description = data::read_description(folder);
  if (view.json) return fmt::print("{}\n", description.json.dump());
  print_line(file + ":");
  print_members(description.json, "splits");  // those are below, from the files themselves
  DataView brief = view;
  for (const char* split : {"train", "valid", "test"}) {
    const std::string path = data::prepared_path(folder, split);
    if (fs::exists(path)) fmt::print("\n"), inspect_prepared(path, brief);
    brief.examples = 0, brief.png.clear();  // examples of the first split only
  }
  for (const std::string& name : description.files)
    if (const fs::path path = fs::path(folder) / name; !fs::exists(path))
      throw Error(fmt::format("{}: is not there, though {} names it", path.string(), file));
}

}  // namespace selene
