#include "train/step/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "autograd/with_dtype.h"
#include "data/dataset.h"
#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "models/registry.h"
#include "train/step/schedule.h"

namespace selene::train {

namespace {}  // namespace

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
  if (!module) return;
  const ModelConfig& m = recipe.model;
  const Mechanism& mechanism = attention_named(m.attention);
  const int64_t head = mechanism.largest_head ? mechanism.largest_head(m) : 0;
  if (head > kMostHeadSize)
    throw Error(fmt::format("model.attention {} has heads of {} channels, a GPU takes 1 to {}", m.attention, head,
                            kMostHeadSize));
}

data::Batch shape_batch(int64_t B, int64_t N, const ModelConfig& model) {
  data::Batch batch;
  batch.B = B;
  batch.labels.assign(size_t(B), 0);
  for (int64_t i = 0; i < model.towers; ++i) {
    data::Tower tower{N, {}, {}, std::vector<int32_t>(size_t(B), int32_t(N))};
    if (model.input == "pixels") tower.pixels.assign(size_t(B * N), 0.0f);
    else tower.tokens.assign(size_t(B * N), 0);
    batch.towers.push_back(std::move(tower));
  }
  return batch;
}

Session::Session(const Recipe& recipe, const ModelSize& size, std::unique_ptr<Context> context, bool training)
    : recipe_(recipe), context_(std::move(context)) {
  const DType compute = compute_type(recipe_.train.precision);
  ModelConfig model = recipe_.model;
  if (!model.max_positions) model.max_positions = size.max_positions;
  model.recompute = recipe_.train.recompute;
  classifier_ = std::make_unique<Classifier>(model, size.symbols, size.classes, parameters_, *context_, compute);
  const int spares = training ? GradientTree::spares(recipe_.train.accumulation) : 0;
  parameters_.allocate(*context_, compute, training, spares, uint64_t(recipe_.train.seed));
  sums_ = context_->make(context_->persistent(), {4}, DType::f64, "loss sums");
  set_loss_sums({});
  context_->stream().set(StreamOption::tf32, recipe_.train.tf32);
  if (!training) return;
  optimizer_ = std::make_unique<Optimizer>(recipe_.optim, loss_scaling(recipe_.train), parameters_, *context_);
  tree_ = std::make_unique<GradientTree>(parameters_, *context_, recipe_.train.accumulation);
}

Session::~Session() = default;

MemoryPlan Session::plan(const Recipe& recipe, const ModelSize& size, const std::vector<data::Batch>& shapes,
                         bool training, const Backend* module, std::vector<std::string>* largest) {
  Session dry(recipe, size, Context::dry(module), training);
  dry.run_dry(shapes, training);
  const MemoryPlan plan = dry.context().plan();
  if (largest) {
    Session again(recipe, size, Context::dry(module), training);
    again.context().step().note_at(plan.step);
    again.run_dry(shapes, training);
    *largest = again.context().step().noted();
  }
  return plan;
}

MemoryPlan with_room(MemoryPlan plan) {
  plan.step += plan.step / 8;
  return plan;
}

void Session::run_dry(const std::vector<data::Batch>& shapes, bool training) {
  for (const data::Batch& batch : shapes) {
    if (training) micro_batch(batch, 0);
    evaluate(batch);
  }
}

void Session::set_step(int64_t finished, int64_t micro, double sample_size) {
  StepScalars s{};
  s.seed = uint64_t(recipe_.train.seed);
  s.micro_batch = uint64_t(finished * recipe_.train.accumulation + micro);
  const double lr = learning_rate(recipe_.schedule, recipe_.optim.lr, recipe_.train.updates, finished);
  optimizer_->scalars(s, finished, lr, sample_size);
  context_->set_step(s);
}

std::vector<TowerInput> Session::upload(const data::Batch& batch) {
  std::vector<TowerInput> towers;
  for (const data::Tower& tower : batch.towers) {
    TowerInput in;
    in.B = batch.B, in.N = tower.N;
    in.lengths = context_->tensor({batch.B}, tower.lengths, "lengths");
    in.longest =
        context_->tensor({1}, std::vector<int32_t>{*std::max_element(tower.lengths.begin(), tower.lengths.end())});
    if (!tower.tokens.empty()) in.tokens = context_->tensor({batch.B, tower.N}, tower.tokens, "tokens");
    if (!tower.pixels.empty()) {
      in.pixels = context_->tensor({batch.B, tower.N}, tower.pixels, "pixels");
      if (const DType compute = parameters_.compute(); compute != DType::f32) {
        const Tensor narrow = context_->empty(in.pixels.shape(), compute, "pixels");
        run(context_->stream(), Cast<float>{in.pixels.data<float>(), narrow.raw(), compute, narrow.numel()});
        in.pixels = narrow;
      }
    }
    towers.push_back(in);
  }
  return towers;
}

Tensor Session::upload_labels(const data::Batch& batch) {
  return context_->tensor({batch.B}, batch.labels, "labels");
}

void Session::micro_batch(const data::Batch& batch, int64_t micro) {
  micro_batch(upload(batch), upload_labels(batch), micro);
}

void Session::micro_batch(const std::vector<TowerInput>& towers, const Tensor& labels, int64_t micro) {
  tree_->begin();
  {
    Tape tape(*context_, &parameters_, Tape::Mode::train);
    Var logits = classifier_->forward(tape, towers).logits;
    const Var loss = cross_entropy(tape, logits, labels, recipe_.train.label_smoothing, -1, sums_);
    logits = {};
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

std::vector<float> Session::evaluate(const data::Batch& batch) {
  Tape tape(*context_, &parameters_, Tape::Mode::evaluate);
  return tape.no_grad([&] {
    const std::vector<TowerInput> towers = upload(batch);
    const Tensor labels = upload_labels(batch);
    const Var logits = classifier_->forward(tape, towers).logits;
    cross_entropy(tape, logits, labels, recipe_.train.label_smoothing, data::no_label, sums_);
    Tensor wide = logits.v;
    if (wide.dtype() != DType::f32) {
      wide = context_->empty(wide.shape(), DType::f32, "logits");
      with_dtype(logits.dtype(), [&]<class T>() {
        run(context_->stream(), Cast<T>{logits.v.data<T>(), wide.raw(), DType::f32, wide.numel()});
      });
    }
    return context_->values<float>(wide);
  });
}

LossSums Session::loss_sums() {
  LossSums sums{};
  context_->download(sums_, &sums);
  return sums;
}

void Session::set_loss_sums(const LossSums& sums) { context_->upload(sums_, &sums); }

}  // namespace selene::train
