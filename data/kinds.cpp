// The table of data kinds: a new task's data is a row here, a reader, and a subcommand of selene-prepare.
#include <fmt/format.h>

#include "data/dataset.h"
#include "data/lra/listops/listops.h"
#include "data/lra/own_examples.h"
#include "data/text/characters.h"
#include "kernels/error.h"
#include "kernels/join.h"

namespace selene::data {
namespace {

/// "0" to "last": bytes and grey values, and ListOps' answers.
std::vector<std::string> numbers(int last) {
  std::vector<std::string> names;
  for (int i = 0; i <= last; ++i) names.push_back(std::to_string(i));
  return names;
}

Kind images(std::string name, std::vector<std::string> classes) {
  Kind kind{.name = std::move(name), .symbol_names = numbers(255), .class_names = std::move(classes), .image = true};
  kind.text = image_text;
  return kind;
}

Kind texts(std::string name, std::vector<std::string> classes) {
  Kind kind{.name = std::move(name), .symbol_names = numbers(255), .class_names = std::move(classes)};
  kind.text = text_of_bytes;
  return kind;
}

Kind characters() {
  Kind kind{.name = "characters", .symbol_names = {}, .class_names = {}};
  kind.columns = {{"characters", {DType::i32}, true}, {"text", {DType::u8, DType::u16, DType::i32}, true}};
  kind.check = check_characters, kind.text = character_text;
  return kind;
}

Kind listops() {
  Kind kind{.name = "listops", .symbol_names = listops_symbol_names(), .class_names = numbers(9)};
  kind.add_line = add_expression, kind.text = expression_text, kind.first_symbol = "operator";
  kind.official_path = listops_path, kind.official_start = "Source\t";
  kind.read_official = [](const std::string& path) { return read_listops(path); };
  kind.parse_official = [](std::istream& text, const std::string& name) { return read_listops(text, name); };
  return kind;
}

}  // namespace

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> table = [] {
    Kind text = texts("text", {"negative", "positive"}), pairs = texts("retrieval", {"unrelated", "related"});
    text.add_line = add_text;
    pairs.add_line = add_pair, pairs.towers = 2;
    return std::vector<Kind>{
        listops(),
        text,
        pairs,
        images("image", {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}),
        images("pathfinder", {"apart", "connected"}),
        characters()};
  }();
  return table;
}

const Kind& kind_named(std::string_view name) {
  for (const Kind& kind : kinds())
    if (kind.name == name) return kind;
  throw Error(
      fmt::format("data of kind '{}', wanted one of {}", name.substr(0, 40), join(kinds(), ", ", &Kind::name)));
}

}  // namespace selene::data
