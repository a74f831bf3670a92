// Values that are allowed by themselves but do not fit together.
#include <algorithm>
#include <initializer_list>

#include <fmt/format.h>

#include "data/dataset.h"
#include "kernels/error.h"
#include "kernels/join.h"
#include "models/registry.h"
#include "train/recipe/schema.h"
#include "train/tasks/measures.h"

namespace selene::train {
namespace {

/// Collects what a rule needs: the recipe, and the place to blame.
class Checker {
 public:
  Checker(const Recipe& recipe, const Places& places, const std::string& origin)
      : r_(recipe), places_(places), origin_(origin) {}

  void run() const {
    best_metric();
    unread();
    model();
    input();
    schedule();
    loss_scale();
    clipping();
    name();
  }

 private:
  /// Throws unless `good`. The place is that of the first of `keys` that was given at all.
  void need(bool good, std::initializer_list<std::string_view> keys, const std::string& what) const {
    if (good) return;
    for (const std::string_view key : keys)
      if (const auto found = places_.find(key); found != places_.end()) throw Error(found->second + ": " + what);
    throw Error(origin_ + ": " + what);
  }

  void best_metric() const {
    std::vector<std::string_view> known;
    for (const Measure& m : measures_of(r_.task))
      if (m.told & in_validation) known.push_back(m.name);
    const std::string& name = r_.train.best_metric;
    need(std::find(known.begin(), known.end(), name) != known.end(), {"train.best_metric", "task"},
         fmt::format("train.best_metric is {}, wanted one of {}", shown(name), join(known, ", ")));
  }

  void model() const {
    const ModelConfig& m = r_.model;
    need(m.dim % m.heads == 0 || m.attention_dim > 0, {"model.dim", "model.heads"},
         fmt::format("model.dim is {}, wanted a multiple of model.heads ({})", m.dim, m.heads));
    need(m.attention_dim % m.heads == 0, {"model.attention_dim", "model.heads"},
         fmt::format("model.attention_dim is {}, wanted a multiple of model.heads ({})", m.attention_dim, m.heads));
    need(m.positions != "sinusoidal" || (m.dim % 2 == 0 && m.dim >= 4), {"model.dim", "model.positions"},
         fmt::format("model.dim is {}, wanted an even number of at least 4 for sinusoidal positions", m.dim));
    const Mechanism& mechanism = attention_named(m.attention);
    std::vector<std::string_view> causal;
    for (const Mechanism& one : attentions())
      if (one.causal) causal.push_back(one.name);
    need(mechanism.causal || !is_causal(r_.task), {"model.attention", "task"},
         fmt::format("model.attention is {}, wanted one with a causal form ({}) for task {}", m.attention,
                     join(causal, ", "), r_.task));
    need(mechanism.packed || m.pooling != "p", {"model.pooling", "model.attention"},
         fmt::format("model.pooling is p, wanted cls, mean or real_mean: model.attention {} has no P", m.attention));
    if (mechanism.check)
      mechanism.check(m, [this](bool good, auto keys, const std::string& what) { need(good, keys, what); });
    const bool table = m.positions == "learned" && m.max_positions > 0;
    need(!table || m.max_positions >= r_.data.max_length, {"model.max_positions", "data.max_length"},
         fmt::format("model.max_positions is {}, wanted at least data.max_length ({}) or 0", m.max_positions,
                     r_.data.max_length));
  }

  /// A key that nothing reads is a mistake; its default does no harm where files are merged.
  void unread() const {
    const Recipe defaults;
    for (const Key& key : schema()) {
      const ReadIf* unmet = missing_choice(r_, key);
      if (!unmet) continue;
      const std::string value = format_value(r_, key), usual = format_value(defaults, key);
      need(value == usual, {key.name},
           fmt::format("{} is {}, wanted {} (its default): {} is {}, which does not read it", key.name, value, usual,
                       unmet->name, format_value(r_, *find_key(unmet->name))));
    }
  }

