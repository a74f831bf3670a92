#include "train/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "train/schedule.h"

namespace selene::train {

DType compute_type(const std::string& precision) {
  if (precision == "fp32") return DType::f32;
  if (precision == "bf16") return DType::bf16;
  throw Error(fmt::format("train.precision is {}: this build computes in fp32 and bf16", precision));
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
  seed_gradient_ = context_->make(context_->persistent(), {1}, DType::f32, "gradient of the loss");
  const float one = 1;
  context_->upload(seed_gradient_, &one);
  set_loss_sums({});
  if (!training) return;
  optimizer_ = std::make_unique<Optimizer>(recipe_.optim, parameters_, *context_);
  tree_ = std::make_unique<GradientTree>(parameters_, *context_, recipe_.train.accumulation);
}

Session::~Session() = default;

MemoryPlan Session::plan(const Recipe& recipe, const ModelSize& size, const std::vector<data::Batch>& shapes,
                         bool training) {
  Session dry(recipe, size, Context::dry(), training);
  for (const data::Batch& batch : shapes) {
    if (training) dry.micro_batch(batch, 0);
    dry.evaluate(batch);
  }
  return dry.context().plan();
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
    tape.backward(loss, seed_gradient_);
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
    cross_entropy(tape, logits, labels, recipe_.train.label_smoothing, -1, sums_);
    Tensor wide = logits.v;
    if (wide.dtype() != DType::f32) {
      wide = context_->empty(wide.shape(), DType::f32, "logits");
      run(context_->stream(), Cast<bf16>{logits.v.data<bf16>(), wide.raw(), DType::f32, wide.numel()});
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
