// One golden case while it runs: its file, a context (the CPU, or the device that SELENE_DEVICE_MODULE names), the
// leaves and outputs of the computation, and the result of every comparison. Tensors that the reference keeps as [T,
// B, ...] enter and leave as [B, T, ...].
#pragma once
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "data/io/safetensors.h"
#include "tests/golden/case.h"

namespace selene::golden {

/// One compared tensor. `complaint` is empty when it passed.
struct Check {
  std::string tensor;
  double error = 0, bound = 0;  // largest |got - want|, and what is allowed
  std::string complaint;
};

class Session {
 public:
  /// Opens the case's file. Error when a tensor that the manifest names is missing or has another dtype or shape.
  Session(const Case& golden, const std::string& folder);

  const Case& golden;
  Context context;
  Parameters parameters;

  /// The tape in evaluation mode, made at the first call: after the parameters are declared.
  Tape& tape();

  // --- Inputs. `name` with its prefix ("in.x"); Error when the file has no such tensor.
  std::vector<float> floats(const std::string& name) const;
  std::vector<int64_t> integers(const std::string& name) const;
  /// On the device: f32, u8, or i32 for the file's I64.
  Tensor tensor(const std::string& name);
  /// The same, or an empty tensor when the case has none (masks).
  Tensor optional(const std::string& name);
  /// An input whose gradient is compared at the end; a second call gives the same one.
  Var leaf(const std::string& name);

  // --- Parameters
  /// Allocates `parameters` and fills each from the file's prefix + name. Error when names or shapes differ on either
  /// side, or when `check_paths` and the parameters declared to be without gradient are not those of the manifest.
  void load_parameters(const std::string& prefix = "param.", bool check_paths = true);

  // --- Comparisons
  /// out.<name>, with its part in the loss where the case has lossw.<name>.
  void output(const std::string& name, const Var& y);
  /// loss = sum over outputs k of sum(lossw.k * out.k), and all gradients.
  void backward();
  /// All gradients, for a loss that the caller computed: f32[1] on the device, `value` on the host.
  void backward(const Var& loss, double value);
  /// Compares any tensor of the file; `got` in our order of axes.
  void expect(const std::string& name, const Tensor& got);
  void expect(const std::string& name, const std::vector<int64_t>& shape, std::span<const double> got);

  /// Every comparison so far, and a complaint for each out.*, loss and grad.* tensor that none has touched.
  std::vector<Check> finish();

 private:
  struct Output {
    std::string name;
    Var y;
  };
  const Described& described(const std::string& name) const;
  const data::TensorEntry& entry(const std::string& name, DType dtype) const;
  Tolerance tolerance(const std::string& name) const;
  void check_file() const;
  void check_gradient_paths() const;
  void check_gradients();
  std::pair<std::vector<int64_t>, std::vector<double>> wanted(const std::string& name) const;

  data::SafetensorsFile file_;
  std::vector<Output> leaves_, outputs_;
  std::vector<Check> checks_;
  std::set<std::string> checked_;
  std::unique_ptr<Tape> tape_;
};

/// How a case is run: fills the session with comparisons.
using Runner = void (*)(Session&);
/// Which cases a runner takes; a '*' at the end of `name` stands for anything.
struct Row {
  const char* group;
  const char* name;
  Runner run;
};
std::span<const Row> operation_rows();   // ops.cpp
std::span<const Row> attention_rows();   // attention.cpp
std::span<const Row> classifier_rows();  // classifier.cpp
std::span<const Row> optimizer_rows();   // optim.cpp

}  // namespace selene::golden
