// The recipe schema: one row for every key. Parsing, --set, recipe.yaml, --describe and the comparison on resume all
// read this table; a new key is a member of its struct and a row here.
#include "train/recipe/schema.h"

#include <algorithm>
#include <deque>

#include <fmt/format.h>

#include "models/registry.h"
#include "train/tasks/measures.h"

namespace selene::train {
namespace {

std::vector<std::string_view> attention_names() {
  std::vector<std::string_view> names;
  for (const Mechanism& m : attentions()) names.push_back(m.name);
  return names;
}

#define AT(member) [](Recipe& r) -> Slot { return &r.member; }

constexpr bool kFree = true, kFixed = false;  // may change on resume, or not
constexpr Range kAny{}, kPositive{.min = 0, .min_open = true}, kNotNegative{.min = 0};
constexpr Range kProbability{.min = 0, .max = 1, .max_open = true};
constexpr Range kScale{.min = 1e-6, .max = 1e30};  // its inverse is an fp32 number too
constexpr Range kCount{.min = 1, .max = 1e12}, kCountOr0{.min = 0, .max = 1e12};
constexpr Range kWidth{.min = 1, .max = 65536}, kWidthOr0{.min = 0, .max = 65536};

constexpr std::string_view kLuna = "Ma et al. 2021 (Luna)", kLra = "Tay et al. 2021 (LRA)";
constexpr std::string_view kLunaCode = "Luna release of 2021", kFairseq = "fairseq", kSelene = "Selene";
constexpr std::string_view kLunaCodes = "Luna release of 2021; its revision of 2023";

// Choices that read a key.
const std::vector<ReadIf> kClassifier{{"task", {"classification"}}};
const std::vector<ReadIf> kHiddenHead{kClassifier[0], {"model.head", {"hidden", "gelu"}}};
const std::vector<ReadIf> kFp16{{"train.precision", {"fp16"}}};
const std::vector<ReadIf> kFp32{{"train.precision", {"fp32"}}};
const std::vector<ReadIf> kDecay{{"schedule.name", {"polynomial", "linear"}}};

const std::vector<Key> kCommon = {
    // Key, member, unit, range, choices, on resume,
    //  help, source, what reads it.
    // clang-format off
    {"name", AT(name), "", kAny, {}, kFree,
     "name of the run and of its folder under runs/; empty: the recipe file's name. Not inherited through "
     "extends", kSelene},
    {"description", AT(description), "", kAny, {}, kFree, "a sentence for reports", kSelene},

    {"task", AT(task), "", kAny, task_names(), kFixed, "what is learnt from the data", kSelene},

    {"model.attention", AT(model.attention), "", kAny, attention_names(), kFixed,
     "what mixes the positions of a layer; keys of its own stand in a section of its name", kLuna},
    {"model.input", AT(model.input), "", kAny, {"tokens", "pixels"}, kFixed,
     "what a position is: a symbol with an embedding, or one real number times a vector", kLunaCodes},
    {"model.layers", AT(model.layers), "layers", {.min = 1, .max = 1000}, {}, kFixed, "encoder layers, L", kLuna},
    {"model.dim", AT(model.dim), "", kWidth, {}, kFixed, "model width, D; a multiple of the heads", kLuna},
    {"model.heads", AT(model.heads), "", kWidth, {}, kFixed,
     "attention heads, H", kLuna},
    {"model.ffn_dim", AT(model.ffn_dim), "", {.min = 1, .max = 1048576}, {}, kFixed, "feed-forward width, F", kLuna},
    {"model.tie_layers", AT(model.tie_layers), "", kAny, {}, kFixed,
     "one layer's parameters, applied model.layers times", kLunaCode},
    {"model.attention_dim", AT(model.attention_dim), "", kWidthOr0, {}, kFixed,
     "width of queries, keys and values; 0: model.dim", kLra},
    {"model.attention_bias", AT(model.attention_bias), "", kAny, {}, kFixed,
     "biases in the projections of the attentions", kLra},
    {"model.norm", AT(model.norm), "", kAny, {"post", "pre"}, kFixed,
     "layer norm after the residual sum, or before each block", kLuna},
    {"model.activation", AT(model.activation), "", kAny, {"gelu", "gelu_tanh", "relu", "silu", "tanh"}, kFixed,
     "of the feed-forward block; gelu is the exact erf form", kLunaCode},
    {"model.positions", AT(model.positions), "", kAny, {"learned", "sinusoidal", "none"}, kFixed,
     "position embedding", kLunaCode},
    {"model.scale_embedding", AT(model.scale_embedding), "", kAny, {}, kFixed,
     "multiply embeddings and P by sqrt(D)", "Vaswani et al. 2017, section 3.4"},
    {"model.embedding_norm", AT(model.embedding_norm), "", kAny, {}, kFixed,
     "layer norm on the embeddings and on P", kLunaCode},
    {"model.max_positions", AT(model.max_positions), "tokens", {.min = 0, .max = 16777216}, {}, kFixed,
     "rows of a learned position table; 0: data.max_length", kLunaCode, {{"model.positions", {"learned"}}}},
    {"model.pooling", AT(model.pooling), "", kAny, {"cls", "mean", "real_mean", "p"}, kFixed,
     "what the classifier sees: the CLS token; the mean over all positions, padding included; the mean over the "
     "real ones; the mean over the last P (then no CLS token is put in front)", kLunaCodes, kClassifier},
    {"model.head", AT(model.head), "", kAny, {"hidden", "linear", "gelu"}, kFixed,
     "classifier: relu layers and a bias-free output; the bias-free output alone; one gelu layer and the output",
     kLunaCodes, kClassifier},
    {"model.head_dim", AT(model.head_dim), "", {.min = 0, .max = 1048576}, {}, kFixed,
     "width of the classifier's hidden layers; 0: 2 x model.dim", kLunaCode, kHiddenHead},
    {"model.head_layers", AT(model.head_layers), "layers", {.min = 1, .max = 16}, {}, kFixed,
     "hidden layers of the classifier", kLunaCode, kHiddenHead},
    {"model.towers", AT(model.towers), "documents", {.min = 1, .max = 2}, {}, kFixed,
     "documents of an example that go through the one encoder", kLra},
    {"model.tower_features", AT(model.tower_features), "", kAny, {"concat", "four"}, kFixed,
     "two documents a, b to the classifier: [b, a], or [a, b, a*b, a-b]", kLunaCodes, {{"model.towers", {"2"}}}},
    {"model.tie_output", AT(model.tie_output), "", kAny, {}, kFixed,
     "language model: the matrix that scores the next symbol is the token table", "Press and Wolf 2017",
     {{"task", {"language_model"}}}},
    {"model.dropout", AT(model.dropout), "", kProbability, {}, kFixed,
     "dropout on embeddings and on each block's output", kLuna},
    {"model.attention_dropout", AT(model.attention_dropout), "", kProbability, {}, kFixed,
     "dropout on attention weights", kLuna},
    {"model.activation_dropout", AT(model.activation_dropout), "", kProbability, {}, kFixed,
     "dropout after the feed-forward activation", kLunaCode},
    {"model.head_dropout", AT(model.head_dropout), "", kProbability, {}, kFixed,
     "dropout on the classifier's input", kLunaCodes, kClassifier},
    {"model.init", AT(model.init), "", kAny, {"default", "bert"}, kFixed,
     "Xavier and uniform, or normal with deviation 0.02 and zero biases", kLunaCode},

    {"data.kind", AT(data.kind), "", kAny, {"listops", "text", "retrieval", "image", "pathfinder", "characters"},
     kFixed, "what the examples are", kLra},
    {"data.path", AT(data.path), "", kAny, {}, kFree,
     "folder of the prepared files, relative to the working directory (selene-prepare writes it)", kSelene},
    {"data.frame", AT(data.frame), "", kAny, {"luna", "lra"}, kFixed,
     "luna: CLS in front, EOS at the end, the release's symbol ids; lra: the symbols alone", kLunaCode, kClassifier},
    {"data.max_length", AT(data.max_length), "tokens", {.min = 1, .max = 16777216}, {}, kFixed,
     "longest input, CLS and EOS included; longer ones lose their tail and are counted", kLunaCode},
    {"data.group_by_length", AT(data.group_by_length), "", kAny, {}, kFixed,
     "make batches of examples of similar length, in shuffled order", kSelene},
    {"data.prefetch", AT(data.prefetch), "batches", {.min = 1, .max = 1024}, {}, kFree,
     "batches made ahead of the trainer; changes no result", kSelene},

    {"optim.name", AT(optim.name), "", kAny, {"adam", "adam_torch"}, kFixed,
     "Adam with eps beside sqrt(v) before the bias correction (fairseq), or after it (the textbook)",
     "Kingma and Ba 2015; fairseq adam.py"},
    {"optim.lr", AT(optim.lr), "", kNotNegative, {}, kFixed, "peak learning rate", kLuna},
    {"optim.beta1", AT(optim.beta1), "", kProbability, {}, kFixed,
     "decay of the first moment, per update", kLunaCode},
    {"optim.beta2", AT(optim.beta2), "", kProbability, {}, kFixed,
     "decay of the second moment, per update", kLunaCode},
    {"optim.eps", AT(optim.eps), "", {.min = 1e-30, .max = 1}, {}, kFixed,
     "added to the root of the second moment", kLunaCode},
    {"optim.weight_decay", AT(optim.weight_decay), "", kNotNegative, {}, kFixed,
     "of every parameter, biases and norms too", kLunaCode},
    {"optim.decay", AT(optim.decay), "", kAny, {"decoupled", "l2"}, kFixed,
     "lr x weight_decay x parameter taken from the parameter, or weight_decay x parameter added to the gradient",
     "Loshchilov and Hutter 2019"},
    {"optim.clip_norm", AT(optim.clip_norm), "", kNotNegative, {}, kFixed,
     "largest L2 norm of the gradient; 0: no clipping", kFairseq},
    {"optim.clip_mode", AT(optim.clip_mode), "", kAny, {"total", "each"}, kFixed,
     "norm over all gradients together, or of every tensor by itself", kFairseq},

    {"schedule.name", AT(schedule.name), "", kAny, {"inverse_sqrt", "polynomial", "linear", "milestone", "step",
     "fixed", "lra_rsqrt", "lra_rsqrt_normalized", "lra_cosine"}, kFixed,
     "learning rate over the updates; step multiplies by decay_rate every decay_steps; lra_rsqrt is optim.lr x "
     "min(1, u / warmup) / sqrt(max(u, warmup)), normalized: times sqrt(warmup)",
     "fairseq lr_scheduler; Tay et al. 2021 train_utils"},
    {"schedule.warmup", AT(schedule.warmup), "updates", kCountOr0, {}, kFixed, "linear rise to optim.lr", kFairseq},
    {"schedule.init_lr", AT(schedule.init_lr), "", {.min = -1}, {}, kFixed,
     "learning rate of the very first update, where the schedule has one to set; -1: 0 with a warmup", kFairseq,
     {{"schedule.name", {"inverse_sqrt", "linear", "milestone", "step"}}}},
    {"schedule.end_lr", AT(schedule.end_lr), "", kNotNegative, {}, kFixed,
     "polynomial, linear: learning rate at the end of the decay", kFairseq, kDecay},
    {"schedule.total", AT(schedule.total), "updates", kCountOr0, {}, kFixed,
     "polynomial, linear: end of the decay; 0: train.updates", kFairseq, kDecay},
    {"schedule.power", AT(schedule.power), "", kPositive, {}, kFixed,
     "polynomial: exponent of the decay; linear: exponent of the warmup", kFairseq, kDecay},
    {"schedule.milestones", AT(schedule.milestones), "updates", kCount, {}, kFixed,
     "milestone: the updates at which the learning rate is multiplied by decay_rate, ascending", kLunaCode,
     {{"schedule.name", {"milestone"}}}},
    {"schedule.decay_rate", AT(schedule.decay_rate), "", {.min = 0, .max = 1, .min_open = true}, {}, kFixed,
     "milestone, step: the factor", kLunaCode, {{"schedule.name", {"milestone", "step"}}}},
    {"schedule.decay_steps", AT(schedule.decay_steps), "updates", kCountOr0, {}, kFixed,
     "step: distance between two factors", kLra, {{"schedule.name", {"step"}}}},
    {"schedule.cycle", AT(schedule.cycle), "updates", kCountOr0, {}, kFixed,
     "lra_cosine: length of one fall from the peak to 0", kLra, {{"schedule.name", {"lra_cosine"}}}},

    {"train.updates", AT(train.updates), "updates", kCount, {}, kFree, "optimiser steps of the whole run", kLunaCode},
    {"train.batch_size", AT(train.batch_size), "examples", {.min = 1, .max = 1048576}, {}, kFixed,
     "examples of one micro-batch; an update sees batch_size x accumulation x ranks", kLunaCode},
    {"train.accumulation", AT(train.accumulation), "micro-batches", {.min = 1, .max = 65536}, {}, kFixed,
     "micro-batches of one update on each rank", kFairseq},
    {"train.seed", AT(train.seed), "", kNotNegative, {}, kFixed, "key of every random number of the run", kLunaCode},
    {"train.precision", AT(train.precision), "", kAny, {"fp32", "bf16", "fp16"}, kFixed,
     "of activations and of the parameters' compute copy; sums, master parameters and the optimiser are fp32",
     kSelene},
    {"train.tf32", AT(train.tf32), "", kAny, {}, kFixed,
     "GPU: let fp32 matmuls round their inputs to 10-bit fractions", kSelene, kFp32},
    {"train.attention_kernels", AT(train.attention_kernels), "", kAny, {"own", "cudnn", "auto"}, kFixed,
     "GPU: our attention kernels, cuDNN's, or cuDNN's where it takes the call and is faster (docs/gpu.md)", kSelene},
    {"train.fp16_init_scale", AT(train.fp16_init_scale), "", kScale, {}, kFixed,
     "fp16: factor of the loss at the start; halved by an overflow, whose update is skipped", kFairseq, kFp16},
    {"train.fp16_scale_window", AT(train.fp16_scale_window), "updates", kCountOr0, {}, kFixed,
     "fp16: updates without overflow until the factor doubles; 0: 2^14 / train.accumulation", kFairseq, kFp16},
    {"train.fp16_min_scale", AT(train.fp16_min_scale), "", kScale, {}, kFixed,
     "fp16: an overflow that would take the factor to this value or below stops the run", kFairseq, kFp16},
    {"train.threads", AT(train.threads), "threads", {.min = 0, .max = 4096}, {}, kFree,
     "CPU threads; 0: all; changes no result", kSelene},
    {"train.label_smoothing", AT(train.label_smoothing), "", kProbability, {}, kFixed,
     "probability mass spread over all classes; the loss that is reported stays that of the true labels, what is "
     "trained on is smoothed_loss in metrics.jsonl", "Szegedy et al. 2016"},
    {"train.log_every", AT(train.log_every), "updates", kCount, {}, kFree, "one line of the log", kSelene},
    {"train.validate_every", AT(train.validate_every), "updates", kCountOr0, {}, kFree,
     "distance between validations; 0: once an epoch", kLunaCode},
    {"train.validate_examples", AT(train.validate_examples), "examples", kCountOr0, {}, kFixed,
     "examples of one validation, from the start of the set; 0: all", kSelene},
    {"train.checkpoint_every", AT(train.checkpoint_every), "updates", kCount, {}, kFree,
     "distance between checkpoints", kSelene},
    {"train.keep", AT(train.keep), "checkpoints", {.min = 1, .max = 1e6}, {}, kFree,
     "newest checkpoints that stay on disk, beside the best one", kSelene},
    {"train.patience", AT(train.patience), "validations", kCountOr0, {}, kFree,
     "end the run after so many validations without a better value; 0: never", kFairseq},
    {"train.best_metric", AT(train.best_metric), "", kAny, {}, kFixed,
     "the measure of the task (classification: accuracy, loss) whose best value in a validation makes a checkpoint "
     "the best one", kLunaCode},
    {"train.preempt_exit_code", AT(train.preempt_exit_code), "", {.min = 0, .max = 255}, {}, kFree,
     "exit status after a signal that a checkpoint was written for", kSelene},
    {"train.recompute", AT(train.recompute), "", kAny, {"none", "feed_forward", "layers"}, kFixed,
     "save memory: compute again in the backward pass what lies between fc1 and fc2, some thousand rows at a time, or "
     "all activations of a layer", "Chen et al. 2016"},
    // clang-format on
};

#undef AT

/// The keys that mechanisms own, as model.NAME.KEY.
std::vector<Key> own_keys() {
  static std::deque<std::string> names;  // what the rows point at
  std::vector<Key> keys;
  for (const Mechanism& m : attentions())
    for (const OwnKey& own : m.keys) {
      const std::string& name = names.emplace_back(fmt::format("model.{}.{}", m.name, own.name));
      const auto slot = [path = std::string_view(name).substr(6)](Recipe& r) {
        return std::visit([](auto& value) -> Slot { return &value; }, r.model.own.at(path));
      };
      const Range range{.min = own.min, .max = own.max};
      keys.push_back(
          {name, slot, own.unit, range, own.choices, kFixed, own.help, own.source, {{"model.attention", {m.name}}}});
    }
  return keys;
}

/// The sections in order, those of mechanisms after that of the model.
std::vector<Key> all_keys() {
  std::vector<Key> keys = kCommon;
  const std::vector<Key> own = own_keys();
  const auto end_of_model =
      std::find_if(keys.begin(), keys.end(), [](const Key& k) { return k.name == "data.kind"; });
  keys.insert(end_of_model, own.begin(), own.end());
  return keys;
}

}  // namespace

std::span<const Key> schema() {
  static const std::vector<Key> keys = all_keys();
  return keys;
}

const ReadIf* missing_choice(const Recipe& recipe, const Key& key) {
  for (const ReadIf& unmet : key.read_if)
    if (std::find(unmet.values.begin(), unmet.values.end(), format_value(recipe, *find_key(unmet.name))) ==
        unmet.values.end())
      return &unmet;
  return nullptr;
}

const Key* find_key(std::string_view name) {
  for (const Key& key : schema())
    if (key.name == name) return &key;
  return nullptr;
}

bool is_section(std::string_view name) {
  for (const Key& key : schema())
    if (key.name.size() > name.size() && key.name.starts_with(name) && key.name[name.size()] == '.') return true;
  return false;
}

}  // namespace selene::train
