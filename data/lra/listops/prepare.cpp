#include "data/lra/listops/prepare.h"

#include <fmt/format.h>

#include <memory>
#include <string_view>

#include "data/io/durable_file.h"
#include "data/io/json.h"
#include "data/io/stop.h"
#include "data/lra/listops/listops.h"
#include "data/lra/source.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr const char* kSplits[] = {"train", "valid", "test"};

int64_t count_of(const ListopsPlan& plan, int split) {
  return split == 0 ? plan.train : split == 1 ? plan.valid : plan.test;
}

/// What decides the content of the data set.
Json options_of(const ListopsPlan& plan) {
  Json j{{"train", plan.train}, {"valid", plan.valid}, {"test", plan.test}, {"tsv", plan.tsv}};
  const ListopsOptions& o = plan.options;
  if (plan.from.empty())
    j.update({{"min_length", o.min_length},
              {"max_length", o.max_length},
              {"max_depth", o.max_depth},
              {"max_args", o.max_args},
              {"seed", o.seed}});
  else j.set("source", "official files");
  return j;
}

/// One split in the official form.
void write_tsv(const std::string& folder, std::string_view split, const Dataset& data) {
  DurableFile file(listops_path(folder, split));
  std::string text = "Source\tTarget\r\n";
  for (int64_t i = 0; i < data.examples(); ++i) {
    check_stop();
    text += fmt::format("{}\t{}\r\n", listops_text(data.row(i)), data.labels()[size_t(i)]);
    if (text.size() < size_t(1) << 20) continue;
    file.write(text.data(), text.size());
    text.clear();
  }
  file.write(text.data(), text.size());
  file.commit();
}

void write_split(const ListopsPlan& plan, const std::string& folder, int split, const Dataset& data) {
  write_prepared(folder, kSplits[split], data, options_of(plan).dump());
  if (plan.tsv) write_tsv(folder, kSplits[split], data);
}

/// Generates all three splits, one after the other; returns the facts.
Json generate(const ListopsPlan& plan, const std::string& folder, const Watch& watch) {
  const int64_t total = plan.train + plan.valid + plan.test;
  DatasetBuilder builder;
  int split = 0;
  const auto take = [&](const ListopsTree& tree) {
    builder.add_row(tree.symbols);
    builder.add_label(tree.value);
    if (builder.examples() < count_of(plan, split)) return;
    write_split(plan, folder, split, builder.finish(kind_named("listops"), kSplits[split]));
    ++split;
  };
  const ListopsProgress done =
      generate_listops(plan.options, total, plan.threads, take, [&](const ListopsProgress& p) {
        if (watch) watch(p.examples, total, fmt::format("{} draws", p.draws));
      });
  return {{"draws", done.draws},
          {"acceptance_rate", double(done.accepted) / double(done.draws)},
          {"duplicates", done.accepted - done.examples}};
}

Json convert(const ListopsPlan& plan, const std::string& folder, const Watch& watch) {
  need_source(plan.from, "basic_train.tsv",
              "the folder of basic_train.tsv, basic_val.tsv, basic_test.tsv (listops-1000 of the Long Range Arena)");
  int64_t done = 0;
  for (int split = 0; split < 3; ++split) {
    if (watch) watch(done, 0, kSplits[split]);
    const Dataset all = read_listops(listops_path(plan.from, kSplits[split]));
    write_split(plan, folder, split,
                all.first(split_count(all.name, kSplits[split], count_of(plan, split), all.examples())));
    done += all.examples();
  }
  if (watch) watch(done, 0, "all splits");
  return Json::object();
}

}  // namespace

Prepared prepare_listops(const ListopsPlan& plan, const Watch& watch) {
  check_listops_options(plan.options);
  const int64_t least = plan.from.empty() ? 1 : 0;
  for (int split = 0; split < 3; ++split)
    if (const int64_t count = count_of(plan, split); count < least || count > 1'000'000'000)
      throw Error(fmt::format("listops: {} is {} examples, wanted {} to 1000000000", kSplits[split], count, least));
  if (plan.threads < 1 || plan.threads > 1024)
    throw Error(fmt::format("listops: threads is {}, wanted 1 to 1024", plan.threads));
  return prepare_folder(
      {plan.folder, "listops", options_of(plan).dump(), plan.force, plan.from}, [&](const std::string& folder) {
        return (plan.from.empty() ? generate(plan, folder, watch) : convert(plan, folder, watch)).dump();
      });
}

}  // namespace selene::data
