// The eager tape: an operation computes at once and records one closure; backward() runs the closures in reverse. One
// tape lives for one micro-batch; first order only.
#pragma once
#include <functional>
#include <memory>
#include <memory_resource>
#include <span>
#include <string>
#include <vector>

#include "autograd/parameters.h"
#include "engine/context.h"

namespace selene {

/// A value on a tape. Cheap to copy.
struct Var {
  Tensor v;
  int slot = -1;       // where its gradient is gathered; -1: nobody wants one
  int parameter = -1;  // index in Parameters; its gradient goes to the flat buffer. Of neighbours: of the first

  bool wants_gradient() const { return slot >= 0 || parameter >= 0; }
  const Shape& shape() const { return v.shape(); }
  int64_t dim(int axis) const { return v.dim(axis); }
  DType dtype() const { return v.dtype(); }
};

class Tape {
 public:
  enum class Mode { train, evaluate };  // evaluate: dropout off
  /// `parameters` may be null where a test brings its own leaves.
  Tape(Context& context, Parameters* parameters, Mode mode);
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  Context& context() { return context_; }
  Stream& stream() { return context_.stream(); }
  Parameters& parameters() { return *parameters_; }
  Tensor empty(Shape shape, DType dtype, const char* what = "activation") {
    return context_.empty(shape, dtype, what);
  }
  Tensor zeros(Shape shape, DType dtype, const char* what = "activation");

  /// A value nobody differentiates (inputs, masks).
  Var constant(Tensor v) { return Var{std::move(v), -1, -1}; }
  /// A value whose gradient the caller wants: read it with gradient() after backward().
  Var leaf(Tensor v);
  /// Parameter i in the compute type.
  Var parameter(int i);
  /// Parameters one above the other as one matrix, whose gradient is one too; v is empty where they do not lie so.
  Var neighbours(const std::vector<int>& indices);

  /// Records the result of an operation. `backward(dy)` gets the gradient of y (its only owner unless other tensors
  /// share the memory: see Tensor::unique) and must pass gradients on with add_grad or into grad(). Nothing is
  /// recorded, and y is a constant, inside no_grad or when no input wants a gradient.
  template <class F>
  Var record(Tensor y, std::initializer_list<const Var*> inputs, F backward) {
    if (!wanted(inputs)) return constant(std::move(y));
    const int slot = new_slot();
    push<F>(slot, 1, std::move(backward));
    return Var{std::move(y), slot, -1};
  }

  /// True when someone upstream wants the gradient of x.
  bool wants(const Var& x) const { return recording_ && x.wants_gradient(); }
  /// Where the gradient of a parameter or leaf is added to: its flat segment, or a zeroed fp32 (fp64) tensor. For
  /// weights, whose kernels accumulate by themselves.
  Tensor grad(const Var& weight);
  /// Adds dx to the gradient of x; takes dx over where it is the first. Ignored when nobody wants it.
  void add_grad(const Var& x, Tensor dx);
  /// Memory for a gradient of x that an operation is about to write and give to add_grad: dense, or where x is a part
  /// of split() a strided view, which saves a copy. Inner stride 1.
  Tensor empty_gradient(const Var& x, const char* what);
  /// The gradient of x so far, for an operation that can add to it in place: one pass over memory less than add_grad.
  /// Empty where there is none yet, where another tensor shares its memory or where it is of another type.
  Tensor gathered(const Var& x) const;

  /// From the gradient of `loss` (a scalar's is 1) back to leaves and parameters. Frees closures as it goes.
  void backward(const Var& loss, Tensor seed);
  /// The same from several outputs at once.
  void backward(std::vector<std::pair<Var, Tensor>> outputs);
  /// Gathered gradient of a leaf after backward; empty when none arrived.
  Tensor gradient(const Var& leaf) const;

  /// Runs f without recording.
  template <class F>
  auto no_grad(F f) {
    struct Restore {
      bool& flag;
      bool old;
      ~Restore() { flag = old; }
    } restore{recording_, recording_};
    recording_ = false;
    return f();
  }
  /// Runs f without keeping anything inside; the backward pass runs it again. Masks are recomputed from their keys,
  /// so the rerun is the same to the bit. f must depend on `inputs`, parameters and constants only.
  using Function = std::function<std::vector<Var>(Tape&, const std::vector<Var>&)>;
  std::vector<Var> checkpoint(const Function& f, const std::vector<Var>& inputs);

  /// The last axis in equal parts: views of x, for operations that take strided ones. Their gradients come back to x
  /// as one, in which a part that got none is 0.
  std::vector<Var> split(const Var& x, int parts);

  /// The dropout site of the model with this id and this probability; off in evaluation.
  DropoutSite dropout(double probability, uint32_t site) const;

  /// Parameters that got a gradient so far (one flag each).
  const std::vector<bool>& touched() const { return touched_; }
  /// Bytes captured by the closures themselves: a test keeps an eye on it.
  int64_t closure_bytes() const { return closure_bytes_; }
  int64_t records() const { return int64_t(nodes_.size()); }

 private:
  struct Node {
    int slot, outputs;
    void (*run)(void* closure, std::span<Tensor> dy);
    void (*destroy)(void* closure);
    void* closure;
  };
  template <class F>
  void push(int slot, int outputs, F&& backward) {
    using Closure = std::decay_t<F>;
    void* memory = closures_.allocate(sizeof(Closure), alignof(Closure));
    closure_bytes_ += int64_t(sizeof(Closure));
    nodes_.push_back({slot, outputs,
                      [](void* c, std::span<Tensor> dy) {
                        if constexpr (std::is_invocable_v<Closure&, std::span<Tensor>>)
                          (*static_cast<Closure*>(c))(dy);
                        else (*static_cast<Closure*>(c))(std::move(dy[0]));
                      },
                      [](void* c) { static_cast<Closure*>(c)->~Closure(); },
                      new (memory) Closure(std::move(backward))});
  }
  /// Where the gradient of a value is gathered.
  struct Slot {
    Tensor gradient;
    bool own = false;          // made by grad(): fp32 (fp64), shares its memory with no other gradient
    DType dtype = DType::f32;  // own: element type of the value, which the closure that reads the gradient wants
    int split = -1;            // index in splits_ of a part
    bool placed = false;       // a part whose memory in Split::whole is given away
  };
  struct Split {  // one call of split()
    int first, parts;
    Tensor whole;  // the gradients of the parts side by side, made when the first of them asks for memory
    Tensor part(const Tensor& x, int i) const;
  };
  bool wanted(std::initializer_list<const Var*> inputs) const;
  int new_slot();
  Tensor made_dense(Tensor x);
  void add_to_parameter(const Var& x, Tensor dx);
  void run_nodes();

  Context& context_;
  Parameters* parameters_;
  Mode mode_;
  bool recording_ = true;
  std::pmr::monotonic_buffer_resource closures_{16 << 10};
  int64_t closure_bytes_ = 0;
  std::vector<Node> nodes_;
  std::vector<Slot> slots_;
  std::vector<Split> splits_;
  std::vector<bool> touched_;
};

}  // namespace selene
