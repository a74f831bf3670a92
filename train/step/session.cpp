#include "train/step/session.h"

#include <fmt/format.h>

#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "models/registry.h"
#include "train/folder/log.h"
#include "train/step/schedule.h"

namespace selene::train {
namespace {

// What a recipe alone shows of what cuDNN's attention refuses; the rest is an error of the first batch.
void need_attention_kernels(const Recipe& recipe, const Backend* module) {
  const TrainConfig& t = recipe.train;
  if (t.attention_kernels != "cudnn") return;
  const auto need = [](bool good, const std::string& found) {
    if (!good)
      throw Error(fmt::format("train.attention_kernels is cudnn, which {}; `auto` takes cuDNN where it can", found));
  };
  need(module, "needs a GPU");
  need(t.precision != "fp32", "computes in bf16 and fp16: train.precision is fp32");
  need(recipe.model.attention_dropout == 0,
       fmt::format("has no dropout: model.attention_dropout is {}", recipe.model.attention_dropout));
}

// `auto` is the own kernels where the module has no cuDNN.
void choose_attention(Stream& stream, const std::string& kernels) {
  if (kernels == "own") return;
  try {
    stream.set(StreamOption::attention,
               int64_t(kernels == "cudnn" ? AttentionKernels::cudnn : AttentionKernels::automatic));
  } catch (const Error& e) {
    if (kernels == "cudnn") throw;
    log_info(fmt::format("train.attention_kernels is auto, and all attention is by our own kernels: {}", e.what()));
  }
}

}  // namespace

DType compute_type(const std::string& precision) {
  return precision == "fp32" ? DType::f32 : precision == "bf16" ? DType::bf16 : DType::f16;
}

void need_precision(const std::string& precision, const Backend* module) {
  if (!module && precision == "fp16")
    throw Error("train.precision is fp16, which needs a GPU; on the CPU use fp32 or bf16");
  if (!module || precision != "bf16") return;
  const DeviceInfo device = module->info();
  if (device.major < 8)
    throw Error(
        fmt::format("train.precision is bf16, which needs compute capability 8.0; {} has {}.{}: use fp16 or fp32",
                    device.name, device.major, device.minor));
}

void need_device(const Recipe& recipe, const Backend* module) {
  need_precision(recipe.train.precision, module);
  need_attention_kernels(recipe, module);
  if (!module) return;
  const ModelConfig& m = recipe.model;
  const Mechanism& mechanism = attention_named(m.attention);
  const int64_t head = mechanism.largest_head ? mechanism.largest_head(m) : 0;
  if (head > kMostHeadSize)
    throw Error(fmt::format("model.attention {} has heads of {} channels, a GPU takes 1 to {}", m.attention, head,
                            kMostHeadSize));
}

Session::Session(const Task& task, std::unique_ptr<Context> context, bool training, Group group, bool recompute)
    : task_(task), group_(group), context_(std::move(context)) {
  const TrainConfig& t = recipe().train;
  const DType compute = compute_type(t.precision);
  model_ = task_.build(parameters_, *context_, compute, recompute ? t.recompute : "none");
  const int spares = training ? GradientTree::spares(t.accumulation) : 0;
  parameters_.allocate(*context_, compute, training, spares, uint64_t(t.seed));
  sums_ = context_->make(context_->persistent(), {4}, DType::f64, "loss sums");
  set_loss_sums({});
  context_->stream().set(StreamOption::tf32, t.tf32);
  choose_attention(context_->stream(), t.attention_kernels);
  if (!training) return;
  optimizer_ = std::make_unique<Optimizer>(recipe().optim, loss_scaling(t), parameters_, *context_);
  tree_ = std::make_unique<GradientTree>(parameters_, *context_, group_, t.accumulation);
}

Session::~Session() = default;

void Session::set_step(int64_t finished, int64_t micro, double sample_size) {
  const TrainConfig& t = recipe().train;
  StepScalars s{};
  s.seed = uint64_t(t.seed);
  s.micro_batch = uint64_t(group_.number(finished * t.accumulation + micro, t.accumulation));
  const double lr = learning_rate(recipe().schedule, recipe().optim.lr, t.updates, finished);
  optimizer_->scalars(s, finished, lr, sample_size);
  context_->set_step(s);
}

DeviceBatch Session::upload(const data::Batch& batch) {
  DeviceBatch on_device;
  for (const std::vector<data::Array>* list : {&batch.inputs, &batch.targets})
    for (const data::Array& array : *list) {
      const Shape shape(array.shape.begin(), array.shape.end());
      Tensor& to = on_device.tensors.emplace_back(array.name, Tensor()).second;
      if (array.reals.empty()) {
        to = context_->tensor(shape, array.integers, "integers of a batch");
        continue;
      }
      to = context_->tensor(shape, array.reals, "reals of a batch");
      if (const DType compute = parameters_.compute(); compute != DType::f32) {
        const Tensor narrow = context_->empty(shape, compute, "reals of a batch");
        run(context_->stream(), Cast<float>{to.data<float>(), narrow.raw(), compute, narrow.numel()});
        to = narrow;
      }
    }
  return on_device;
}

void Session::micro_batch(const data::Batch& batch, int64_t micro) { micro_batch(upload(batch), micro); }

void Session::micro_batch(const DeviceBatch& batch, int64_t micro) {
  tree_->begin();
  {
    Tape tape(*context_, &parameters_, Tape::Mode::train);
    const Var loss = model_->loss(tape, batch, sums_).loss;  // the outputs are gone: nobody looks at them
    tape.backward(loss, optimizer_->loss_gradient());
    if (!checked_) check_gradients(tape);
  }
  tree_->end(micro);
}

// A parameter that silently gets no gradient is the commonest fault of a new model.
void Session::check_gradients(const Tape& tape) {
  checked_ = true;
  for (int i = 0; i < int(parameters_.count()); ++i) {
    const Parameter& p = parameters_[i];
    if (tape.touched()[size_t(i)] == p.has_gradient_path) continue;
    if (p.has_gradient_path)
      throw Error(fmt::format(
          "parameter {} got no gradient in the first backward pass and is not declared to have none", p.name));
    throw Error(fmt::format("parameter {} got a gradient but is declared to have none", p.name));
  }
}

void Session::evaluate(const data::Batch& batch, const std::function<void(const Tensor& outputs)>& look) {
  Tape tape(*context_, &parameters_, Tape::Mode::evaluate);
  tape.no_grad([&] {
    const TaskModel::Result result = model_->loss(tape, upload(batch), sums_);
    if (look) look(result.outputs.v);
  });
}

LossSums Session::loss_sums() {
  LossSums sums{};
  context_->download(sums_, &sums);
  return sums;
}

void Session::set_loss_sums(const LossSums& sums) { context_->upload(sums_, &sums); }

}  // namespace selene::train
