#include "data/lra/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <tuple>

#include "data/io/json.h"
#include "data/io/progress.h"
#include "data/io/stop.h"
#include "data/lra/aan.h"
#include "data/lra/cifar10.h"
#include "data/lra/imdb.h"
#include "data/lra/source.h"
#include "data/order.h"
#include "kernels/error.h"

namespace fs = std::filesystem;

namespace selene::data {
namespace {

/// What decides the content. The source stands there by its place, so that other data is never taken for this.
Json options_of(const char* kind, const std::string& from, const SplitCaps& caps, uint64_t seed) {
  if (from.empty()) throw Error(fmt::format("{}: no folder to read from", kind));
  for (const auto& [name, cap] : {std::pair{"train", caps.train}, {"valid", caps.valid}, {"test", caps.test}})
    if (cap < 0) throw Error(fmt::format("{}: {} is {} examples, wanted 0 (all) or more", kind, name, cap));
  std::string place = fs::absolute(from).lexically_normal().string();
  if (place.size() > 1 && place.ends_with('/')) place.pop_back();
  return {{"from", place}, {"seed", seed}, {"train", caps.train}, {"valid", caps.valid}, {"test", caps.test}};
}

/// Writes one split: the examples `order` of `source`, the first `cap` of them; 0: all.
void write_split(const std::string& folder, const char* split, const Dataset& source, std::span<const int64_t> order,
                 int64_t cap, const std::string& options) {
  order = order.first(size_t(split_count(source.name, split, cap, int64_t(order.size()))));
  write_prepared(folder, split, picked(source, order), options);
}

std::string write_text(const TextPlan& plan, const std::string& folder, const std::string& options,
                       const Watch& watch) {
  const auto write = [&](const char* split, const Dataset& source, std::span<const int64_t> order, int64_t cap) {
    write_split(folder, split, source, order, cap, options);
  };
  need_source(plan.from, "train/neg",
              "the folder aclImdb of aclImdb_v1.tar.gz (ai.stanford.edu/~amaas/data/sentiment)",
              std::array<OtherForm, 3>{{{"IMDB Dataset.csv", "the reviews as one table"},
                                        {"imdb.npz", "the reviews as word numbers"},
                                        {"plain_text", "the reviews as tables of another publisher"}}});
  int64_t skipped = 0, before = 0;  // before: reviews of the parts read so far
  const auto read = [&](const char* part) {
    const auto note = [&](int64_t done, int64_t, const std::string& text) { watch(before + done, 0, text); };
    Imdb imdb = read_imdb(plan.from, part, watch ? Watch(note) : Watch());
    skipped += imdb.skipped, before += imdb.reviews.examples();
    return imdb.reviews;
  };
  const Dataset train = read("train");
  const auto order = seeded_order(train.examples(), plan.seed, OrderOf::train);
  const int64_t kept = train.examples() - plan.held_out;
  if (kept < 1)
    throw Error(fmt::format("text: {} training reviews are to be held out, wanted less than the {} there are",
                            plan.held_out, train.examples()));
  write("train", train, std::span(order).first(size_t(kept)), plan.caps.train);
  const Dataset test = read("test");
  const auto others = seeded_order(test.examples(), plan.seed, OrderOf::test);
  if (plan.held_out > 0) write("valid", train, std::span(order).subspan(size_t(kept)), plan.caps.valid);
  else write("valid", test, others, plan.caps.valid);
  write("test", test, others, plan.caps.test);
  if (skipped > 0) warn(fmt::format("{}: left out {} reviews without text", plan.from, skipped));
  return Json{{"skipped_empty_files", skipped}}.dump();
}

std::string write_image(const ImagePlan& plan, const std::string& folder, const std::string& options,
                        const Watch& watch) {
  const auto write = [&](const char* split, const Dataset& source, std::span<const int64_t> order, int64_t cap) {
    write_split(folder, split, source, order, cap, options);
  };
  need_source(plan.from, "data_batch_1.bin",
              "the folder cifar-10-batches-bin of the binary version, cifar-10-binary.tar.gz "
              "(www.cs.toronto.edu/~kriz/cifar.html)",
              std::array<OtherForm, 6>{{{"data_batch_1", "CIFAR-10's Python version"},
                                        {"data_batch_1.mat", "CIFAR-10's Matlab version"},
                                        {"train.bin", "CIFAR-100"},
                                        {"fine_label_names.txt", "CIFAR-100"},
                                        {"train.mat", "CIFAR-100"},
                                        {"meta", "CIFAR-100"}}});
  const Dataset train = read_cifar10(plan.from, "train", watch);
  const int64_t valid = train.examples() / 10;
  if (valid < 1)
    throw Error(fmt::format("{}: {} images, wanted at least 10: a tenth is the validation set", train.name,
                            train.examples()));
  const auto order = seeded_order(train.examples(), plan.seed, OrderOf::train);
  const size_t kept = size_t(train.examples() - valid);
  write("train", train, std::span(order).first(kept), plan.caps.train);
  write("valid", train, std::span(order).subspan(kept), plan.caps.valid);
  const auto note = [&](int64_t done, int64_t, const std::string& text) { watch(train.examples() + done, 0, text); };
  const Dataset test = read_cifar10(plan.from, "test", watch ? Watch(note) : Watch());
  write("test", test, seeded_order(test.examples(), plan.seed, OrderOf::test), plan.caps.test);
  return "{}";
}

std::string write_retrieval(const RetrievalPlan& plan, const std::string& folder, const std::string& options,
                            const Watch& watch) {
  const auto write = [&](const char* split, const Dataset& source, std::span<const int64_t> order, int64_t cap) {
    write_split(folder, split, source, order, cap, options);
  };
  const std::tuple<const char*, int64_t, OrderOf> splits[] = {{"train", plan.caps.train, OrderOf::train},
                                                              {"valid", plan.caps.valid, OrderOf::valid},
                                                              {"test", plan.caps.test, OrderOf::test}};
  need_source(
      plan.from, "new_aan_pairs.train.tsv",
      "the folder tsv_data of the Long Range Arena's release, with new_aan_pairs.train.tsv, .eval.tsv, .test.tsv");
  int64_t before = 0, total = 0;  // MiB of the files read so far, of all files
  const auto mib = [&](const char* split) {
    std::error_code ignored;
    const auto size = fs::file_size(aan_path(plan.from, split), ignored);
    return ignored ? 0 : int64_t(size >> 20);
  };
  for (const auto& [split, cap, order] : splits) total += mib(split);
  const auto note = [&](int64_t done, int64_t, const std::string& text) { watch(before + done, total, text); };
  for (const auto& [split, cap, order] : splits) {
    const Dataset data = read_aan(aan_path(plan.from, split), plan.max_bytes, watch ? Watch(note) : Watch());
    write(split, data, seeded_order(data.examples(), plan.seed, order), cap);
    before += mib(split);
  }
  return "{}";
}

}  // namespace

Dataset picked(const Dataset& data, std::span<const int64_t> order) {
  struct Memory {
    std::vector<uint8_t> symbols;
    std::vector<int64_t> offsets{0};
    std::vector<int32_t> labels;
  };
  const auto memory = std::make_shared<Memory>();
  size_t total = 0;
  for (const int64_t i : order)
    for (int32_t t = 0; t < data.towers(); ++t) total += data.row(i, t).size();
  memory->symbols.reserve(total);  // the largest sets have gigabytes
  for (const int64_t i : order) {
    check_stop();
    for (int32_t t = 0; t < data.towers(); ++t) {
      const auto row = data.row(i, t);
      memory->symbols.insert(memory->symbols.end(), row.begin(), row.end());
      memory->offsets.push_back(int64_t(memory->symbols.size()));
    }
    memory->labels.push_back(data.labels()[size_t(i)]);
  }
  return labelled(data.name, *data.kind, memory->symbols, memory->offsets, memory->labels, memory);
}

Prepared prepare_text(const TextPlan& plan, const Watch& watch) {
  Json options = options_of("text", plan.from, plan.caps, plan.seed);
  if (plan.held_out < 0)
    throw Error(fmt::format("text: {} training reviews are to be held out, wanted 0 or more", plan.held_out));
  options.set("validation", plan.held_out > 0 ? "held out of the training set" : "the test set");
  options.set("held_out", plan.held_out);
  const std::string text = options.dump();
  return prepare_folder({plan.folder, "text", text, plan.force, plan.from},
                        [&](const std::string& folder) { return write_text(plan, folder, text, watch); });
}

Prepared prepare_image(const ImagePlan& plan, const Watch& watch) {
  const std::string text = options_of("image", plan.from, plan.caps, plan.seed).dump();
  return prepare_folder({plan.folder, "image", text, plan.force, plan.from},
                        [&](const std::string& folder) { return write_image(plan, folder, text, watch); });
}

Prepared prepare_retrieval(const RetrievalPlan& plan, const Watch& watch) {
  Json options = options_of("retrieval", plan.from, plan.caps, plan.seed);
  if (plan.max_bytes < 1)
    throw Error(fmt::format("retrieval: keep {} bytes of a text, wanted at least 1", plan.max_bytes));
  options.set("max_bytes", plan.max_bytes);
  const std::string text = options.dump();
  return prepare_folder({plan.folder, "retrieval", text, plan.force, plan.from},
                        [&](const std::string& folder) { return write_retrieval(plan, folder, text, watch); });
}

}  // namespace selene::data
