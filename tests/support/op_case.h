// One public operation with inputs of certain shapes, described once: the gradient check, the comparison of element
// types and the comparison of backends all read the same list.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "autograd/ops.h"

namespace selene::testing {

struct OpInput {
  Shape shape;
  double low = -1, high = 1;  // values are uniform between them
  double away = 0;            // and at least this far from 0, where the operation has a kink
  int64_t frozen_row = -1;    // a row of the first axis that is read but by definition gets no gradient (padding)
};

struct OpCase {
  std::string op;     // its name in autograd/ops.h
  std::string label;  // the variant, unique among the cases of an operation
  std::vector<OpInput> inputs;
  /// Calls the operation. Integers, masks and lengths are made inside, as constants.
  std::function<Var(Tape&, const std::vector<Var>&)> apply;
};

/// Every case, in a fixed order: small enough for gradients by differences.
const std::vector<OpCase>& op_cases();
/// The same operations around the edges of a device's tiles and where it cuts long axes.
const std::vector<OpCase>& device_cases();
/// The same operations so large that the CPU backend cuts them into pieces for its threads.
const std::vector<OpCase>& thread_cases();
/// The parts that each puts together.
enum class Extent { small, device, threads };
void add_product_cases(std::vector<OpCase>& cases, Extent extent);      // linear, matmul, feed_forward, attention
void add_row_cases(std::vector<OpCase>& cases, Extent extent);          // norms, dropout, softmax, loss
void add_elementwise_cases(std::vector<OpCase>& cases, Extent extent);  // inputs, pooling, small change

/// What a case gives: the result and the gradient of sum(cotangent * result) with respect to every input, as doubles
/// (exact, whatever the element type).
struct OpResult {
  std::vector<double> y;
  std::vector<std::vector<double>> gradients;
};

/// Values of the inputs, and after them the cotangent of the result, all representable in every element type of
/// `narrowest` and wider.
struct OpValues {
  std::vector<std::vector<double>> inputs;
  std::vector<double> cotangent;
};
OpValues random_values(const OpCase& c, DType narrowest, uint64_t seed);

/// Runs a case forward and backward in a context that has dropout scalars set (set_test_step).
OpResult run_case(const OpCase& c, const OpValues& values, DType dtype, Context& context);
/// Forward only: sum(cotangent * result).
double loss_of(const OpCase& c, const OpValues& values, Context& context);

/// Fixed per-step scalars, so that dropout masks are the same in every call.
void set_test_step(Context& context);
/// A context with enough memory for any case.
MemoryPlan test_memory();

/// Largest |x|; NaN if any is NaN.
double largest(const std::vector<double>& v);
/// Largest |a - b|; NaN if any is NaN, infinite if the sizes differ.
double distance(const std::vector<double>& a, const std::vector<double>& b);

/// Host values into a new tensor of a floating-point type, rounded to nearest; and back.
Tensor upload_doubles(Context& context, const Shape& shape, DType dtype, const std::vector<double>& values);
std::vector<double> download_doubles(Context& context, const Tensor& t);

}  // namespace selene::testing
