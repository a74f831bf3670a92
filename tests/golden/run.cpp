#include "tests/golden/run.h"

#include <algorithm>
#include <filesystem>

#include "kernels/error.h"

namespace selene::golden {
namespace {

// What nothing here computes yet: no row takes it. A case that gets a row leaves this list; one that is in neither
// fails, so that none is lost in silence.
constexpr const char* kNotYet[] = {
    "base_bigbird*",      "base_linear_*",
    "base_linformer*",    "base_local_*",
    "base_long_short_*",  "base_longformer*",
    "base_nystrom*",      "base_performer_*",
    "base_rfa_*",         "base_reformer_*",
    "base_sbm_*",         "base_sinkhorn_*",
    "base_softmax",       "base_sparse_*",
    "base_synthesizer_*", "luna_causal_*",
    "luna_dec_layer_*",   "mlm_*",
    "opt_apollo_*",       "s2s_*",
    "train_s2s_*",
};

bool matches(const std::string& pattern, const std::string& name) {
  if (pattern.back() != '*') return pattern == name;
  return name.compare(0, pattern.size() - 1, pattern, 0, pattern.size() - 1) == 0;
}

Runner runner_for(const Case& c) {
  for (const auto& rows : {operation_rows(), attention_rows(), classifier_rows(), optimizer_rows()})
    for (const Row& row : rows)
      if (c.group == row.group && matches(row.name, c.name)) return row.run;
  return nullptr;
}

bool not_yet(const Case& c) {
  return std::any_of(std::begin(kNotYet), std::end(kNotYet), [&](const char* p) { return matches(p, c.name); });
}

void run_case(const Case& c, const std::string& folder, Runner run, Outcome& outcome) {
  Session session(c, folder);
  run(session);
  outcome.checks = session.finish();
  for (const Check& check : outcome.checks)
    if (!check.complaint.empty()) outcome.complaints.push_back(check.tensor + ": " + check.complaint);
}

void look_at(const Case& c, const std::string& folder) {
  const std::string path = folder + "/" + c.file;
  if (std::filesystem::exists(path)) data::SafetensorsFile{path};
}

}  // namespace

std::vector<Outcome> run_folder(const std::string& folder, const std::string& filter) {
  std::vector<Outcome> outcomes;
  for (const Case& c : read_manifest(folder)) {
    if (c.name.find(filter) == std::string::npos) continue;
    const Runner run = runner_for(c);
    Outcome& outcome = outcomes.emplace_back(Outcome{c.name, c.group, run != nullptr, {}, {}});
    try {
      if ((run != nullptr) == not_yet(c))
        throw Error(run ? "has a row and is on the list of those that have none yet"
                        : "no row takes it, and it is not on the list of those to come");
      if (run) run_case(c, folder, run, outcome);
      else look_at(c, folder);
    } catch (const std::exception& e) {
      outcome.complaints.push_back(e.what());
    }
  }
  if (outcomes.empty()) throw Error("no case of " + folder + "/manifest.json has '" + filter + "' in its name");
  return outcomes;
}

}  // namespace selene::golden
