#include "train/run/run_state.h"

#include <fmt/format.h>

#include <cstring>
#include <set>

#include "data/io/json.h"
#include "data/io/printable.h"
#include "kernels/error.h"
#include "train/folder/log.h"

namespace selene::train {
namespace {

/// Name in a file of what an optimiser keeps of a parameter.
std::string file_name(const OptimizerBuffer& buffer, const Parameter& p) {
  return fmt::format("optimizer.{}.{}", buffer.name, p.name);
}

std::string to_json(const RunState& s) {
  const data::Json j{{"update", s.update},
                     {"loss_sums", std::vector<double>{s.sums.loss, s.sums.nll, s.sums.count, s.sums.correct}},
                     {"has_best", s.has_best},
                     {"best", s.best},
                     {"best_update", s.best_update},
                     {"worse_validations", s.worse_validations},
                     {"wall_s", s.wall_s},
                     {"validation_due", s.validation_due},
                     {"train_data", s.train_data},
                     {"valid_data", s.valid_data},
                     {"test_data", s.test_data},
                     {"isa", instruction_set()},
                     {"loss_scale", s.scaling.scale},
                     {"good_updates", s.scaling.good},
                     {"skipped_updates", s.scaling.skipped}};
  return j.dump();
}

void need_state(const std::string& path, const RunState& s) {
  const auto need = [&](bool good, const char* key, auto found, const char* wanted) {
    if (!good) throw Error(fmt::format("{}: its state has {} {}, wanted {}", path, key, found, wanted));
  };
  need(s.update >= 0, "update", s.update, "0 or more");
  need(s.scaling.scale >= 1e-7f && s.scaling.scale <= 1e38f, "loss_scale", s.scaling.scale, "1e-7 to 1e38");
  need(s.scaling.good >= 0 && s.scaling.good <= s.update, "good_updates", s.scaling.good, "0 to update");
  need(s.scaling.skipped >= 0 && s.scaling.skipped <= s.update, "skipped_updates", s.scaling.skipped, "0 to update");
}

LossSums sums_from(const data::Json::List& list) {
  double sums[4] = {};
  if (list.size() != std::size(sums)) throw Error(fmt::format("loss_sums has {} numbers, wanted 4", list.size()));
  for (size_t i = 0; i < list.size(); ++i) {
    const auto number = list[i].number();
    if (!number) throw Error(fmt::format("loss_sums has {}, wanted a number", data::shown_bare(list[i].dump())));
    sums[i] = *number;
  }
  return {sums[0], sums[1], sums[2], sums[3]};
}

RunState state_from_json(const std::string& path, const std::string& text) {
  RunState s;
  std::string isa;
  try {
    const data::Json j = data::parse_json(text, "JSON");
    s.update = j.get<int64_t>("update"), s.has_best = j.get<bool>("has_best"), s.best = j.get<double>("best");
    s.best_update = j.get<int64_t>("best_update"), s.worse_validations = j.get<int64_t>("worse_validations");
    s.wall_s = j.get<double>("wall_s"), s.train_data = j.get<std::string>("train_data");
    s.validation_due = j.get<bool>("validation_due"), s.valid_data = j.get<std::string>("valid_data");
    s.test_data = j.get<std::string>("test_data");
    s.scaling.scale = float(j.get<double>("loss_scale")), s.scaling.good = j.get<int64_t>("good_updates");
    s.scaling.skipped = j.get<int64_t>("skipped_updates");
    s.sums = sums_from(j.get<data::Json::List>("loss_sums"));
    isa = j.get<std::string>("isa");
  } catch (const Error& e) {
    throw Error(fmt::format("{}: its state is not what this program writes: {}", path, e.what()));
  }
  need_state(path, s);
  if (isa != instruction_set())
    log_warning(fmt::format("{}: written on {}, this machine computes with {}: results agree within rounding only",
                            path, isa, instruction_set()));
  return s;
}

const data::TensorEntry& entry_of(const data::SafetensorsFile& file, const std::string& name, const Shape& wanted) {
  const data::TensorEntry* entry = file.find(name);
  if (!entry)
    throw Error(fmt::format("{}: has no tensor {}; it is of another model than the recipe's", file.path(), name));
  const Shape shape(entry->shape.begin(), entry->shape.end());
  if (entry->dtype != DType::f32 || !(shape == wanted))
    throw Error(fmt::format("{}: tensor {} is {}{}, the recipe's model wants f32{}", file.path(), name,
                            name_of(entry->dtype), shape.text(), wanted.text()));
  return *entry;
}

// One tensor of a file into a segment of a flat buffer.
void read_segment(const data::SafetensorsFile& file, const std::string& name, const Tensor& to, Context& context) {
  const data::TensorEntry& entry = entry_of(file, name, to.shape());
  std::vector<float> values(size_t(to.numel()));
  memcpy(values.data(), file.bytes(entry).data(), values.size() * sizeof(float));
  context.upload(to, values.data());
}

}  // namespace

std::string instruction_set() {
#ifdef SELENE_CLONES_ON
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return "x86-64-v4";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "x86-64-v3";
#endif
  return "x86-64";
}

std::string save_run(const std::string& folder, Session& session, const RunState& state) {
  const Parameters& p = session.parameters();
  Context& context = session.context();
  std::vector<data::TensorBytes> tensors;
  std::vector<std::vector<float>> kept;  // what the tensors point into
  const auto add = [&](const Tensor& flat, const auto& name_of_one) {
    const float* values = kept.emplace_back(context.values<float>(flat)).data();
    for (int i = 0; i < int(p.count()); ++i)
      tensors.push_back(
          {name_of_one(p[i]), DType::f32, {p[i].shape.begin(), p[i].shape.end()}, values + p[i].offset});
  };
  add(p.values(), [](const Parameter& one) { return one.name; });
  for (const OptimizerBuffer& buffer : session.optimizer().buffers())
    add(buffer.flat, [&](const Parameter& one) { return file_name(buffer, one); });
  data::Metadata metadata = session.task().facts();
  metadata.insert({{"recipe", to_yaml(session.recipe())}, {"state", to_json(state)}});
  return write_checkpoint(folder, state.update, tensors, metadata);
}

RunState state_of(const Checkpoint& checkpoint, const Recipe& recipe) {
  const data::SafetensorsFile& file = checkpoint.file;
  const std::vector<std::string> changes =
      changed_keys(parse_recipe(checkpoint.metadata("recipe"), file.path()), recipe);
  if (!changes.empty()) {
    std::string list;
    for (const std::string& change : changes) list += (list.empty() ? "" : "; ") + change;
    throw Error(fmt::format(
        "{}: the recipe has changed since ({}); go on with the old one, or start anew in another --out folder",
        file.path(), list));
  }
  const RunState state = state_from_json(file.path(), checkpoint.metadata("state"));
  if (state.update != checkpoint.update)
    throw Error(
        fmt::format("{}: its state is of update {}, wanted {}", file.path(), state.update, checkpoint.update));
  return state;
}

void restore_run(const Checkpoint& checkpoint, const RunState& state, Session& session) {
  const data::SafetensorsFile& file = checkpoint.file;
  load_weights(file, session);
  const Parameters& p = session.parameters();
  std::set<std::string> known;
  for (int i = 0; i < int(p.count()); ++i) known.insert(p[i].name);
  for (const OptimizerBuffer& buffer : session.optimizer().buffers())
    for (int i = 0; i < int(p.count()); ++i) {
      const std::string& name = *known.insert(file_name(buffer, p[i])).first;
      read_segment(file, name, p.segment(buffer.flat, i), session.context());
    }
  for (const data::TensorEntry& entry : file.entries())
    if (!known.count(entry.name))
      throw Error(
          fmt::format("{}: tensor {} is of no parameter of the recipe's model and of no state of its optimiser",
                      file.path(), data::shown_bare(entry.name)));
  session.set_loss_sums(state.sums);
  session.optimizer().set_state(state.scaling);
}

void need_weights(const data::SafetensorsFile& file, const Parameters& parameters) {
  for (int i = 0; i < int(parameters.count()); ++i) entry_of(file, parameters[i].name, parameters[i].shape);
}

void load_weights(const data::SafetensorsFile& file, Session& session) {
  Parameters& p = session.parameters();
  for (int i = 0; i < int(p.count()); ++i) read_segment(file, p[i].name, p.master(i), session.context());
  p.refresh(session.context());
}

}  // namespace selene::train
