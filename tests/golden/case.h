// The manifest of the golden vectors: names, hyperparameters and tolerances of every case (tests/golden/README.md).
#pragma once
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "engine/tensor.h"

namespace selene::golden {

/// Largest allowed error of a tensor: rtol * its largest magnitude + atol.
struct Tolerance {
  double rtol = 0, atol = 0;
};

/// What the manifest says about one tensor. Letters of the axes ("T,B,D"), as far as the first space.
struct Described {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::string axes;
  /// The reference puts the batch second, our operations put it first.
  bool batch_second() const { return shape.size() >= 2 && axes.size() >= 3 && axes.compare(1, 2, ",B") == 0; }
};

/// A hyperparameter: null, flag, number, text or list of numbers.
using Value = std::variant<std::monostate, bool, double, std::string, std::vector<double>>;

struct Case {
  std::string name, group, file;
  std::map<std::string, Value> hyper;
  std::map<std::string, Tolerance> tolerance;  // "out", "grad", "loss"
  std::map<std::string, Described> tensors;
  std::set<std::string> no_gradient_path;  // "param.<name>"
  bool has_gradients = false;              // grad.X for every param.* and float in.*

  bool has(const std::string& tensor) const { return tensors.count(tensor) > 0; }
  /// Hyperparameters by name. Those with a default allow absence and null; the others throw Error with case and key.
  bool flag(const std::string& key) const;
  bool flag(const std::string& key, bool otherwise) const;
  double number(const std::string& key) const;
  double number(const std::string& key, double otherwise) const;
  int64_t integer(const std::string& key) const { return int64_t(number(key)); }
  int64_t integer(const std::string& key, int64_t otherwise) const { return int64_t(number(key, double(otherwise))); }
  const std::string& text(const std::string& key) const;
  const std::vector<double>& numbers(const std::string& key) const;
  bool starts_with(const char* prefix) const { return name.rfind(prefix, 0) == 0; }

 private:
  template <class T>
  const T& get(const std::string& key, const char* kind) const;
};

/// Reads folder/manifest.json. Error (file, case, what was found, what was wanted) when it is missing, is not JSON or
/// lacks something; also for a repeated case name.
std::vector<Case> read_manifest(const std::string& folder);

}  // namespace selene::golden
