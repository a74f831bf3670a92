// Recipes: everything that decides a run, read from YAML. Every key stands once, in train/recipe/schema.cpp, with
// type, default, unit, range and source; docs/recipes.md is printed from that table.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/config.h"
#include "train/recipe/tree.h"

namespace selene::train {

/// What is read and in which form (spec: Luna release of 2021 for the frame `luna`, Tay et al. 2021 for `lra`).
struct DataConfig {
  std::string kind = "listops";               // a kind of data (data/kinds.cpp)
  std::string path = "data-out/lra/listops";  // folder of the prepared files, relative to the working directory
  std::string frame = "luna";                 // luna: CLS and EOS around the symbols | lra: the symbols alone
  int64_t max_length = 2001;                  // tokens, CLS and EOS included; longer inputs lose their tail
  bool group_by_length = false;               // batches of similar lengths
  int64_t prefetch = 4;                       // batches made ahead of the trainer
};

/// The update rule; per update the order is schedule, gradient mean, clipping, decay and step.
struct OptimConfig {
  std::string name = "adam";         // adam (fairseq's form) | adam_torch (the textbook's)
  double lr = 1e-4;                  // peak learning rate
  double beta1 = 0.9, beta2 = 0.98;  // decay of the two moments, per update
  double eps = 1e-8;                 // adam: beside sqrt(v) before its bias correction; adam_torch: after it
  double weight_decay = 0;           // per unit of learning rate, on every parameter
  std::string decay = "decoupled";   // decoupled (AdamW) | l2 (added to the gradient)
  double clip_norm = 0;              // L2 norm; 0 = off
  std::string clip_mode = "total";   // total: all gradients together | each: every tensor by itself
};

/// The learning rate as a function of u, the number of finished updates.
struct ScheduleConfig {
  std::string name = "inverse_sqrt";  // inverse_sqrt | polynomial | linear | milestone | step | fixed | lra_*
  int64_t warmup = 1000;              // updates
  double init_lr = -1;                // learning rate at u = 0; -1 = unset
  double end_lr = 0;                  // polynomial, linear: learning rate from `total` on
  int64_t total = 0;                  // updates; polynomial, linear: end of the decay; 0 = train.updates
  double power = 1;                   // polynomial: of the decay; linear: of the warmup
  std::vector<int64_t> milestones;    // updates, ascending; milestone: multiply by decay_rate at each
  double decay_rate = 0.1;            // milestone, step: factor
  int64_t decay_steps = 0;            // step: updates between two factors
  int64_t cycle = 0;                  // lra_cosine: updates from the peak to zero
};

/// Length, batches, precision and bookkeeping of the training loop.
struct TrainConfig {
  int64_t updates = 5000;                 // optimiser steps in all
  int64_t batch_size = 32;                // examples of one micro-batch
  int64_t accumulation = 1;               // micro-batches of one update on each rank
  int64_t seed = 1;                       // key of every random number of the run
  std::string precision = "fp32";         // fp32 | bf16 | fp16
  bool tf32 = false;                      // GPU: fp32 matmuls with 10-bit fractions
  std::string attention_kernels = "own";  // GPU: own, cudnn or auto
  double fp16_init_scale = 128;           // factor of the loss at the start; fp16 only, like the next two
  int64_t fp16_scale_window = 0;          // updates without overflow until it doubles; 0 = 2^14 / accumulation
  double fp16_min_scale = 1e-4;           // an overflow at this factor or below stops the run
  int64_t threads = 0;                    // CPU threads; 0 = all
  double label_smoothing = 0;             // probability mass taken from the right class
  int64_t log_every = 100;                // updates
  int64_t validate_every = 0;             // updates; 0 = once an epoch
  int64_t validate_examples = 0;          // examples per validation; 0 = all
  int64_t checkpoint_every = 1000;        // updates
  int64_t keep = 3;                       // newest checkpoints that stay, beside the best
  int64_t patience = 0;                   // validations without a better value before the run stops; 0 = off
  std::string best_metric = "accuracy";   // a measure of the task
  int64_t preempt_exit_code = 0;          // exit status after a signal
  std::string recompute = "none";         // what the backward pass computes again: none, feed_forward, layers
};

/// One recipe, complete: every key has a value. `name` is the run's folder name; the file's
/// name where the file itself (not its parent) gives none.
struct Recipe {
  std::string name, description;
  std::string task = "classification";  // a row of train/tasks/task.cpp
  ModelConfig model;
  DataConfig data;
  OptimConfig optim;
  ScheduleConfig schedule;
  TrainConfig train;
};

/// Bytes of the longest text that is read as a recipe.
constexpr uint64_t kLargestRecipe = kLargestTree;

/// Reads recipe files and merges them in order, each with its parents (`extends: FILE` or a list of files, relative
/// to the file that says it) before it; what comes later replaces what was before, and a parent of several
/// counts where it comes first. Then `sets` ("key=value", as after --set, last one wins), then the check of the
/// whole. The names of several files are joined by '-', their descriptions by ", "; a parent's name is not inherited.
/// Throws Error with one line that begins with "file:line:column: " or "--set key=value: ": unreadable or empty file,
/// YAML syntax, unknown or repeated key, wrong type, value out of range or not among the choices, values that do not
/// fit together, files that extend each other in a circle, a file that is given twice, and more files than anybody
/// means.
Recipe compose_recipe(const std::vector<std::string>& paths, const std::vector<std::string>& sets = {});

/// The recipe of one file.
Recipe load_recipe(const std::string& path, const std::vector<std::string>& sets = {});

/// The recipe of some files as to_yaml writes it, with the place that each value is from as a comment after it.
std::string sourced_yaml(const std::vector<std::string>& paths, const std::vector<std::string>& sets = {});

/// The same for text that is not a file (a recipe stored in a checkpoint): `origin` stands for the file's name in
/// errors, `extends` is refused, and a missing name stays empty.
Recipe parse_recipe(std::string_view text, const std::string& origin, const std::vector<std::string>& sets = {});

/// Every value of a recipe's text under its dotted name, items of a list under their numbers (schedule.milestones.0),
/// whatever the keys are: recipes of another version too. Throws Error as parse_recipe does for YAML syntax, depth,
/// size, aliases and repeated keys.
std::vector<std::pair<std::string, std::string>> recipe_values(std::string_view text, const std::string& origin);

/// Every key with its value, as YAML; parse_recipe(to_yaml(r), ...) == r for each r that parse_recipe or load_recipe
/// made.
std::string to_yaml(const Recipe& recipe);

/// Every key with type, default, unit, range, meaning and source: docs/recipes.md, and the same for a terminal.
std::string describe_markdown();
std::string describe_text();

/// What forbids resuming: the keys that differ and are not free to change on resume, each as "key: old -> new". The
/// free ones are run length, logging, paths and what no result depends on (threads, prefetch). A changed
/// train.updates counts after all where the schedule decays towards it (schedule.total: 0).
std::vector<std::string> changed_keys(const Recipe& a, const Recipe& b);

/// All keys equal, the free ones too.
bool operator==(const Recipe& a, const Recipe& b);

}  // namespace selene::train
