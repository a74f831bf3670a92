// Training as a whole: the gradient tree, threads, declared gradient paths, dropout masks in text, learning.
#include <cmath>
#include <limits>

#include "kernels/dropout.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"
#include "tests/support/model_fixture.h"
#include "tests/support/op_case.h"
#include "tests/support/threads.h"
#include "tests/support/training_fixture.h"

namespace selene::testing {
namespace {

using namespace train;

using Floats = std::vector<float>;

constexpr int64_t kB = 3, kN = 14;

// The sum of leaves [first, first + span), span a power of two, in a binary tree over the index; leaves beyond the
// end are left out.
Floats tree_sum(const std::vector<Floats>& leaves, size_t first, size_t span) {
  if (span == 1) return leaves[first];
  Floats sum = tree_sum(leaves, first, span / 2);
  if (first + span / 2 >= leaves.size()) return sum;
  const Floats right = tree_sum(leaves, first + span / 2, span / 2);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += right[i];
  return sum;
}

Recipe accumulating(const ModelConfig& model, int64_t micro_batches, const char* precision) {
  Recipe r = small_recipe(model);
  r.train.accumulation = micro_batches;
  r.train.precision = precision;
  return r;
}

// Gradients of one update with as many micro-batches in one session.
Floats in_the_tree(const ModelConfig& model, const char* precision, const std::vector<data::Batch>& batches,
                   Group group = {}) {
  const auto s = small_session(accumulating(model, int64_t(batches.size()), precision), kB, kN, nullptr, group);
  for (size_t i = 0; i < batches.size(); ++i) {
    s->set_step(0, int64_t(i), 1);
    s->micro_batch(batches[i], int64_t(i));
  }
  return floats(*s, s->parameters().gradients());
}

// The same from separate micro-batches: with one micro-batch an update, the dropout counter is the update's number.
Floats by_hand(const ModelConfig& model, const char* precision, const std::vector<data::Batch>& batches) {
  const auto s = small_session(accumulating(model, 1, precision), kB, kN);
  std::vector<Floats> leaves;
  for (size_t i = 0; i < batches.size(); ++i) {
    s->set_step(int64_t(i), 0, 1);
    s->micro_batch(batches[i], 0);
    leaves.push_back(floats(*s, s->parameters().gradients()));
  }
  return tree_sum(leaves, 0, 16);
}

}  // namespace

TEST_CASE("micro-batches in the tree give the bits of separate tapes combined by hand") {
  const Threads one(1);
  for (const ModelConfig& model : {small_luna(), small_transformer()})
    for (const char* precision : {"fp32", "bf16"})
      for (const size_t count : {1, 2, 3, 5, 6, 7, 8}) {
        INFO(model.attention << " " << precision << " " << count);
        std::vector<data::Batch> batches;
        for (size_t i = 0; i < count; ++i) batches.push_back(random_batch(model, kB, kN, i));
        const Floats tree = in_the_tree(model, precision, batches);
        CHECK(tree == by_hand(model, precision, batches));
        CHECK(std::isfinite(tree[0]));
      }
}

TEST_CASE("two ranks have the two halves of the tree") {
  const Threads one(1);
  const ModelConfig model = small_luna();
  std::vector<data::Batch> batches;
  for (size_t i = 0; i < 4; ++i) batches.push_back(random_batch(model, kB, kN, i));
  Floats sum = in_the_tree(model, "fp32", {batches[0], batches[1]}, {0, 2});
  const Floats right = in_the_tree(model, "fp32", {batches[2], batches[3]}, {1, 2});
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += right[i];
  CHECK(sum == in_the_tree(model, "fp32", batches));
  batches.pop_back();
  CHECK(message_of([&] {
          in_the_tree(model, "fp32", batches, {1, 2});
        }) == "train.accumulation is 3, wanted a power of two for 2 ranks");
}

TEST_CASE("1, 2 and 3 threads give the same bits, dropout on") {
  for (ModelConfig model : {small_luna(), small_transformer()})
    for (const char* precision : {"fp32", "bf16"}) {
      INFO(model.attention << " " << precision);
      model.dim = 64, model.heads = 4, model.ffn_dim = 192, model.own.at("luna.projection_length") = 16,
      model.max_positions = 300;
      const Recipe r = accumulating(model, 1, precision);
      const auto trained = [&](int threads) {
        const Threads scope(threads);
        const auto s = small_session(r, 4, 270);
        for (int64_t u = 0; u < 2; ++u) update(*s, {random_batch(model, 4, 270, uint64_t(u))}, u);
        return state_of(*s);
      };
      const auto one = trained(1);
      CHECK(one == trained(2));
      CHECK(one == trained(3));
    }
}

TEST_CASE("a parameter whose gradient path is declared wrongly stops the first step") {
  const Recipe r = small_recipe(small_luna());
  const data::Batch batch = random_batch(r.model, kB, kN, 1);
  const auto s = small_session(r, kB, kN);
  s->set_step(0, 0, 1);
  Parameters& p = s->parameters();
  const int head = p.find("sentence_projection_layer.weight");
  p.no_gradient_path(head);
  CHECK(message_of([&] { s->micro_batch(batch, 0); }) ==
        "parameter sentence_projection_layer.weight got a gradient but is declared to have none");
  const auto other = small_session(r, kB, kN);
  int unread = -1;
  for (int i = 0; i < int(other->parameters().count()); ++i)
    if (!other->parameters()[i].has_gradient_path) unread = i;
  REQUIRE(unread >= 0);
  // There is no public way to take a declaration back: this stands for a model that forgot it.
  const_cast<Parameter&>(other->parameters()[unread]).has_gradient_path = true;
  other->set_step(0, 0, 1);
  const std::string text = message_of([&] { other->micro_batch(batch, 0); });
  CHECK(text.find(" got no gradient in the first backward pass and is not declared to have none") !=
        std::string::npos);
  CHECK(text.find("self_atten_proj_layer_norm") != std::string::npos);
}

TEST_CASE("parameters without a gradient path keep their values") {
  const Recipe r = small_recipe(small_luna());
  const auto s = small_session(r, kB, kN);
  std::vector<int> unread;
  for (int i = 0; i < int(s->parameters().count()); ++i)
    if (!s->parameters()[i].has_gradient_path) unread.push_back(i);
  const auto values = [&](int i) { return s->context().values<float>(s->parameters().master(i)); };
  REQUIRE(unread.size() == 2);
  const Floats before = values(unread[0]), trained = values(0);
  update(*s, {random_batch(r.model, kB, kN, 1)}, 0);
  CHECK(values(unread[0]) == before);
  CHECK(values(0) != trained);
}

TEST_CASE("dropout masks are the ones on file") {
  struct Pinned {
    uint64_t seed, micro_batch;
    uint32_t site;
    double p;
    int64_t example;
    const char* mask;  // of elements 0 to 39: 1 = kept
  };
  // Made by an independent Philox4x32-7 from the definition in kernels/dropout.h.
  constexpr Pinned masks[] = {
      {0ull, 0ull, 0, 0.5, 0, "0111111110000100110000100100101111001111"},
      {1ull, 0ull, 0, 0.5, 0, "0001011111100100001110100100001010110001"},
      {0ull, 1ull, 0, 0.5, 0, "0100001011101110111011111010101111010101"},
      {0ull, 0ull, 1, 0.5, 0, "1110000000111100011000011000101100010001"},
      {0ull, 0ull, 0, 0.5, 1, "1010101101011011001000001111011001000110"},
      {1234567890123456789ull, 41ull, 257, 0.1, 2, "1001111111111111011111110011111110111111"},
      {18446744073709551615ull, 4294967295ull, 16777475, 0.3, 3, "0100011111011111100100011110010100111101"},
      {42ull, 7ull, 8, 0.9, 1, "0000000001000000000000000000100100000000"},
      {42ull, 7ull, 8, 0.25, 0, "1001011101101111011011110011011100111111"},
      {4294967296ull, 2147483648ull, 5, 0.125, 2, "0111111011111110001111111111110011111111"},
  };
  Context context(test_memory());
  for (const Pinned& m : masks) {
    INFO("seed " << m.seed << " micro-batch " << m.micro_batch << " site " << m.site << " p " << m.p);
    StepScalars scalars{};
    scalars.seed = m.seed, scalars.micro_batch = m.micro_batch;
    context.set_step(scalars);
    Tape t(context, nullptr, Tape::Mode::train);
    const int64_t B = m.example + 1;
    const Tensor ones = context.tensor<float>({B, 5, 8}, Floats(size_t(B * 40), 1.0f));
    const Floats y = context.values<float>(dropout(t, t.constant(ones), t.dropout(m.p, m.site), {}).v);
    const float kept = dropout_scale(t.dropout(m.p, m.site).threshold);
    std::string mask;
    for (int64_t e = 0; e < 40; ++e) {
      const float x = y[size_t(m.example * 40 + e)];
      mask += x == kept ? '1' : x == 0 ? '0' : '?';
    }
    CHECK(mask == m.mask);
  }
}

TEST_CASE("eight examples are learnt by heart in a hundred updates") {
  const Threads one(1);
  for (ModelConfig model : {small_luna(), small_transformer()}) {
    INFO(model.attention);
    model.dropout = model.attention_dropout = model.activation_dropout = model.head_dropout = 0;
    model.dim = 24, model.ffn_dim = 48;
    Recipe r = small_recipe(model);
    r.train.label_smoothing = 0, r.optim.weight_decay = 0, r.optim.lr = 5e-3, r.schedule.name = "fixed";
    const data::Batch batch = random_batch(model, 8, kN, 3);
    const auto s = small_session(r, 8, kN);
    for (int64_t u = 0; u < 100; ++u) update(*s, {batch}, u);
    s->set_loss_sums({});
    s->evaluate(batch);
    const LossSums sums = s->loss_sums();
    CHECK(sums.correct == 8);
    CHECK(sums.count == 8);
    CHECK(sums.loss / 8 < 0.05);
  }
}

TEST_CASE("a gradient that is not finite is found with its parameter") {
  const Recipe r = small_recipe(small_transformer());
  const data::Batch batch = random_batch(r.model, kB, kN, 1);
  const auto s = small_session(r, kB, kN);
  update(*s, {batch}, 0);
  CHECK(!s->optimizer().state().skip);
  CHECK(s->optimizer().norm() > 0);
  Parameters& p = s->parameters();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (const int i : {0, int(p.count()) / 2, int(p.count()) - 1}) {
      INFO(p[i].name);
      s->set_step(1, 0, double(kB));
      s->micro_batch(batch, 0);
      Floats g = s->context().values<float>(p.gradient(i));
      g.back() = bad;
      s->context().upload(p.gradient(i), g.data());
      s->optimizer().step();
      CHECK(s->optimizer().first_not_finite() == p[i].name);
      const auto fresh = small_session(r, kB, kN);  // the step has spread it: begin again
      for (int j = 0; j < int(p.count()); ++j)
        p.set(s->context(), j, fresh->context().values<float>(fresh->parameters().master(j)).data());
    }
}

TEST_CASE("a parameter that is not finite is noticed after one step") {
  const Recipe r = small_recipe(small_luna());
  const auto s = small_session(r, kB, kN);
  Parameters& p = s->parameters();
  const int i = p.find("sentence_projection_layer.weight");
  const Floats nan(size_t(p[i].shape.numel()), std::numeric_limits<float>::quiet_NaN());
  p.set(s->context(), i, nan.data());
  update(*s, {random_batch(r.model, kB, kN, 1)}, 0);
  CHECK(p.find(s->optimizer().first_not_finite()) >= 0);
  CHECK(std::isnan(s->optimizer().norm()));
}

TEST_CASE("the same recipe twice gives the same bits, another seed does not") {
  Recipe r = small_recipe(small_luna());
  const auto trained = [&] {
    const auto s = small_session(r, kB, kN);
    for (int64_t u = 0; u < 3; ++u) update(*s, {random_batch(r.model, kB, kN, uint64_t(u))}, u);
    return state_of(*s);
  };
  const auto first = trained();
  CHECK(first == trained());
  r.train.seed = 12;
  CHECK(first != trained());
}

TEST_CASE("evaluation changes nothing but the loss sums") {
  const Recipe r = small_recipe(small_luna());
  const auto s = small_session(r, kB, kN);
  const data::Batch batch = random_batch(r.model, kB, kN, 1);
  update(*s, {batch}, 0);
  const auto before = state_of(*s);
  const Floats gradients = floats(*s, s->parameters().gradients());
  s->set_loss_sums({});
  const std::vector<float> logits = logits_of(*s, batch);
  CHECK(logits.size() == size_t(kB * 5));
  CHECK(s->loss_sums().count == kB);
  CHECK(logits == logits_of(*s, batch));
  CHECK(s->loss_sums().count == 2 * kB);
  CHECK(before == state_of(*s));
  CHECK(gradients == floats(*s, s->parameters().gradients()));
}

TEST_CASE("precisions that a device has not are refused") {
  CHECK(compute_type("fp32") == DType::f32);
  CHECK(compute_type("bf16") == DType::bf16);
  CHECK(compute_type("fp16") == DType::f16);
  CHECK(message_of([] { need_precision("fp32", nullptr), need_precision("bf16", nullptr); }) == "");
  CHECK(message_of([] { need_precision("fp16", nullptr); }) ==
        "train.precision is fp16, which needs a GPU; on the CPU use fp32 or bf16");
}

TEST_CASE("attention kernels that a device or a recipe has not are refused") {
  Recipe r = small_recipe(small_transformer());
  const auto refusal = [&](const Backend* module) { return message_of([&] { need_device(r, module); }); };
  CHECK(refusal(nullptr) == "");
  r.train.attention_kernels = "auto";
  CHECK(refusal(nullptr) == "");
  r.train.attention_kernels = "cudnn";
  CHECK(refusal(nullptr) == "train.attention_kernels is cudnn, which needs a GPU; `auto` takes cuDNN where it can");
}

TEST_CASE("a batch of images has no lengths, a planned batch of symbols has some") {
  ModelConfig model = small_luna();
  CHECK(small_task(small_recipe(model))->shape(2, 5).at("lengths").integers == std::vector<int32_t>{5, 4});
  CHECK(small_task(small_recipe(model))->shape(1, 5).inputs.size() == 2);
  model.towers = 2;
  CHECK(small_task(small_recipe(model))->shape(1, 5).at("lengths.1").integers == std::vector<int32_t>{4});
  model.towers = 1;
  model.input = "pixels";
  CHECK(small_task(small_recipe(model))->shape(2, 5).inputs.size() == 2);
}

}  // namespace selene::testing
