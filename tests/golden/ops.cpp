// The operators one by one (group ops), but for the attention modules.
#include <algorithm>
#include <cmath>
#include <string>

#include "autograd/ops.h"
#include "kernels/error.h"
#include "models/blocks/embeddings.h"
#include "models/blocks/linear.h"
#include "tests/golden/session.h"

namespace selene::golden {
namespace {

constexpr int32_t kNoPadding = -1;

int32_t padding_of(const Session& s) { return int32_t(s.golden.integer("padding_idx", kNoPadding)); }

void activation(Session& s) {
  constexpr std::pair<const char*, Activation> table[] = {
      {"ops_relu", Activation::relu},
      {"ops_gelu_erf", Activation::gelu},
      {"ops_gelu_tanh", Activation::gelu_tanh},
      {"ops_silu", Activation::silu},
      {"ops_sigmoid", Activation::sigmoid},
      {"ops_tanh", Activation::tanh},
      {"ops_elu_plus_one", Activation::elu_plus_one},  // before elu: the first prefix that fits counts
      {"ops_elu", Activation::elu},
      {"ops_softplus", Activation::softplus},
  };
  const auto* row =
      std::find_if(std::begin(table), std::end(table), [&](const auto& r) { return s.golden.starts_with(r.first); });
  if (row == std::end(table)) throw Error("no activation of this name");
  s.output("y", activate(s.tape(), s.leaf("in.x"), row->second, s.golden.number("beta", 0)));
  s.backward();
}

void cross_entropies(Session& s) {
  Tape& t = s.tape();
  const Var logits = s.leaf("in.logits");
  const Tensor sums = t.zeros({4}, DType::f64, "sums");
  const Var loss = cross_entropy(t, logits, s.tensor("in.target"), s.golden.number("label_smoothing"),
                                 int32_t(s.golden.integer("ignore_index")), sums);
  s.output("lprobs", t.no_grad([&] { return log_softmax(t, logits); }));
  s.expect("out.nll_loss", sums.slice(0, 1, 2));
  s.backward(loss, s.context.values<double>(loss.v)[0]);
}

void cumulative_sums(Session& s) {
  const Var x = s.leaf("in.x");
  s.output("y1", cumulative_sum(s.tape(), x, 1));
  s.output("y2", cumulative_sum(s.tape(), x, 2));
  s.backward();
}

void dot_scaled_attention(Session& s) {
  Tape& t = s.tape();
  const Var q = s.leaf("in.q"), k = s.leaf("in.k"), v = s.leaf("in.v");
  const int64_t B = q.dim(0), H = q.dim(1), N = q.dim(2), K = q.dim(3);
  const double scale = 1 / std::sqrt(double(K));
  const Var y = attention(t, merge_heads(t, q), merge_heads(t, k), merge_heads(t, v), H,
                          s.optional("in.key_padding_mask"), scale, false, {});
  s.output("y", transpose(t, reshape(t, y, {B, N, H, K}), 1, 2));
  s.backward();
}

void embeddings(Session& s) {
  s.output("y", embedding(s.tape(), s.tensor("in.ids"), s.leaf("param.weight"), 1, padding_of(s), {}));
  s.backward();
}

void layer_norms(Session& s) {
  s.output("y", layer_norm(s.tape(), s.leaf("in.x"), s.leaf("param.weight"), s.leaf("param.bias"),
                           s.golden.number("eps")));
  s.backward();
}

// The gain is weight + 1: the form in which the authors' later code stores it.
void layer_norm_offset(Session& s) {
  Tape& t = s.tape();
  const Var weight = s.leaf("param.weight");
  const Var one =
      t.constant(s.context.tensor<float>(weight.shape(), std::vector<float>(size_t(weight.dim(0)), 1.0f)));
  s.output("y", layer_norm(t, s.leaf("in.x"), add(t, weight, one), s.leaf("param.bias"), s.golden.number("eps")));
  s.backward();
}

void linears(Session& s) {
  Var bias;
  if (s.golden.has("param.bias")) bias = s.leaf("param.bias");
  s.output("y", linear(s.tape(), s.leaf("in.x"), s.leaf("param.weight"), bias.v ? &bias : nullptr));
  s.backward();
}

void log_softmaxes(Session& s) {
  s.output("y", log_softmax(s.tape(), s.leaf("in.x")));
  s.backward();
}

void softmax_masked(Session& s) {
  s.output("probs", softmax(s.tape(), s.leaf("in.scores"), s.optional("in.key_padding_mask"), false));
  s.backward();
}

void masked_mean_pool(Session& s) {
  s.output("y", mean_pool(s.tape(), s.leaf("in.x"), s.tensor("in.lengths"), {}));
  s.backward();
}

void matmul_batched(Session& s) {
  Tape& t = s.tape();
  const Var scores = matmul(t, s.leaf("in.a"), s.leaf("in.b"), true);
  s.output("scores", scores);
  s.output("y", matmul(t, scores, s.leaf("in.d"), false));
  s.backward();
}

void positions_learned(Session& s) {
  Tape& t = s.tape();
  const Tensor at = positions(t, s.tensor("in.tokens"), padding_of(s));
  s.output("y", embedding(t, at, s.leaf("param.weight"), 1, padding_of(s), {}));
  s.backward();
}

void positions_sinusoidal(Session& s) {
  Tape& t = s.tape();
  const int32_t pad = padding_of(s);
  const bool tokens = s.golden.has("in.tokens");
  const Tensor x = s.tensor(tokens ? "in.tokens" : "in.x");
  const Tensor any = s.context.tensor<int32_t>(x.shape(), std::vector<int32_t>(size_t(x.numel())));
  const Tensor at = positions(t, tokens ? x : any, pad);
  const int64_t rows = x.dim(1) + pad + 1;
  const Tensor table = sinusoidal_table(s.context, rows, s.golden.integer("embed_dim"), pad, DType::f32);
  if (s.golden.has("out.positions")) s.expect("out.positions", at);
  s.output("y", embedding(t, at, t.constant(table), 1, pad, {}));
}

void real_number_embedding(Session& s) {
  s.output("y", pixel_embedding(s.tape(), s.leaf("in.x"), s.leaf("param.weight"), s.leaf("param.bias"), 1, {}));
  s.backward();
}

constexpr Row kRows[] = {
    {"ops", "ops_cross_entropy", cross_entropies},
    {"ops", "ops_cumsum", cumulative_sums},
    {"ops", "ops_dot_scaled_attention", dot_scaled_attention},
    {"ops", "ops_embedding", embeddings},
    {"ops", "ops_elu*", activation},
    {"ops", "ops_gelu*", activation},
    {"ops", "ops_label_smoothed_ce*", cross_entropies},
    {"ops", "ops_layernorm", layer_norms},
    {"ops", "ops_layernorm_offset_weight", layer_norm_offset},
    {"ops", "ops_linear*", linears},
    {"ops", "ops_log_softmax", log_softmaxes},
    {"ops", "ops_masked_mean_pool", masked_mean_pool},
    {"ops", "ops_matmul_batched", matmul_batched},
    {"ops", "ops_positions_learned", positions_learned},
    {"ops", "ops_positions_sinusoidal*", positions_sinusoidal},
    {"ops", "ops_real_number_embedding", real_number_embedding},
    {"ops", "ops_relu", activation},
    {"ops", "ops_sigmoid", activation},
    {"ops", "ops_silu", activation},
    {"ops", "ops_softmax_masked", softmax_masked},
    {"ops", "ops_softplus*", activation},
    {"ops", "ops_tanh", activation},
};

}  // namespace

std::span<const Row> operation_rows() { return kRows; }

}  // namespace selene::golden
