// docs/adding-a-task.md is this file: a task of one's own, the next byte of texts that are prepared for
// classification.
#include <cstring>

#include "models/heads/language_model.h"
#include "tests/support/catch.h"
#include "tests/support/training_fixture.h"

namespace selene::train {
namespace {

constexpr int32_t kSymbols = 257, kStart = 256;  // a byte is its own id; one more stands before a text

class NextByteModel : public TaskModel {
 public:
  NextByteModel(const ModelConfig& config, Parameters& parameters, Context& context, DType compute)
      : model_(config, {kSymbols, -1}, parameters, context, compute) {}
  Result loss(Tape& tape, const DeviceBatch& batch, const Tensor& sums) const override {
    const Tensor &tokens = batch.at("tokens"), &lengths = batch.at("lengths"), &next = batch.at("next");
    return {model_.loss(tape, tokens, lengths, next, 0, data::kNoLabel, sums), {}};
  }

 private:
  LanguageModel model_;
};

// The stage that makes arrays: inputs and targets of all examples, as wide as the longest.
void pad(const std::vector<data::Example>& examples, data::Batch& batch) {
  size_t N = 0;
  for (const data::Example& e : examples) N = std::max(N, e.targets.size());
  data::Array tokens{"tokens", {batch.B, int64_t(N)}}, next{"next", {batch.B, int64_t(N)}},
      lengths{"lengths", {batch.B}};
  for (const data::Example& e : examples) {
    tokens.integers.insert(tokens.integers.end(), e.rows[0].begin(), e.rows[0].end());
    next.integers.insert(next.integers.end(), e.targets.begin(), e.targets.end());
    lengths.integers.push_back(int32_t(e.targets.size()));
    tokens.integers.resize(lengths.integers.size() * N, 0);
    next.integers.resize(lengths.integers.size() * N, data::kNoLabel);  // no loss counts it
    batch.tokens += int64_t(e.targets.size());
  }
  batch.inputs = {tokens, lengths}, batch.targets = {next};
  batch.sample_size = double(batch.tokens);  // the loss is a mean over bytes
}

class NextByte : public Task {
 public:
  using Task::Task;
  std::unique_ptr<TaskModel> build(Parameters& parameters, Context& context, DType compute,
                                   const std::string& recompute) const override {
    ModelConfig config = recipe_.model;
    config.max_positions = recipe_.data.max_length, config.recompute = recompute;
    return std::make_unique<NextByteModel>(config, parameters, context, compute);
  }
  data::Batch shape(int64_t B, int64_t N) const override {
    const std::vector<int32_t> row(static_cast<size_t>(N), 0);
    data::Batch batch;
    batch.B = B;
    pad(std::vector<data::Example>(static_cast<size_t>(B), {{row}, row}), batch);
    return batch;
  }
  Extent extent(const data::Dataset& data) const override {
    int64_t longest = 0;
    for (int64_t i = 0; i < data.examples(); ++i) longest = std::max(longest, data.length(i));
    return {data.examples(), std::min(longest, recipe_.data.max_length)};
  }
  void fit(const std::vector<const data::Dataset*>&) override {}  // its size does not depend on the data
  data::Loader loader(std::shared_ptr<const data::Dataset> data, data::Order order) const override {
    const TrainConfig& t = recipe_.train;
    const auto length = [data](int64_t i) { return data->length(i); };
    auto batches =
        std::make_shared<data::FixedBatches>(data->examples(), t.batch_size, order, uint64_t(t.seed), length);
    const auto frame = [most = size_t(recipe_.data.max_length)](data::Example& e) {
      e.targets = e.rows[0];
      e.targets.resize(std::min(e.targets.size(), most));
      e.rows[0].insert(e.rows[0].begin(), kStart), e.rows[0].resize(e.targets.size());
    };
    return {data, batches, data::read_labelled(data), frame, pad};
  }
};

}  // namespace

TEST_CASE("the task of docs/adding-a-task.md learns the next byte") {
  ModelConfig model;
  model.attention = "full", model.layers = 1, model.dim = 16, model.heads = 2, model.ffn_dim = 32;
  model.dropout = model.attention_dropout = 0;
  Recipe recipe = testing::small_recipe(model);
  recipe.optim = {}, recipe.optim.lr = 1e-2, recipe.schedule.name = "fixed", recipe.data.max_length = 9;
  const NextByte task(recipe);
  data::DatasetBuilder builder;
  for (const char* text : {"abcabcabcabc", "abcab", "abc"}) {
    builder.add_row({reinterpret_cast<const uint8_t*>(text), strlen(text)});
    builder.add_label(0);
  }
  const auto set = std::make_shared<data::Dataset>(builder.finish(data::kind_named("text"), "made"));
  const data::Batch batch = task.loader(set, data::Order::file).make_batch(0);
  CHECK(batch.sample_size == 9 + 5 + 3);
  Session session(task, std::make_unique<Context>(with_room(plan_memory(task, {batch}, true))), true);
  for (int64_t i = 0; i < 60; ++i) testing::update(session, {batch}, i);
  session.set_loss_sums({});
  session.evaluate(batch);
  const LossSums sums = session.loss_sums();
  CHECK(sums.count == 17);
  CHECK(sums.nll / sums.count < 0.5);
}

}  // namespace selene::train
