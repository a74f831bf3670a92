// The documentation against the sources: what docs/tour.md and docs/glossary.md name exists where they say, paths and
// links lead somewhere, the headings that kernels cite are there, and every dependency is explained.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "tests/support/catch.h"

namespace selene::testing {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

const fs::path kRoot = SELENE_SOURCE_ROOT;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// First group of every match.
Strings all(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  Strings found;
  for (std::sregex_iterator i(text.begin(), text.end(), regex), end; i != end; ++i) found.push_back((*i)[1]);
  return found;
}

Strings paragraphs(const std::string& text) {
  Strings all;
  std::string line;
  bool open = false;
  for (std::istringstream lines(text); std::getline(lines, line);) {
    if (line.empty()) {
      open = false;
      continue;
    }
    if (!open) all.emplace_back();
    all.back() += line + "\n", open = true;
  }
  return all;
}

/// The text without its fenced blocks of code.
std::string prose(const std::string& text) {
  std::string kept, line;
  bool code = false;
  for (std::istringstream lines(text); std::getline(lines, line);) {
    if (line.starts_with("```")) code = !code;
    else if (!code) kept += line + "\n";
  }
  return kept;
}

bool is_path(const std::string& span) {
  return std::regex_match(span, std::regex("[\\w./-]+/[\\w.-]+|[\\w-]+\\.(cpp|h|md|yaml|sh|build)"));
}

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

/// Whether `name` stands in the text as a whole word.
bool stands_in(const std::string& text, const std::string& name) {
  for (size_t at = text.find(name); at != text.npos; at = text.find(name, at + 1)) {
    const size_t end = at + name.size();
    const bool begins = at == 0 || !is_word(text[at - 1]) || !is_word(name.front());
    if (begins && (end == text.size() || !is_word(text[end]) || !is_word(name.back()))) return true;
  }
  return false;
}

/// What a text in the manner of docs/tour.md says wrongly: each code span is a path, or a name that stands in the
/// nearest path before or after it in its paragraph.
Strings complaints(const std::string& text, const fs::path& root) {
  Strings wrong;
  for (const std::string& paragraph : paragraphs(text)) {
    const Strings spans = all(paragraph, "`([^`]+)`");
    for (size_t i = 0; i < spans.size(); ++i) {
      if (is_path(spans[i])) {
        if (!fs::exists(root / spans[i])) wrong.push_back(spans[i] + ": no such file");
        continue;
      }
      size_t before = i, after = i;
      while (before > 0 && !is_path(spans[before])) --before;
      while (after + 1 < spans.size() && !is_path(spans[after])) ++after;
      bool found = false;
      for (const size_t j : {before, after})
        found = found || (is_path(spans[j]) && stands_in(read(root / spans[j]), spans[i]));
      if (!found) wrong.push_back(spans[i] + ": in neither file beside it, " + spans[before] + ", " + spans[after]);
    }
  }
  return wrong;
}

Strings documents() {
  Strings files{"README.md"};
  for (const auto& entry : fs::directory_iterator(kRoot / "docs"))
    if (entry.path().extension() == ".md") files.push_back("docs/" + entry.path().filename().string());
  return files;
}

}  // namespace

TEST_CASE("docs: what the tour names is where it says") {
  CHECK(complaints(read(kRoot / "docs/tour.md"), kRoot) == Strings{});
  CHECK(all(read(kRoot / "docs/tour.md"), "`([^`]+)`").size() > 80);
}

TEST_CASE("docs: what the glossary names is where it says") {
  CHECK(complaints(read(kRoot / "docs/glossary.md"), kRoot) == Strings{});
  CHECK(all(read(kRoot / "docs/glossary.md"), "`([^`]+)`").size() > 100);
}

TEST_CASE("docs: the paths of the pages on style and tests exist") {
  size_t paths = 0;
  for (const char* file : {"docs/style.md", "docs/testing.md"})
    for (const std::string& path :
         all(prose(read(kRoot / file)), "((?:kernels|engine|autograd|models|data|train|tools|tests)/[\\w./-]*\\w)")) {
      CAPTURE(file, path);
      CHECK(fs::exists(kRoot / path));
      ++paths;
    }
  CHECK(paths > 40);
}

