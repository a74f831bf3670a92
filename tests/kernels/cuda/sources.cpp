#include "tests/kernels/cuda/sources.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>

namespace selene::testing {
namespace {

namespace fs = std::filesystem;

// Comments and the inside of quotes become spaces; lines stay where they are.
std::string without_words(const std::string& text) {
  enum { code, line, block, quote, letter } in = code;
  std::string out = text;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i], next = i + 1 < text.size() ? text[i + 1] : '\0';
    const bool digit_before = i > 0 && isalnum(static_cast<unsigned char>(text[i - 1]));
    if (in == code && c == '/' && (next == '/' || next == '*')) in = next == '/' ? line : block, out[i] = ' ';
    else if (in == code && c == '"') in = quote;
    else if (in == code && c == '\'' && !digit_before) in = letter;  // not the one in 1'000
    else if ((in == quote && c == '"') || (in == letter && c == '\'') || (in == line && c == '\n')) in = code;
    else if (in == block && c == '*' && next == '/') in = code, out[i] = out[i + 1] = ' ', ++i;
    else if (in != code && c != '\n') {
      out[i] = ' ';
      if ((in == quote || in == letter) && c == '\\') out[++i] = ' ';
    }
  }
  return out;
}

// What a preprocessor line says where neither __CUDACC__ nor __CUDA_ARCH__ is defined: 1 true, 0 false, -1 depends
// on more.
int host_says(const std::string& condition) {
  static const std::regex device("__CUDACC__|__CUDA_ARCH__");
  static const std::regex not_defined(
      "^ifndef (__CUDACC__|__CUDA_ARCH__)|!\\s*defined\\s*\\(?\\s*(__CUDACC__|__CUDA_ARCH__)");
  if (!std::regex_search(condition, device)) return -1;
  return std::regex_search(condition, not_defined);
}

// The text as the shim's compiler sees it: other lines become empty. Branches on something else are all kept.
std::string host_view(const std::string& text) {
  struct Group {
    bool on, taken;
  };
  std::vector<Group> groups;
  std::istringstream in(text);
  std::string out;
  static const std::regex directive("^\\s*#\\s*(ifdef|ifndef|if|elif|else|endif)\\b\\s*(.*)$");
  for (std::string line; std::getline(in, line); out += '\n') {
    std::smatch match;
    if (std::regex_match(line, match, directive)) {
      const std::string word = match[1];
      const int says = host_says(word + " " + match[2].str());
      if (word == "endif") {
        if (!groups.empty()) groups.pop_back();
      } else if (word == "else" || word == "elif") {
        if (groups.empty()) continue;
        Group& g = groups.back();
        g.on = !g.taken && (word == "else" || says != 0), g.taken |= g.on && says != -1;
      } else {
        groups.push_back({says != 0, says == 1});
      }
      continue;
    }
    if (std::all_of(groups.begin(), groups.end(), [](const Group& g) { return g.on; })) out += line;
  }
  return out;
}

size_t closing(const std::string& text, size_t open, char opening, char end) {
  int depth = 0;
  for (size_t i = open; i < text.size(); ++i)
    if (text[i] == opening) ++depth;
    else if (text[i] == end && --depth == 0) return i;
  return text.npos;
}

struct Function {
  std::string name;   // with the arguments of a specialisation
  size_t begin, end;  // of its body: the opening and the closing brace
};

// Definitions of functions, not what is inside of them.
std::vector<Function> functions_in(const std::string& text) {
  static const std::regex head("(\\w+(?:<\\w+>)?)\\s*\\(");
  static const std::set<std::string> not_names = {"if", "for", "while", "switch", "defined"};
  std::vector<Function> found;
  size_t from = 0;
  std::smatch match;
  while (std::regex_search(text.begin() + int64_t(from), text.end(), match, head)) {
    const size_t open = from + size_t(match.position(0) + match.length(0)) - 1;
    const size_t close = closing(text, open, '(', ')');
    from = open + 1;
    if (close == text.npos) break;
    const size_t body = text.find_first_not_of(" \n", close + 1);
    if (body == text.npos || text[body] != '{' || not_names.count(match[1])) continue;
    const size_t end = closing(text, body, '{', '}');
    if (end == text.npos) break;
    found.push_back({match[1], body, end});
    from = end;
  }
  return found;
}

std::string place(const SourceText& source, const std::string& text, size_t at) {
  return source.path + ":" + std::to_string(1 + std::count(text.begin(), text.begin() + int64_t(at), '\n')) + ": ";
}

// The host's function of that name, or the template that a specialisation is of; null where there is none.
const Function* twin_of(const std::string& name, const std::vector<Function>& host) {
  for (const std::string& wanted : {name, name.substr(0, name.find('<'))})
    for (const Function& f : host)
      if (f.name == wanted) return &f;
  return nullptr;
}