  void input() const {
    const ModelConfig& m = r_.model;
    const DataConfig& d = r_.data;
    const data::Kind& kind = data::kind_named(d.kind);
    const bool labelled = !kind.class_names.empty();
    need(labelled == has_classes(r_.task), {"data.kind", "task"},
         fmt::format("data.kind is {}, wanted {} for task {}", d.kind,
                     labelled ? "characters, which have no classes," : "data with classes", r_.task));
    const bool pixels = m.input == "pixels";
    need(!pixels || kind.image, {"model.input", "data.kind"},
         fmt::format("model.input is pixels, wanted tokens: {} has no pixels", d.kind));
    need(!pixels || d.frame == "lra", {"data.frame", "model.input"},
         "data.frame is luna, wanted lra: real-valued pixels have no CLS and no EOS");
    need(m.towers == kind.towers, {"model.towers", "data.kind"},
         fmt::format("model.towers is {}, wanted {}: so many documents make an example of {}", m.towers, kind.towers,
                     d.kind));
    need(m.pooling != "cls" || d.frame == "luna", {"model.pooling", "data.frame"},
         fmt::format("model.pooling is cls, wanted mean, real_mean or p: data.frame {} puts no CLS token in front",
                     d.frame));
    if (d.frame == "luna" && !missing_choice(r_, *find_key("data.frame")))
      need(d.max_length >= 3, {"data.max_length", "data.frame"},  // CLS, one symbol, EOS
           fmt::format("data.max_length is {}, wanted at least 3 for data.frame luna", d.max_length));
    need(!d.path.empty(), {"data.path"}, "data.path is empty, wanted the folder of the prepared files");
  }

  void clipping() const {
    const OptimConfig& o = r_.optim;
    need(o.clip_norm > 0 || o.clip_mode == "total", {"optim.clip_mode"},
         fmt::format("optim.clip_mode is {}, wanted total (its default): optim.clip_norm is 0, which clips nothing",
                     o.clip_mode));
  }

  void loss_scale() const {
    const TrainConfig& t = r_.train;
    need(t.fp16_min_scale < t.fp16_init_scale, {"train.fp16_min_scale", "train.fp16_init_scale"},
         fmt::format("train.fp16_min_scale is {}, wanted less than train.fp16_init_scale ({})", t.fp16_min_scale,
                     t.fp16_init_scale));
  }

  void schedule() const {
    const ScheduleConfig& s = r_.schedule;
    const bool divides_by_warmup = s.name == "inverse_sqrt" || s.name.starts_with("lra_");
    need(!divides_by_warmup || s.warmup >= 1, {"schedule.warmup", "schedule.name"},
         fmt::format("schedule.warmup is 0, wanted at least 1 for {}", s.name));
    need(!uses_schedule_end(r_) || s.warmup < schedule_end(r_),
         {"schedule.warmup", "schedule.total", "train.updates", "schedule.name"},
         fmt::format("schedule.warmup is {}, wanted less than the end of the {} decay ({}, from {})", s.warmup,
                     s.name, schedule_end(r_), s.total > 0 ? "schedule.total" : "train.updates"));
    need(s.init_lr == -1 || s.init_lr >= 0, {"schedule.init_lr"},
         fmt::format("schedule.init_lr is {}, wanted a learning rate >= 0, or -1 for unset", s.init_lr));
    need(s.name != "step" || s.decay_steps >= 1, {"schedule.decay_steps", "schedule.name"},
         "schedule.decay_steps is 0, wanted at least 1 for step");
    need(s.name != "lra_cosine" || s.cycle >= 1, {"schedule.cycle", "schedule.name"},
         "schedule.cycle is 0, wanted at least 1 for lra_cosine");
    if (s.name == "milestone") milestones();
  }

  void milestones() const {
    const ScheduleConfig& s = r_.schedule;
    const auto& list = s.milestones;
    need(!list.empty(), {"schedule.milestones", "schedule.name"},
         "schedule.milestones is empty, wanted at least one update for milestone");
    const auto fall = std::adjacent_find(list.begin(), list.end(), [](int64_t a, int64_t b) { return a >= b; });
    need(fall == list.end(), {"schedule.milestones"},
         "schedule.milestones do not ascend, wanted each after the last");
    need(
        list.front() > s.warmup, {"schedule.milestones", "schedule.warmup"},
        fmt::format("schedule.milestones begin at {}, wanted updates after the warmup ({})", list.front(), s.warmup));
  }

  void name() const {
    need(is_run_name(r_.name) || r_.name.empty(), {"name"},
         fmt::format("name is {}, wanted at most 200 letters, digits, '_', '-' and '.', and no '.' in front",
                     shown(r_.name)));
  }

  const Recipe& r_;
  const Places& places_;
  const std::string& origin_;
};

}  // namespace

bool is_run_name(std::string_view text) {
  const auto inside = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return !text.empty() && text.size() <= 200 && !text.starts_with('.') &&
         std::all_of(text.begin(), text.end(), inside);
}

void check(const Recipe& recipe, const Places& places, const std::string& origin) {
  Checker(recipe, places, origin).run();
}

int64_t schedule_end(const Recipe& r) { return r.schedule.total > 0 ? r.schedule.total : r.train.updates; }

bool uses_schedule_end(const Recipe& r) { return r.schedule.name == "polynomial" || r.schedule.name == "linear"; }

}  // namespace selene::train