TEST_CASE("docs: a wrong name, a wrong path and a part of a name are found") {
  const std::string tour = "Go from `kernels/error.h`: `Error`, `Erro`, to `kernels/none.h`.\n\nAlone: `Error`.\n";
  const Strings wrong = complaints(tour, kRoot);
  REQUIRE(wrong.size() == 3);
  CHECK(wrong[0] == "Erro: in neither file beside it, kernels/error.h, kernels/none.h");
  CHECK(wrong[1] == "kernels/none.h: no such file");
  CHECK(wrong[2] == "Error: in neither file beside it, Error, Error");
}

TEST_CASE("docs: links lead somewhere") {
  size_t links = 0;
  for (const std::string& file : documents())
    for (const std::string& target : all(prose(read(kRoot / file)), "\\]\\(([^)#]+)[^)]*\\)")) {
      CAPTURE(file, target);
      CHECK((target.starts_with("https://") || fs::exists((kRoot / file).parent_path() / target)));
      ++links;
    }
  CHECK(links >= 10);
}

TEST_CASE("docs: the headings of math.md that sources cite exist") {
  const std::string math = read(kRoot / "docs/math.md");
  size_t cited = 0;
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / "kernels")) {
    const std::string text = read(entry.path());
    for (const std::string& list : all(text, "docs/math\\.md,? ((?:,? ?\"[^\"\n]+\")+)"))
      for (const std::string& heading : all(list, "\"([^\"]+)\"")) {
        CAPTURE(entry.path().string(), heading);
        CHECK(math.find("\n## " + heading + "\n") != math.npos);
        ++cited;
      }
  }
  CHECK(cited >= 6);
}

TEST_CASE("docs: the pages show files that are built, and short ones") {
  const std::tuple<const char*, const char*, int64_t> pages[] = {
      {"docs/adding-an-attention.md", "models/attention/efficient.cpp", 45},
      {"docs/adding-a-task.md", "tests/train/tasks/example_task_test.cpp", 120}};
  for (const auto& [name, source, most] : pages) {
    INFO(name);
    const std::string page = read(kRoot / name), file = read(kRoot / source), begin = "```cpp\n";
    const size_t at = page.find(begin) + begin.size();
    CHECK(page.substr(at, page.find("```", at) - at) == file);
    CHECK(std::count(file.begin(), file.end(), '\n') <= most);
  }
}

TEST_CASE("docs: the page on the GPU has each operation with the file of its kernel") {
  const std::string page = read(kRoot / "docs/gpu.md");
  const std::string table = page.substr(page.find("| operation |"));
  const std::string abi = read(kRoot / "kernels/module_abi.h");
  const Strings operations = all(abi.substr(0, abi.find("namespace")), "X\\((\\w+)\\)");
  CHECK(operations.size() >= 30);
  for (const std::string& operation : operations) {
    const size_t at = table.find(operation);
    CAPTURE(operation);
    REQUIRE(at != table.npos);
    const Strings files = all(table.substr(at, table.find('\n', at) - at), "`(\\w+/\\w+\\.(?:cu|cpp))`");
    CHECK(std::any_of(files.begin(), files.end(), [&](const std::string& file) {
      return stands_in(read(kRoot / "kernels/cuda" / file), operation);
    }));
  }
}

TEST_CASE("docs: every dependency of the build is explained") {
  const std::string page = read(kRoot / "docs/dependencies.md");
  size_t named = 0;
  for (const auto& entry : fs::recursive_directory_iterator(kRoot, fs::directory_options::skip_permission_denied)) {
    const std::string path = fs::relative(entry.path(), kRoot).string();
    if (entry.path().filename() != "meson.build" || path.starts_with("build")) continue;
    for (const std::string& name : all(read(entry.path()), "(?:dependency|find_library)\\('([^']+)'")) {
      CAPTURE(path, name);
      CHECK(page.find("`" + name + "`") != page.npos);
      ++named;
    }
  }
  CHECK(named >= 10);
}

}  // namespace selene::testing