void check_ptx(const SourceText& source, const std::string& text, std::vector<std::string>& faults) {
  static const std::regex ptx("\\b(asm|__asm__|__asm)\\b");
  const std::string host = host_view(text);
  const std::vector<Function> all = functions_in(text), hosts = functions_in(host);
  if (std::regex_search(host, ptx)) faults.push_back(source.path + ": inline PTX that the host compiler would see");
  for (std::sregex_iterator it(text.begin(), text.end(), ptx), end; it != end; ++it) {
    const auto at = size_t(it->position(0));
    const auto around = std::find_if(all.begin(), all.end(), [&](auto& f) { return f.begin < at && at < f.end; });
    if (around == all.end()) {
      faults.push_back(place(source, text, at) + "inline PTX outside of a function");
      continue;
    }
    const Function* twin = twin_of(around->name, hosts);
    if (!twin || host.find_first_not_of(" \n", twin->begin + 1) == twin->end)
      faults.push_back(place(source, text, at) + "inline PTX of " + around->name + " has no plain twin");
  }
}

// True when everything of that name in the text is declared as an integer in shared memory.
bool is_shared_integer(const std::string& name, const std::string& text) {
  const std::regex declared("(\\b__shared__\\s+)?\\b([A-Za-z_]\\w*)\\b[\\s*&]+" + name + "\\s*[\\[;=,)]");
  static const std::set<std::string> integers = {"int", "int32_t", "unsigned", "uint32_t"},
                                     words = {"return", "else"};
  bool found = false;
  for (std::sregex_iterator it(text.begin(), text.end(), declared), end; it != end; ++it) {
    if (words.count((*it)[2])) continue;
    if (!(*it)[1].matched || !integers.count((*it)[2])) return false;
    found = true;
  }
  return found;
}

void check_atomics(const SourceText& source, const std::string& text, std::vector<std::string>& faults) {
  static const std::regex atomic("\\b_*(atomic\\w*|red_\\w+)"), call("^_*atomic\\w+\\s*\\(\\s*&?\\s*(\\w+)");
  for (std::sregex_iterator it(text.begin(), text.end(), atomic), end; it != end; ++it) {
    const auto at = size_t(it->position(0));
    std::smatch match;
    const bool called = std::regex_search(text.begin() + int64_t(at), text.end(), match, call);
    if (!called || !is_shared_integer(match[1], text))
      faults.push_back(place(source, text, at) + it->str() +
                       ", wanted atomics on int or unsigned __shared__ arrays only");
  }
  static const std::regex in_ptx("\"[^\"\n]*\\b(atom|red)\\.");
  for (std::sregex_iterator it(source.text.begin(), source.text.end(), in_ptx), end; it != end; ++it)
    faults.push_back(place(source, source.text, size_t(it->position(0))) + "an atomic in PTX");
}

}  // namespace

std::vector<SourceText> device_sources(const std::string& root) {
  std::vector<SourceText> all;
  const auto add = [&](const fs::directory_entry& entry) {
    const std::string kind = entry.path().extension();
    if (kind != ".cu" && kind != ".cuh" && kind != ".h") return;
    std::ifstream file(entry.path());
    all.push_back({fs::relative(entry.path(), root).string(), {std::istreambuf_iterator<char>(file), {}}});
  };
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(root) / "kernels/cuda")) add(entry);
  for (const auto& entry : fs::directory_iterator(fs::path(root) / "kernels")) add(entry);
  return all;
}

std::vector<std::string> kernel_names(const std::string& text) {
  static const std::regex bounds("__launch_bounds__\\s*\\([^()]*(\\([^()]*\\)[^()]*)*\\)"),
      global("\\b__global__\\b");
  static const std::regex name("^__global__\\s+(?:static\\s+|inline\\s+)*void\\s+(\\w+)\\s*\\(");
  const std::string code = std::regex_replace(without_words(text), bounds, "");
  std::vector<std::string> names;
  for (std::sregex_iterator it(code.begin(), code.end(), global), end; it != end; ++it) {
    std::smatch match;
    const bool read = std::regex_search(code.begin() + it->position(0), code.end(), match, name);
    names.push_back(read ? match[1].str() : "");
  }
  return names;
}

std::vector<std::string> device_faults(const SourceText& source) {
  std::vector<std::string> faults;
  const std::string text = without_words(source.text);
  for (size_t at = text.find("<<<"); at != text.npos; at = text.find("<<<", at + 3))
    faults.push_back(place(source, text, at) + "<<<, wanted launch()");
  check_atomics(source, text, faults);
  check_ptx(source, text, faults);
  for (const std::string& name : kernel_names(source.text))
    if (name.empty()) faults.push_back(source.path + ": __global__ without a name that can be read");
  return faults;
}

}  // namespace selene::testing
