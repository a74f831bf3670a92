// The module's own symbol table, read from its file: System V ABI, "Symbol table"; thread-local offsets: Drepper
// 2013, "ELF handling for thread-local storage".
#include "kernels/simt/symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

namespace selene::simt {
namespace {

struct Variable {
  uintptr_t offset;  // in the module's thread-local block
  int64_t bytes;
};
struct Symbols {
  uintptr_t base = 0;
  std::map<uintptr_t, std::string> functions;
  std::vector<Variable> shared;
};

thread_local char touched;  // makes the thread's block exist

struct Module {
  uintptr_t base = 0;
  std::string path;
  unsigned char* block = nullptr;
};

int find_module(dl_phdr_info* info, size_t, void* found) {
  const auto here = reinterpret_cast<uintptr_t>(&find_module);
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& p = info->dlpi_phdr[i];
    const uintptr_t from = info->dlpi_addr + p.p_vaddr;
    if (p.p_type != PT_LOAD || here < from || here >= from + p.p_memsz) continue;
    auto& m = *static_cast<Module*>(found);
    m.base = info->dlpi_addr, m.path = *info->dlpi_name ? info->dlpi_name : "/proc/self/exe";
    m.block = static_cast<unsigned char*>(info->dlpi_tls_data);
    return 1;
  }
  return 0;
}

Module this_module() {
  *const_cast<volatile char*>(&touched) = 1;
  Module m;
  dl_iterate_phdr(find_module, &m);
  return m;
}

void add(Symbols& symbols, const Elf64_Sym& s, const std::string& name, std::map<std::string, bool>& guarded) {
  const int type = ELF64_ST_TYPE(s.st_info);
  if (type == STT_FUNC && s.st_shndx != SHN_UNDEF) symbols.functions[s.st_value] = name;
  if (name.rfind("_ZGVZ", 0) == 0) guarded["_Z" + name.substr(4)] = true;
}

Symbols read_symbols() {
  const Module module = this_module();
  Symbols symbols;
  symbols.base = module.base;
  std::ifstream in(module.path, std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  if (file.size() < sizeof(Elf64_Ehdr)) return symbols;
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(file.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(file.data() + header->e_shoff);
  std::map<std::string, bool> guarded;  // variables with a constructor or destructor: no kernel's
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const auto* from = reinterpret_cast<const Elf64_Sym*>(file.data() + sections[i].sh_offset);
    const auto* to = from + sections[i].sh_size / sizeof(Elf64_Sym);
    const char* names = file.data() + sections[sections[i].sh_link].sh_offset;
    for (const auto* s = from; s != to; ++s) add(symbols, *s, names + s->st_name, guarded);
    for (const auto* s = from; s != to; ++s) {
      const std::string name = names + s->st_name;
      const bool local = name.rfind("_ZZ", 0) == 0 && name.find("6selene4cuda") != std::string::npos;
      if (local && ELF64_ST_TYPE(s->st_info) == STT_TLS && !guarded.count(name))
        symbols.shared.push_back({s->st_value, int64_t(s->st_size)});
    }
  }
  return symbols;
}

const Symbols& symbols() {
  static const Symbols table = read_symbols();
  return table;
}

// "void selene::cuda::(anonymous namespace)::fwd_rows<float>(Args<float>)" -> "fwd_rows<float>"
std::string short_name(const std::string& mangled) {
  int status = 0;
  char* text = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  std::string name = text ? text : mangled;
  free(text);
  for (const std::string skip = "(anonymous namespace)::"; name.find(skip) != std::string::npos;)
    name.erase(name.find(skip), skip.size());
  const size_t end = std::min(name.find('<'), name.find('('));
  const size_t start = name.find_last_of(" :", end) + 1;
  int depth = 0;
  size_t stop = start;
  for (; stop < name.size() && !(name[stop] == '(' && depth == 0); ++stop)
    depth += name[stop] == '<' ? 1 : name[stop] == '>' ? -1 : 0;
  return name.substr(start, stop - start);
}

}  // namespace

std::string kernel_name(const void* function) {
  const auto it = symbols().functions.find(reinterpret_cast<uintptr_t>(function) - symbols().base);
  return it == symbols().functions.end() ? "kernel" : short_name(it->second);
}

std::vector<std::string> function_names() {
  std::set<std::string> names;
  for (const auto& [offset, name] : symbols().functions)
    if (name.find('.') == std::string::npos) names.insert(short_name(name));  // .cold is a part of a function
  return {names.begin(), names.end()};
}

std::vector<Range> shared_variables() {
  unsigned char* block = this_module().block;
  std::vector<Range> ranges;
  for (const Variable& v : symbols().shared) ranges.push_back({block + v.offset, v.bytes});
  return ranges;
}

}  // namespace selene::simt
