#include "tests/golden/case.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/error.h"

namespace selene::golden {
namespace {

using nlohmann::json;

DType dtype_named(const std::string& name, const std::string& tensor) {
  if (name == "F32") return DType::f32;
  if (name == "I64") return DType::i64;
  if (name == "U8") return DType::u8;
  throw Error(fmt::format("tensor {}: dtype is '{}', wanted F32, I64 or U8", tensor, name));
}

Value value_of(const json& v, const std::string& key) {
  if (v.is_null()) return {};
  if (v.is_boolean()) return v.get<bool>();
  if (v.is_number()) return v.get<double>();
  if (v.is_string()) return v.get<std::string>();
  if (v.is_array()) return v.get<std::vector<double>>();
  throw Error(fmt::format("hyper.{}: is {}, wanted a flag, a number, text or a list of numbers", key, v.type_name()));
}

Described described(const json& v, const std::string& name) {
  const std::string layout = v.at(2).get<std::string>();
  return {dtype_named(v.at(0).get<std::string>(), name), v.at(1).get<std::vector<int64_t>>(),
          layout.substr(0, layout.find(' '))};
}

Case case_of(const json& entry) {
  Case c;
  c.name = entry.at("name").get<std::string>(), c.group = entry.at("group").get<std::string>();
  c.file = entry.at("file").get<std::string>();
  for (const auto& [key, v] : entry.at("hyper").items()) c.hyper[key] = value_of(v, key);
  for (const auto& [key, v] : entry.at("tolerance").items())
    c.tolerance[key] = {v.at("rtol").get<double>(), v.at("atol").get<double>()};
  for (const auto& [key, v] : entry.at("tensors").items()) c.tensors[key] = described(v, key);
  for (const json& name : entry.value("no_gradient_path", json::array()))
    c.no_gradient_path.insert(name.get<std::string>());
  c.has_gradients = entry.at("gradients").get<std::string>() != "none";
  return c;
}

}  // namespace

template <class T>
const T& Case::get(const std::string& key, const char* kind) const {
  const auto found = hyper.find(key);
  if (found == hyper.end()) throw Error(fmt::format("hyper.{} is missing, wanted {}", key, kind));
  if (const T* v = std::get_if<T>(&found->second)) return *v;
  throw Error(fmt::format("hyper.{} is of another kind, wanted {}", key, kind));
}

bool Case::flag(const std::string& key) const { return get<bool>(key, "true or false"); }
double Case::number(const std::string& key) const { return get<double>(key, "a number"); }
const std::string& Case::text(const std::string& key) const { return get<std::string>(key, "text"); }
const std::vector<double>& Case::numbers(const std::string& key) const {
  return get<std::vector<double>>(key, "a list of numbers");
}

bool Case::flag(const std::string& key, bool otherwise) const {
  const auto found = hyper.find(key);
  return found == hyper.end() || found->second.index() == 0 ? otherwise : flag(key);
}

double Case::number(const std::string& key, double otherwise) const {
  const auto found = hyper.find(key);
  return found == hyper.end() || found->second.index() == 0 ? otherwise : number(key);
}

std::vector<Case> read_manifest(const std::string& folder) {
  const std::string path = folder + "/manifest.json";
  std::ifstream in(path);
  if (!in) throw Error(path + ": cannot be read, wanted the manifest of the golden vectors");
  std::vector<Case> cases;
  std::set<std::string> names;
  std::string at = "format";
  try {
    const json manifest = json::parse(in);
    if (manifest.at("format") != "golden-1") throw Error("is another format, wanted golden-1");
    for (const json& entry : manifest.at("cases")) {
      at = fmt::format("case {} of the list", cases.size());
      at = entry.at("name").get<std::string>();
      cases.push_back(case_of(entry));
      if (!names.insert(cases.back().name).second) throw Error("stands there twice");
    }
  } catch (const std::exception& e) {
    throw Error(fmt::format("{}: {}: {}", path, at, e.what()));
  }
  return cases;
}

}  // namespace selene::golden
