// The parameters of a model: one flat buffer per role (values, compute copy, gradients; the optimiser adds its
// own), with named segments.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/context.h"

namespace selene {

/// How a parameter starts. All are pure functions of (seed, the parameter's index), drawn on the host.
struct Init {
  enum Kind { zeros, ones, uniform, normal } kind = zeros;
  double scale = 0;       // uniform: U(-scale, scale); normal: standard deviation
  int64_t zero_row = -1;  // this row of the first axis starts at 0 (padding symbol)
};

struct Parameter {
  std::string name;  // the reference implementation's name
  Shape shape;
  Init init;
  bool has_gradient_path = true;  // false: never reaches the loss; left out of update and decay
  int64_t offset = 0;             // elements, in every flat buffer
};

/// One maximal run of neighbouring parameters that the optimiser updates: [begin, end) elements of the flat buffers.
struct UpdateRange {
  int64_t begin, end;
};

class Parameters {
 public:
  static constexpr int64_t kSegment = 64;  // elements: segments start on 256 bytes; the gaps hold zeros

  /// Declares a parameter and returns its index. Error if the name is taken.
  int add(std::string name, Shape shape, Init init);
  /// Declares that a parameter does not reach the loss (Luna: the last layer norm of P).
  void no_gradient_path(int index) { list_[size_t(index)].has_gradient_path = false; }
  /// Lays parameters that were declared one after another into memory in this order, where each fills whole segments:
  /// then neighbours() of this order has no gaps. Else they stay as they are. Names, indices and initial values do
  /// not change. Error where the parameters are not one run of the flat buffers.
  void arrange(const std::vector<int>& order);

  /// Allocates the flat buffers in the persistent arena and fills the values from `seed`. `compute`: element type of
  /// the activations: f32, f64, or bf16/f16 with an fp32 master copy. `spare_gradients`: buffers of the micro-batch
  /// tree; training false: values only.
  void allocate(Context& context, DType compute, bool training, int spare_gradients, uint64_t seed);

  int64_t count() const { return int64_t(list_.size()); }
  const Parameter& operator[](int i) const { return list_[size_t(i)]; }
  int find(const std::string& name) const;        // -1 if there is none
  int64_t elements() const { return elements_; }  // of the flat buffers, gaps included
  int64_t true_elements() const;                  // what a paper counts
  DType compute() const { return compute_; }

  Tensor value(int i) const { return segment(compute_values_, i); }  // compute dtype
  Tensor master(int i) const { return segment(values_, i); }         // f32 (f64)
  Tensor gradient(int i) const { return segment(gradients_, i); }    // f32 (f64), sums
  const Tensor& values() const { return values_; }                   // the flat buffers themselves, [elements]
  const Tensor& compute_values() const { return compute_values_; }
  const Tensor& gradients() const { return gradients_; }
  const std::vector<Tensor>& spares() const { return spares_; }
  Tensor segment(const Tensor& flat, int i) const;
  /// Parameters of one shape one above the other, [n rows, columns] or [n rows]: empty unless that is how they lie in
  /// memory.
  Tensor neighbours(const std::vector<int>& indices) const;
  /// One more flat buffer in the persistent arena, of zeros in the type of values().
  Tensor make_flat(Context& context, const char* what) const { return make_flat(context, what, values_.dtype()); }

  /// Writes one parameter's values ([numel], host, f32) into the master and the compute copy.
  void set(Context& context, int i, const float* values);
  /// Refreshes the compute copy from the master.
  void refresh(Context& context);
  std::vector<UpdateRange> update_ranges() const;
  std::vector<int> in_memory_order() const;  // all indices, offsets ascending

 private:
  void initialise(Context& context, uint64_t seed);
  Tensor make_flat(Context& context, const char* what, DType dtype) const;
  std::vector<Parameter> list_;
  int64_t elements_ = 0;
  DType compute_ = DType::f32;
  Tensor values_, compute_values_, gradients_;
  std::vector<Tensor> spares_;
};

}  // namespace selene
