// The layers of docs/tour.md and the layout of docs/style.md, checked on the sources themselves: which folder
// includes which, what headers keep out, how long files are, constants' names, clang-format.
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/catch.h"

namespace selene::testing {
namespace {

namespace fs = std::filesystem;

struct Include {
  std::string name;  // as written, without quotes or brackets
  int line;
};

struct Source {
  std::string path, layer;  // path from the root; its first folder
  bool header = false;
  int lines = 0;
  std::vector<Include> includes;
  std::set<std::string> namespaces;  // those that begin with selene
};

using Arrows = std::map<std::string, std::set<std::string>>;

// What a layer may include beside itself; a layer that is not listed may include anything.
const Arrows kAllowed = {
    {"kernels", {}},
    {"engine", {"kernels"}},
    {"autograd", {"kernels", "engine"}},
    {"models", {"kernels", "engine", "autograd"}},
    {"data", {"kernels"}},
    {"train", {"kernels", "engine", "autograd", "models", "data"}},
    {"tools", {"kernels", "engine", "autograd", "models", "data", "train"}},
};
// The same inside a layer: what a room may include beside itself. A room that is not listed is in nobody's way: all
// of its layer may include it, and it may include all.
const Arrows kRooms = {
    // The contracts (kernels/*.h) know no code that keeps them. The shim and the kernels it runs know each other.
    {"kernels", {}},
    {"kernels/cpu", {"kernels"}},
    {"kernels/cpu/attention", {"kernels", "kernels/cpu"}},
    {"kernels/cuda", {"kernels", "kernels/simt"}},
    {"kernels/cuda/host", {"kernels", "kernels/cuda"}},
    {"kernels/cuda/rows", {"kernels", "kernels/cuda"}},
    {"kernels/cuda/matmul", {"kernels", "kernels/cuda", "kernels/cuda/host"}},
    {"kernels/cuda/attention", {"kernels", "kernels/cuda", "kernels/cuda/host", "kernels/cuda/rows"}},
    {"kernels/simt", {"kernels", "kernels/cuda", "kernels/cuda/host", "kernels/cuda/matmul"}},
    {"models", {"models/blocks", "models/attention"}},
    {"models/blocks", {"models"}},
    {"models/attention", {"models", "models/blocks"}},
    {"models/heads", {"models", "models/blocks", "models/attention"}},
    {"data/io", {}},
    {"data", {"data/io"}},
    {"data/lra", {"data", "data/io"}},
    {"data/text", {"data", "data/io"}},
    {"data/lra/listops", {"data", "data/io", "data/lra"}},
    {"data/lra/pathfinder", {"data", "data/io", "data/lra"}},
    // What a person writes, what a run leaves behind, and the pages made of it know no session.
    {"train/recipe", {}},
    {"train/folder", {}},
    {"train/report", {"train/recipe", "train/folder"}},
    {"train/sweep", {"train/recipe", "train/folder", "train/report"}},
    {"train/parallel", {}},
    {"train/tasks", {"train/recipe", "train/folder"}},
    {"train/step", {"train/recipe", "train/folder", "train/parallel", "train/tasks"}},
    {"train/measure", {"train/recipe", "train/folder", "train/step", "train/tasks"}},
    {"train/run", {"train/recipe", "train/folder", "train/parallel", "train/step", "train/tasks", "train/measure"}},
};
// Single arrows against the rule, each with its reason.
const Arrows kExceptions = {
    {"data/kinds.cpp",  // the table of all kinds of data
     {"data/lra/listops/listops.h", "data/lra/own_examples.h", "data/text/characters.h"}},
    {"data/lra/own_examples.cpp", {"data/lra/listops/listops.h"}},  // reads examples of every kind
    {"train/recipe/schema.cpp", {"train/tasks/measures.h"}},        // names of tasks are values of a key,
    {"train/recipe/check.cpp", {"train/tasks/measures.h"}},         // their measures of another,
    {"train/report/run_data.cpp", {"train/tasks/measures.h"}},      // and what a report begins with
};
const std::set<std::string> kLayers = {"kernels", "engine", "autograd", "models", "data", "train", "tools", "tests"};
// Slow to compile, or an implementation's own business: only in .cpp files. tests/support/catch.h is the one
// exception.
const std::vector<std::string> kNotInHeaders = {"spdlog/", "yaml-cpp/", "nlohmann/", "CLI/",
                                                "oneapi/", "dnnl",      "catch2/",   "fmt/"};
// Texts that others wrote go through one reader of each format, which keeps its limits.
const std::map<std::string, std::string> kOnePlace = {{"nlohmann/", "data/io/json.cpp"},
                                                      {"yaml-cpp/", "train/recipe/tree.cpp"}};
const std::vector<std::string> kCuda = {"cuda", "cublas", "cudnn", "nccl", "mma.h"};
constexpr int kLongestFile = 400;

bool starts_with_any(const std::string& text, const std::vector<std::string>& starts) {
  return std::any_of(starts.begin(), starts.end(), [&](const std::string& s) { return text.rfind(s, 0) == 0; });
}

std::string first_folder(const std::string& path) { return path.substr(0, path.find('/')); }

std::string room_of(const std::string& path) { return fs::path(path).parent_path(); }

// #include "x" and #include <x>, with any spaces.
std::string included(const std::string& line) {
  std::istringstream in(line);
  std::string word, rest;
  in >> std::ws;
  if (in.get() != '#' || !(in >> word) || word.rfind("include", 0) != 0) return "";
  std::getline(in, rest);
  rest = word.substr(7) + rest;
  const size_t begin = rest.find_first_of("\"<"), end = rest.find_last_of("\">");
  return begin == rest.npos || end <= begin ? "" : rest.substr(begin + 1, end - begin - 1);
}

Source read_source(const std::string& path, std::istream& text) {
  const std::string kind = fs::path(path).extension();
  // A precompiled header is the build's: no source includes it.
  const bool header = (kind == ".h" || kind == ".cuh") && fs::path(path).filename() != "pch.h";
  Source s{path, first_folder(path), header, 0, {}, {}};
  for (std::string line; std::getline(text, line);) {
    ++s.lines;
    if (const std::string name = included(line); !name.empty()) s.includes.push_back({name, s.lines});
    if (line.starts_with("namespace selene")) s.namespaces.insert(line.substr(10, line.find(' ', 10) - 10));
  }
  return s;
}

std::vector<Source> sources() {
  const fs::path root = SELENE_SOURCE_ROOT;
  const std::set<std::string> kinds = {".h", ".cpp", ".cu", ".cuh", ".py", ".sh"};
  std::vector<Source> all;
  for (const std::string& layer : kLayers)
    for (const auto& entry : fs::recursive_directory_iterator(root / layer)) {
      if (!entry.is_regular_file() || !kinds.count(entry.path().extension())) continue;
      std::ifstream text(entry.path());
      all.push_back(read_source(fs::relative(entry.path(), root).string(), text));
    }
  return all;
}

// What the names of a file are in; empty: that is not looked at.
std::string namespace_of(const Source& s) {
  if (s.layer == "train" || s.path == "tests/train/tasks/example_task_test.cpp") return "selene::train";
  if (s.layer != "tests") return "";
  if (s.path.starts_with("tests/kernels/simt/")) return "";  // the shim finds the shared memory of selene::cuda alone
  return s.path.starts_with("tests/golden/") ? "selene::golden" : "selene::testing";
}

bool is_cpp(const Source& s) {
  const std::string kind = fs::path(s.path).extension();
  return kind == ".h" || kind == ".cuh" || kind == ".cpp" || kind == ".cu";
}

// One line for each thing that is against the rules.
std::vector<std::string> complaints(const Source& s) {
  std::vector<std::string> found;
  const auto inside = kRooms.find(room_of(s.path)), own = kExceptions.find(s.path);
  for (const Include& i : s.includes) {
    const std::string place = s.path + ":" + std::to_string(i.line) + ": includes " + i.name,
                      to = first_folder(i.name), room = room_of(i.name);
    const auto rule = kAllowed.find(s.layer);
    if (kLayers.count(to) && to != s.layer && rule != kAllowed.end() && !rule->second.count(to))
      found.push_back(place + ", which is not below " + s.layer);
    if (to == s.layer && kRooms.count(room) && inside != kRooms.end() && room != inside->first &&
        !inside->second.count(room) && (own == kExceptions.end() || !own->second.count(i.name)))
      found.push_back(place + ", which is not below " + inside->first);
    if (s.header && s.path != "tests/support/catch.h" && starts_with_any(i.name, kNotInHeaders))
      found.push_back(place + ", which belongs into a .cpp file");
    for (const auto& [library, file] : kOnePlace)
      if (s.layer != "tests" && s.path != file && i.name.rfind(library, 0) == 0)
        found.push_back(place + ", which belongs into " + file + " alone");
    if (s.layer != "kernels" && starts_with_any(i.name, kCuda)) found.push_back(place + ", CUDA outside of kernels/");
    if (fs::path(i.name).filename() == "pch.h") found.push_back(place + ", which the build does");
    if (i.name.rfind("../", 0) == 0 || i.name.rfind("./", 0) == 0)
      found.push_back(place + ", wanted a path from the root");
  }
  for (const std::string& name : s.namespaces)
    if (const std::string wanted = namespace_of(s); !wanted.empty() && name != wanted)
      found.push_back(s.path + ": is in " + name + ", wanted " + wanted);
  if (s.lines > kLongestFile)
    found.push_back(s.path + ": has " + std::to_string(s.lines) + " lines, at most 400 are wanted");
  return found;
}

std::vector<std::string> complaints(const std::string& path, const std::string& text) {
  std::istringstream in(text);
  return complaints(read_source(path, in));
}

}  // namespace

TEST_CASE("sources include only what is below them, and files stay short") {
  const std::vector<Source> all = sources();
  std::map<std::string, int> lines;
  for (const Source& s : all) {
    lines[s.layer] += s.lines;
    for (const std::string& complaint : complaints(s)) FAIL_CHECK(complaint);
    const auto own = kExceptions.find(s.path);
    if (own == kExceptions.end()) continue;
    for (const std::string& name : own->second) {
      INFO(s.path << " is allowed to include " << name << " and does not");
      CHECK(std::any_of(s.includes.begin(), s.includes.end(), [&](const Include& i) { return i.name == name; }));
    }
  }
  for (const std::string& layer : kLayers) {
    CHECK(lines[layer] > 0);
    std::cout << layer << ": " << lines[layer] << " lines\n";
  }
}

TEST_CASE("headers are guarded and open no namespace for others") {
  for (const Source& s : sources()) {
    if (!s.header) continue;
    std::ifstream file(fs::path(SELENE_SOURCE_ROOT) / s.path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    INFO(s.path);
    CHECK(text.find("#pragma once\n") != text.npos);
    CHECK(text.find("\nusing namespace") == text.npos);
  }
}

TEST_CASE("constants of a file are kCamel") {
  const std::regex constant("(?:(?:static|inline) )*const(?:expr)? [^={(;]*[ *]([\\w]+)(?:\\[\\w*\\])? ?(?:=|\\{).*");
  size_t found = 0;
  for (const Source& s : sources()) {
    if (!is_cpp(s)) continue;
    std::ifstream file(fs::path(SELENE_SOURCE_ROOT) / s.path);
    bool of_template = false;
    for (std::string line; std::getline(file, line);) {
      std::smatch m;
      if (!of_template && std::regex_match(line, m, constant)) {
        ++found;
        INFO(s.path << ": " << m[1]);
        CHECK((m[1].str()[0] == 'k' && std::isupper(m[1].str()[1])));
      }
      of_template = line.starts_with("template <");
    }
  }
  CHECK(found > 100);
}

TEST_CASE("C++ is laid out as .clang-format says") {
  if (std::system("clang-format --version 2>/dev/null | grep -q 'version 14'") != 0) {
    WARN("skipped: clang-format 14 is not installed, and another version lays out otherwise");
    return;
  }
  std::string files;
  for (const Source& s : sources())
    if (is_cpp(s)) files += " " + s.path;
  CHECK(std::system(("cd '" SELENE_SOURCE_ROOT "' && clang-format --dry-run -Werror" + files).c_str()) == 0);
}

TEST_CASE("the include checks find each kind of fault") {
  CHECK(complaints("kernels/a.h", "#include \"kernels/b.h\"\n#include <vector>\n").empty());
  CHECK(complaints("kernels/a.h", "#include \"engine/tensor.h\"\n").size() == 1);
  CHECK(complaints("engine/a.cpp", "  #  include \"autograd/tape.h\"  // why\n").size() == 1);
  CHECK(complaints("models/a.cpp", "#include <data/batch.h>\n").size() == 1);
  CHECK(complaints("models/a.cpp", "#include \"train/recipe/recipe.h\"\n").size() == 1);
  CHECK(complaints("data/a.cpp", "#include \"engine/tensor.h\"\n").size() == 1);
  CHECK(complaints("train/a.cpp", "#include \"tools/x.h\"\n").size() == 1);
  CHECK(complaints("tools/a.cpp", "#include \"tests/x.h\"\n").size() == 1);
  CHECK(complaints("tests/a.cpp", "#include \"tools/x.h\"\n").empty());
  CHECK(complaints("train/run/a.cpp", "#include \"train/step/b.h\"\n#include \"train/run/c.h\"\n").empty());
  CHECK(complaints("train/tasks/a.cpp", "#include \"train/step/b.h\"\n").size() == 1);
  CHECK(complaints("train/report/a.cpp", "#include \"train/step/session.h\"\n").size() == 1);
  CHECK(complaints("data/io/a.cpp", "#include \"data/dataset.h\"\n").size() == 1);
  CHECK(complaints("kernels/a.h", "#include \"kernels/cpu/row.h\"\n").size() == 1);
  CHECK(complaints("data/kinds.cpp", "#include \"data/lra/listops/listops.h\"\n").empty());
  CHECK(complaints("data/kinds.cpp", "#include \"data/lra/aan.h\"\n").size() == 1);
  CHECK(complaints("train/a.h", "#include <spdlog/spdlog.h>\n").size() == 1);
  CHECK(complaints("train/a.cpp", "#include <spdlog/spdlog.h>\n").empty());
  CHECK(complaints("train/a.cpp", "#include <nlohmann/json.hpp>\n").size() == 1);
  CHECK(complaints("data/io/json.cpp", "#include <nlohmann/json.hpp>\n").empty());
  CHECK(complaints("engine/a.cpp", "#include <cuda_runtime.h>\n").size() == 1);
  CHECK(complaints("kernels/a.cpp", "#include \"../b.h\"\n").size() == 1);
  CHECK(complaints("tests/support/pch/pch.h", "#include <fmt/format.h>\n").empty());
  CHECK(complaints("tests/a.cpp", "#include \"tests/support/pch/pch.h\"\n").size() == 1);
  CHECK(complaints("train/a.cpp", "namespace selene::train {\n").empty());
  CHECK(complaints("train/a.cpp", "namespace selene {\n").size() == 1);
  CHECK(complaints("tests/a.cpp", "namespace selene::train {\n").size() == 1);
  CHECK(complaints("kernels/a.cpp", std::string(400, '\n')).empty());
  CHECK(complaints("kernels/a.cpp", std::string(401, '\n')).size() == 1);
}

}  // namespace selene::testing
