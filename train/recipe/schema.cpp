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

constexpr bool FREE = true, FIXED = false;  // may change on resume, or not
constexpr Range ANY{}, POSITIVE{.min = 0, .min_open = true}, NOT_NEGATIVE{.min = 0};
constexpr Range PROBABILITY{.min = 0, .max = 1, .max_open = true};
constexpr Range SCALE{.min = 1e-6, .max = 1e30};  // its inverse is an fp32 number too
constexpr Range COUNT{.min = 1, .max = 1e12}, COUNT_OR_0{.min = 0, .max = 1e12};
constexpr Range WIDTH{.min = 1, .max = 65536}, WIDTH_OR_0{.min = 0, .max = 65536};

constexpr std::string_view LUNA = "Ma et al. 2021 (Luna)", LRA = "Tay et al. 2021 (LRA)";
constexpr std::string_view LUNA_CODE = "Luna release of 2021", FAIRSEQ = "fairseq", SELENE = "Selene";
constexpr std::string_view LUNA_CODES = "Luna release of 2021; its revision of 2023";

const std::vector<Key> COMMON = {
    // Key, member, unit, range, choices, on resume,
    //  help, source.
    // clang-format off
    {"name", AT(name), "", ANY, {}, FREE,
     "name of the run and of its folder under runs/; empty: the recipe file's name. Not inherited through "
     "extends", SELENE},
    {"description", AT(description), "", ANY, {}, FREE, "a sentence for reports", SELENE},

    {"task", AT(task), "", ANY, task_names(), FIXED, "what is learnt from the data", SELENE},

    {"model.attention", AT(model.attention), "", ANY, attention_names(), FIXED,
     "what mixes the positions of a layer; keys of its own stand in a section of its name", LUNA},
    {"model.input", AT(model.input), "", ANY, {"tokens", "pixels"}, FIXED,
     "what a position is: a symbol with an embedding, or one real number times a vector", LUNA_CODES},
    {"model.layers", AT(model.layers), "layers", {.min = 1, .max = 1000}, {}, FIXED, "encoder layers, L", LUNA},
    {"model.dim", AT(model.dim), "", WIDTH, {}, FIXED, "model width, D; a multiple of the heads", LUNA},
    {"model.heads", AT(model.heads), "", WIDTH, {}, FIXED,
     "attention heads, H", LUNA},
    {"model.ffn_dim", AT(model.ffn_dim), "", {.min = 1, .max = 1048576}, {}, FIXED, "feed-forward width, F", LUNA},
    {"model.tie_layers", AT(model.tie_layers), "", ANY, {}, FIXED,
     "one layer's parameters, applied model.layers times", LUNA_CODE},
    {"model.attention_dim", AT(model.attention_dim), "", WIDTH_OR_0, {}, FIXED,
     "width of queries, keys and values; 0: model.dim", LRA},
    {"model.attention_bias", AT(model.attention_bias), "", ANY, {}, FIXED,
     "biases in the projections of the attentions", LRA},
    {"model.norm", AT(model.norm), "", ANY, {"post", "pre"}, FIXED,
     "layer norm after the residual sum, or before each block", LUNA},
    {"model.activation", AT(model.activation), "", ANY, {"gelu", "gelu_tanh", "relu", "silu", "tanh"}, FIXED,
     "of the feed-forward block; gelu is the exact erf form", LUNA_CODE},
    {"model.positions", AT(model.positions), "", ANY, {"learned", "sinusoidal", "none"}, FIXED,
     "position embedding", LUNA_CODE},
    {"model.scale_embedding", AT(model.scale_embedding), "", ANY, {}, FIXED,
     "multiply embeddings and P by sqrt(D)", "Vaswani et al. 2017, section 3.4"},
    {"model.embedding_norm", AT(model.embedding_norm), "", ANY, {}, FIXED,
     "layer norm on the embeddings and on P", LUNA_CODE},
    {"model.max_positions", AT(model.max_positions), "tokens", {.min = 0, .max = 16777216}, {}, FIXED,
     "rows of a learned position table; 0: data.max_length", LUNA_CODE},
    {"model.pooling", AT(model.pooling), "", ANY, {"cls", "mean", "real_mean", "p"}, FIXED,
     "what the classifier sees: the CLS token; the mean over all positions, padding included; the mean over the "
     "real ones; the mean over the last P (then no CLS token is put in front)", LUNA_CODES},
    {"model.head", AT(model.head), "", ANY, {"hidden", "linear", "gelu"}, FIXED,
     "classifier: relu layers and a bias-free output; the bias-free output alone; one gelu layer and the output",
     LUNA_CODES},
    {"model.head_dim", AT(model.head_dim), "", {.min = 0, .max = 1048576}, {}, FIXED,
     "width of the classifier's hidden layers; 0: 2 x model.dim", LUNA_CODE},
    {"model.head_layers", AT(model.head_layers), "layers", {.min = 1, .max = 16}, {}, FIXED,
     "hidden layers of the classifier", LUNA_CODE},
    {"model.towers", AT(model.towers), "documents", {.min = 1, .max = 2}, {}, FIXED,
     "documents of an example that go through the one encoder", LRA},
    {"model.tower_features", AT(model.tower_features), "", ANY, {"concat", "four"}, FIXED,
     "two documents a, b to the classifier: [b, a], or [a, b, a*b, a-b]", LUNA_CODES},
    {"model.tie_output", AT(model.tie_output), "", ANY, {}, FIXED,
     "language model: the matrix that scores the next symbol is the token table", "Press and Wolf 2017"},
    {"model.dropout", AT(model.dropout), "", PROBABILITY, {}, FIXED,
     "dropout on embeddings and on each block's output", LUNA},
    {"model.attention_dropout", AT(model.attention_dropout), "", PROBABILITY, {}, FIXED,
     "dropout on attention weights", LUNA},
    {"model.activation_dropout", AT(model.activation_dropout), "", PROBABILITY, {}, FIXED,
     "dropout after the feed-forward activation", LUNA_CODE},
    {"model.head_dropout", AT(model.head_dropout), "", PROBABILITY, {}, FIXED,
     "dropout on the classifier's input", LUNA_CODES},
    {"model.init", AT(model.init), "", ANY, {"default", "bert"}, FIXED,
     "Xavier and uniform, or normal with deviation 0.02 and zero biases", LUNA_CODE},

    {"data.kind", AT(data.kind), "", ANY, {"listops", "text", "retrieval", "image", "pathfinder", "characters"}, FIXED,
     "what the examples are", LRA},
    {"data.path", AT(data.path), "", ANY, {}, FREE,
     "folder of the prepared files, relative to the working directory (selene-prepare writes it)", SELENE},
    {"data.frame", AT(data.frame), "", ANY, {"luna", "lra"}, FIXED,
     "luna: CLS in front, EOS at the end, the release's symbol ids; lra: the symbols alone", LUNA_CODE},
    {"data.max_length", AT(data.max_length), "tokens", {.min = 1, .max = 16777216}, {}, FIXED,
     "longest input, CLS and EOS included; longer ones lose their tail and are counted", LUNA_CODE},
    {"data.group_by_length", AT(data.group_by_length), "", ANY, {}, FIXED,
     "make batches of examples of similar length, in shuffled order", SELENE},
    {"data.prefetch", AT(data.prefetch), "batches", {.min = 1, .max = 1024}, {}, FREE,
     "batches made ahead of the trainer; changes no result", SELENE},

    {"optim.name", AT(optim.name), "", ANY, {"adam", "adam_torch"}, FIXED,
     "Adam with eps beside sqrt(v) before the bias correction (fairseq), or after it (the textbook)",
     "Kingma and Ba 2015; fairseq adam.py"},
    {"optim.lr", AT(optim.lr), "", NOT_NEGATIVE, {}, FIXED, "peak learning rate", LUNA},
    {"optim.beta1", AT(optim.beta1), "", PROBABILITY, {}, FIXED, "decay of the first moment, per update", LUNA_CODE},
    {"optim.beta2", AT(optim.beta2), "", PROBABILITY, {}, FIXED, "decay of the second moment, per update", LUNA_CODE},
    {"optim.eps", AT(optim.eps), "", {.min = 1e-30, .max = 1}, {}, FIXED, "added to the root of the second moment", LUNA_CODE},
    {"optim.weight_decay", AT(optim.weight_decay), "", NOT_NEGATIVE, {}, FIXED,
     "of every parameter, biases and norms too", LUNA_CODE},
    {"optim.decay", AT(optim.decay), "", ANY, {"decoupled", "l2"}, FIXED,
     "lr x weight_decay x parameter taken from the parameter, or weight_decay x parameter added to the gradient",
     "Loshchilov and Hutter 2019"},
    {"optim.clip_norm", AT(optim.clip_norm), "", NOT_NEGATIVE, {}, FIXED,
     "largest L2 norm of the gradient; 0: no clipping", FAIRSEQ},
    {"optim.clip_mode", AT(optim.clip_mode), "", ANY, {"total", "each"}, FIXED,
     "norm over all gradients together, or of every tensor by itself", FAIRSEQ},

    {"schedule.name", AT(schedule.name), "", ANY, {"inverse_sqrt", "polynomial", "linear", "milestone", "step",
     "fixed", "lra_rsqrt", "lra_rsqrt_normalized", "lra_cosine"}, FIXED,
     "learning rate over the updates; step multiplies by decay_rate every decay_steps; lra_rsqrt is optim.lr x "
     "min(1, u / warmup) / sqrt(max(u, warmup)), normalized: times sqrt(warmup)",
     "fairseq lr_scheduler; Tay et al. 2021 train_utils"},
    {"schedule.warmup", AT(schedule.warmup), "updates", COUNT_OR_0, {}, FIXED, "linear rise to optim.lr", FAIRSEQ},
    {"schedule.init_lr", AT(schedule.init_lr), "", {.min = -1}, {}, FIXED,
     "learning rate of the very first update, where the schedule has one to set; -1: 0 with a warmup", FAIRSEQ},
    {"schedule.end_lr", AT(schedule.end_lr), "", NOT_NEGATIVE, {}, FIXED,
     "polynomial, linear: learning rate at the end of the decay", FAIRSEQ},
    {"schedule.total", AT(schedule.total), "updates", COUNT_OR_0, {}, FIXED,
     "polynomial, linear: end of the decay; 0: train.updates", FAIRSEQ},
    {"schedule.power", AT(schedule.power), "", POSITIVE, {}, FIXED,
     "polynomial: exponent of the decay; linear: exponent of the warmup", FAIRSEQ},
    {"schedule.milestones", AT(schedule.milestones), "updates", COUNT, {}, FIXED,
     "milestone: the updates at which the learning rate is multiplied by decay_rate, ascending", LUNA_CODE},
    {"schedule.decay_rate", AT(schedule.decay_rate), "", {.min = 0, .max = 1, .min_open = true}, {}, FIXED,
     "milestone, step: the factor", LUNA_CODE},
    {"schedule.decay_steps", AT(schedule.decay_steps), "updates", COUNT_OR_0, {}, FIXED,
     "step: distance between two factors", LRA},
    {"schedule.cycle", AT(schedule.cycle), "updates", COUNT_OR_0, {}, FIXED,
     "lra_cosine: length of one fall from the peak to 0", LRA},

    {"train.updates", AT(train.updates), "updates", COUNT, {}, FREE, "optimiser steps of the whole run", LUNA_CODE},
    {"train.batch_size", AT(train.batch_size), "examples", {.min = 1, .max = 1048576}, {}, FIXED,
     "examples of one micro-batch; an update sees batch_size x accumulation x ranks", LUNA_CODE},
    {"train.accumulation", AT(train.accumulation), "micro-batches", {.min = 1, .max = 65536}, {}, FIXED,
     "micro-batches of one update on each rank", FAIRSEQ},
    {"train.seed", AT(train.seed), "", NOT_NEGATIVE, {}, FIXED, "key of every random number of the run", LUNA_CODE},
    {"train.precision", AT(train.precision), "", ANY, {"fp32", "bf16", "fp16"}, FIXED,
     "of activations and of the parameters' compute copy; sums, master parameters and the optimiser are fp32",
     SELENE},
    {"train.tf32", AT(train.tf32), "", ANY, {}, FIXED,
     "GPU: let fp32 matmuls round their inputs to 10-bit fractions", SELENE},
    {"train.fp16_init_scale", AT(train.fp16_init_scale), "", SCALE, {}, FIXED,
     "fp16: factor of the loss at the start; halved by an overflow, whose update is skipped", FAIRSEQ},
    {"train.fp16_scale_window", AT(train.fp16_scale_window), "updates", COUNT_OR_0, {}, FIXED,
     "fp16: updates without overflow until the factor doubles; 0: 2^14 / train.accumulation", FAIRSEQ},
    {"train.fp16_min_scale", AT(train.fp16_min_scale), "", SCALE, {}, FIXED,
     "fp16: an overflow that would take the factor to this value or below stops the run", FAIRSEQ},
    {"train.threads", AT(train.threads), "threads", {.min = 0, .max = 4096}, {}, FREE,
     "CPU threads; 0: all; changes no result", SELENE},
    {"train.label_smoothing", AT(train.label_smoothing), "", PROBABILITY, {}, FIXED,
     "probability mass spread over all classes; the loss that is reported stays that of the true labels, what is "
     "trained on is smoothed_loss in metrics.jsonl", "Szegedy et al. 2016"},
    {"train.log_every", AT(train.log_every), "updates", COUNT, {}, FREE, "one line of the log", SELENE},
    {"train.validate_every", AT(train.validate_every), "updates", COUNT_OR_0, {}, FREE,
     "distance between validations; 0: once an epoch", LUNA_CODE},
    {"train.validate_examples", AT(train.validate_examples), "examples", COUNT_OR_0, {}, FIXED,
     "examples of one validation, from the start of the set; 0: all", SELENE},
    {"train.checkpoint_every", AT(train.checkpoint_every), "updates", COUNT, {}, FREE,
     "distance between checkpoints", SELENE},
    {"train.keep", AT(train.keep), "checkpoints", {.min = 1, .max = 1e6}, {}, FREE,
     "newest checkpoints that stay on disk, beside the best one", SELENE},
    {"train.patience", AT(train.patience), "validations", COUNT_OR_0, {}, FREE,
     "end the run after so many validations without a better value; 0: never", FAIRSEQ},
    {"train.best_metric", AT(train.best_metric), "", ANY, {}, FIXED,
     "the measure of the task (classification: accuracy, loss) whose best value in a validation makes a checkpoint "
     "the best one", LUNA_CODE},
    {"train.preempt_exit_code", AT(train.preempt_exit_code), "", {.min = 0, .max = 255}, {}, FREE,
     "exit status after a signal that a checkpoint was written for", SELENE},
    {"train.recompute", AT(train.recompute), "", ANY, {}, FIXED,
     "save memory: compute the activations of a layer again in the backward pass", "Chen et al. 2016"},
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
      keys.push_back({name, slot, own.unit, range, own.choices, FIXED, own.help, own.source, m.name});
    }
  return keys;
}

/// The sections in order, those of mechanisms after that of the model.
std::vector<Key> all_keys() {
  std::vector<Key> keys = COMMON;
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
