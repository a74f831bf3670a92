// Prepared data: what is written comes back; what was damaged or does not fit is refused.
#include "data/prepared.h"

#include <chrono>
#include <csignal>

#include "data/io/checksum.h"
#include "data/lra/listops/listops.h"
#include "data/text/characters.h"
#include "tests/support/catch.h"
#include "tests/support/data_folder.h"

namespace selene::testing {
namespace {

using namespace data;
namespace fs = std::filesystem;

/// Pairs of byte rows, every byte among them.
Dataset pairs(int64_t n) {
  DatasetBuilder d;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t t = 0; t < 2; ++t) {
      std::vector<uint8_t> row(size_t(1 + (i * 7 + t * 3) % 300));
      for (size_t k = 0; k < row.size(); ++k) row[k] = uint8_t(size_t(i) + k);
      d.add_row(row);
    }
    d.add_label(int32_t(i % 2));
  }
  return d.finish(kind_named("retrieval"), "made");
}

template <class T>
std::vector<T> copy(std::span<const T> s) {
  return {s.begin(), s.end()};
}

/// A file with the tensors of prepared data, each as given, to be refused.
std::string write(const Folder& folder, const std::vector<int64_t>& offsets, const std::vector<int32_t>& labels,
                  const std::vector<uint8_t>& symbols, Metadata metadata = {}) {
  for (const auto& [key, value] : Metadata{{"data_format", "3"}, {"kind", "listops"}}) metadata.emplace(key, value);
  const std::vector<TensorBytes> tensors{{"symbols.offsets", DType::i64, {int64_t(offsets.size())}, offsets.data()},
                                         {"labels", DType::i32, {int64_t(labels.size())}, labels.data()},
                                         {"symbols", DType::u8, {int64_t(symbols.size())}, symbols.data()}};
  const std::string path = folder.file("made.safetensors");
  write_checked(path, tensors, metadata);
  return path;
}

}  // namespace

TEST_CASE("prepared: ids are as wide as their vocabulary needs") {
  const Folder folder;
  const std::string path = folder.file("train.safetensors");
  for (const auto& [symbols, type] :
       {std::pair{256, DType::u8}, {257, DType::u16}, {65536, DType::u16}, {65537, DType::i32}}) {
    CAPTURE(symbols);
    std::vector<int32_t> characters, ids;  // the unknown one is symbol 0
    for (int id = 1; id < symbols; ++id) characters.push_back(0x10000 + id), ids.push_back(id);
    const Dataset made = character_set("made", characters, {characters, {0x10000 + symbols - 1, 7}});
    write_prepared(folder.path.string(), "train", made, "{}");
    const Dataset read = open_prepared(path, "train");
    const Column& text = read.column("text");
    CHECK(text.dtype == type);
    CHECK(text.ids(0, 0, symbols - 1) == ids);
    CHECK(text.ids(1, 0, 2) == std::vector<int32_t>{symbols - 1, 0});
    const auto content = int64_t(fs::file_size(path)) - 4 * (symbols - 1) - size_of(type) * (symbols + 1);
    CHECK((content > 0 && content < 1000));  // beside vocabulary and text: header and offsets
    Dataset wide = made;
    const std::vector<uint8_t> bytes = packed(ids, DType::i32);
    const std::vector<int64_t> offsets{0, symbols - 1};
    wide.columns[1] = {"text", DType::i32, bytes, offsets};
    if (type != DType::i32)
      CHECK(holds(message_of([&] { write_prepared(folder.path.string(), "train", wide, "{}"); }),
                  std::string("text is i32, wanted ") + name_of(type)));
  }
}

TEST_CASE("prepared: a split comes back as it was") {
  const Folder folder;
  const Dataset made = pairs(97);
  write_prepared(folder.path.string(), "valid", made, R"({"seed":1})");
  const Dataset read = read_split(folder.path.string(), kind_named("retrieval"), "valid");
  CHECK(read.kind == made.kind);
  CHECK(read.towers() == 2);
  CHECK(copy(read.symbols()) == copy(made.symbols()));
  CHECK(copy(read.offsets()) == copy(made.offsets()));
  CHECK(copy(read.labels()) == copy(made.labels()));
  CHECK(copy(read.row(5, 1)) == copy(made.row(5, 1)));
  CHECK(SafetensorsFile(read.name).metadata().at("options") == R"({"seed":1})");
  const Dataset first = read.first(3);
  CHECK(first.examples() == 3);
  CHECK(copy(first.row(2, 1)) == copy(made.row(2, 1)));
  CHECK(first.symbols().data() == read.symbols().data());  // shares the memory
  CHECK(read.first(1000).examples() == 97);
}

TEST_CASE("prepared: every changed or missing byte is found") {
  const Folder folder;
  write_prepared(folder.path.string(), "train", pairs(5), "{}");
  const std::string path = prepared_path(folder.path.string(), "train"), good = read_text(path);
  REQUIRE_NOTHROW(open_prepared(path));
  for (size_t i = 0; i < good.size(); i += 11) {
    std::string bad = good;
    bad[i] = char(bad[i] ^ 4);
    write_text(path, bad);
    CHECK(message_of([&] { open_prepared(path); }).starts_with(path + ": "));
  }
  for (size_t n : {size_t(0), size_t(7), good.size() / 2, good.size() - 1}) {
    write_text(path, good.substr(0, n));
    CHECK(message_of([&] { open_prepared(path); }).starts_with(path + ": "));
  }
}

TEST_CASE("prepared: a file that is changed or cut in place while it is in use is named, and does no harm") {
  const Folder folder;
  write_prepared(folder.path.string(), "train", pairs(50), "{}");
  const std::string path = prepared_path(folder.path.string(), "train"), good = read_text(path);
  const Dataset d = open_prepared(path);
  const auto rows = copy(d.symbols());
  const auto message = [&] { return message_of([&] { d.first(3).need_unchanged(); }); };
  const auto touch = [&](int seconds) {
    fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(seconds));
  };
  CHECK(message().empty());
  write_text(path, good), touch(5);
  CHECK(message().empty());  // the same content once more
  for (const size_t size : {size_t(0), size_t(4096), good.size()}) {
    std::string bad = good.substr(0, size) + std::string(good.size() == size ? 0 : 1, 'x');
    bad.back() = 'y';
    write_text(path, bad), touch(10);
    CHECK(message().starts_with(path + ": was changed while it was in use"));
    CHECK(copy(d.symbols()) == rows);
    CHECK(copy(d.row(49, 1)) == copy(pairs(50).row(49, 1)));
  }
  write_text(path, good), touch(15);
  CHECK(message().empty());
  write_text(folder.file("new"), "another");
  std::filesystem::rename(folder.file("new"), path);
  CHECK(message().empty());
  std::filesystem::remove(path);
  CHECK(message().empty());
}

TEST_CASE("prepared: what does not fit together is refused by name") {
  const Folder folder;
  const auto message = [&](const std::vector<int64_t>& offsets, const std::vector<int32_t>& labels,
                           const std::vector<uint8_t>& symbols, const Metadata& metadata = {}) {
    const std::string path = write(folder, offsets, labels, symbols, metadata);
    const std::string m = message_of([&] { open_prepared(path); });
    return m.starts_with(path + ": ") ? m.substr(path.size() + 2) : m;
  };
  CHECK(message({0, 2, 3}, {1, 9}, {1, 2, 3}).empty());
  CHECK(message({0}, {}, {}) == "no examples");
  CHECK(message({0, 3}, {1, 9}, {1, 2, 3}) == "2 offsets for 2 examples, wanted 3");
  CHECK(message({0, 2, 2}, {1, 9}, {1, 2, 3}) == "offsets of symbols do not ascend from 0 to its 3 elements");
  CHECK(message({0, 5, 3}, {1, 9}, {1, 2, 3}) == "offsets of symbols do not ascend from 0 to its 3 elements");
  CHECK(message({0, 3, 3}, {1, 9}, {1, 2, 3}) == "example 2 has an empty row, wanted at least one symbol");
  const Metadata image{{"kind", "pathfinder"}};
  CHECK(message({0, 4, 8}, {0, 1}, {1, 2, 3, 4, 5, 6, 7, 8}, image).empty());
  CHECK(message({0, 4, 5}, {0, 1}, {1, 2, 3, 4, 5}, image) == "example 2 has 1 pixels, wanted 4 as the first image");
  CHECK(message({0, 2, 4}, {0, 1}, {1, 2, 3, 4}, image) == "example 1 has 2 pixels, wanted a square");
  CHECK(message({0, 2, 3}, {1, 10}, {1, 2, 3}) == "label 10, wanted 0 to 9");
  CHECK(message({0, 2, 3}, {1, -1}, {1, 2, 3}) == "label -1, wanted 0 to 9");
  CHECK(message({0, 2, 3}, {1, 9}, {1, 15, 3}) == "raw symbol 15, wanted 0 to 14");
  CHECK(message({0, 2, 3}, {1, 9}, {1, 2, 3}, {{"kind", "speech"}}) ==
        "data of kind 'speech', wanted one of listops, text, retrieval, image, pathfinder, characters");
  CHECK(
      message({0, 2, 3}, {1, 9}, {1, 2, 3}, {{"data_format", "7"}}) ==
      "data format is version 7, this program reads version 3; prepare the data again, selene-prepare with --force");
  const std::string path = folder.file("floats.safetensors");
  const int64_t offsets[] = {0, 1};
  const float symbols[] = {1};
  write_checked(
      path,
      std::vector<TensorBytes>{{"symbols.offsets", DType::i64, {2}, offsets}, {"symbols", DType::f32, {1}, symbols}},
      {{"data_format", "3"}, {"kind", "listops"}});
  CHECK(message_of([&] { open_prepared(path); }) == path + ": tensor symbols is f32, wanted u8");
  write_safetensors(folder.file("other.safetensors"), {});
  CHECK(holds(message_of([&] { open_prepared(folder.file("other.safetensors")); }), "is not prepared data"));
}

TEST_CASE("prepared: a recipe's split is of its kind and there") {
  const Folder folder;
  const std::string path = folder.path.string();
  const auto message = [&](const char* kind, const char* split) {
    return message_of([&] { read_split(path, kind_named(kind), split); });
  };
  CHECK(message("text", "train") == path + "/train.safetensors: is not there; make it with selene-prepare text");
  CHECK(message("listops", "valid") ==
        path + ": neither valid.safetensors nor basic_val.tsv is there; make them with selene-prepare listops");
  CHECK_FALSE(has_split(path, kind_named("retrieval"), "train"));
  write_prepared(path, "train", pairs(3), "{}");
  CHECK(has_split(path, kind_named("retrieval"), "train"));
  CHECK(message("text", "train") ==
        path + "/train.safetensors: is data of kind retrieval, the recipe's data.kind is text");
  CHECK(message_of([&] { read_split(path + "/none", kind_named("text"), "train"); }) ==
        path + "/none: the data's folder is not there; make it with selene-prepare text, or give another data.path");
  CHECK(message_of([&] { read_split("none", kind_named("text"), "train"); }) ==
        "none: the data's folder is not there in " + fs::current_path().string() +
            "; make it with selene-prepare text, or give another data.path");
  CHECK(holds(message_of([&] { read_split(path + "/train.safetensors", kind_named("text"), "train"); }),
              "is a file, wanted a folder of data; an archive must be unpacked"));
  CHECK(message("text", "dev") == "split 'dev', wanted train, valid or test");
  CHECK(message_of([] { kind_named("speech"); }).starts_with("data of kind 'speech', wanted one of listops, text"));
}

TEST_CASE("dataset: rows, labels and symbols are those of the kind") {
  const auto message = [](int rows, int labels, uint8_t symbol, int32_t label) {
    DatasetBuilder d;
    for (int i = 0; i < rows; ++i) d.add_row(std::vector<uint8_t>{symbol});
    for (int i = 0; i < labels; ++i) d.add_label(label);
    return message_of([&] { d.finish(kind_named("listops"), "made"); });
  };
  CHECK(message(2, 2, 14, 9).empty());
  CHECK(message(2, 2, 14, kNoLabel).empty());
  CHECK(message_of([] {
          DatasetBuilder d;
          d.add_row({});
          d.add_label(1);
          d.finish(kind_named("listops"), "made");
        }) == "made: an example has an empty row, wanted at least one symbol");
  CHECK(message(2, 1, 14, 9) == "made: 2 rows for 1 labels, wanted 1");
  CHECK(message(1, 1, 15, 9) == "made: raw symbol 15, wanted one of 15");
  CHECK(message(1, 1, 14, 10) == "made: label 10, wanted 0 to 9");
}

namespace {

const Kind& retrieval() { return kind_named("retrieval"); }

FolderPlan plan_of(const Folder& folder, const std::string& options = R"({"n":3})", bool force = false) {
  return {folder.file("d"), "retrieval", options, force};
}

/// Writes the three splits of a plan, and beside them a folder, as some kinds have it.
std::string write_all(const FolderPlan& plan, const std::string& to) {
  for (const char* split : {"train", "valid", "test"}) write_prepared(to, split, pairs(3), plan.options);
  fs::create_directory(to + "/more");
  write_text(to + "/more/file", plan.options);
  return R"({"skipped":0})";
}

Prepared prepare(const FolderPlan& plan) {
  return prepare_folder(plan, [&](const std::string& to) { return write_all(plan, to); });
}

std::string refusal(const FolderPlan& plan) {
  return message_of([&] { prepare(plan); });
}

}  // namespace

TEST_CASE("prepared folder: complete or absent, for any kind") {
  const Folder folder;
  const FolderPlan plan = plan_of(folder);
  CHECK_THROWS_AS(prepare_folder(plan, [](const std::string&) -> std::string { throw Error("stop"); }), Error);
  CHECK(fs::is_empty(folder.path));
  CHECK(prepare(plan) == Prepared::made);
  CHECK(prepare(plan) == Prepared::already_there);
  CHECK(holds(read_text(folder.file("d/dataset.json")), "\"skipped\": 0"));
  FolderPlan other = plan;
  other.kind = "text";
  CHECK(holds(refusal(other), "holds data of kind \"retrieval\", wanted text"));
  other = plan_of(folder, R"({"n":4})");
  CHECK(holds(refusal(other), "made with other options"));
  other.force = true;
  CHECK(prepare(other) == Prepared::made);
  CHECK(read_text(folder.file("d/more/file")) == other.options);
  const std::string damaged = folder.file("d/test.safetensors");
  write_text(damaged, read_text(damaged) + "x");
  CHECK(holds(refusal(plan_of(folder, other.options)), "not all of it"));
  CHECK(prepare(other) == Prepared::made);
  fs::remove(damaged);
  CHECK(holds(refusal(plan_of(folder, other.options)), "--force"));
  write_text(folder.file("d/mine"), "x");
  CHECK(holds(refusal(other), "d/mine: does not belong to the data set"));
}

TEST_CASE("prepared folder: an empty folder, a link to one or one with what systems leave there is filled") {
  const Folder folder;
  fs::create_directories(folder.file("real/lost+found"));
  write_text(folder.file("real/.DS_Store"), "x");
  fs::create_directory_symlink("real", folder.file("d"));
  CHECK(prepare(plan_of(folder)) == Prepared::made);
  CHECK(fs::is_symlink(folder.file("d")));
  CHECK(prepare(plan_of(folder, R"({"n":4})", true)) == Prepared::made);
  CHECK(fs::exists(folder.file("real/lost+found")));
  CHECK(entries_in(folder.file("real")) == 7);
  FolderPlan plan = plan_of(folder);
  plan.folder = folder.file("new/") + "/";
  CHECK(prepare(plan) == Prepared::made);
  CHECK(read_split(folder.file("new"), retrieval(), "test").examples() == 3);
  fs::create_directory_symlink("nowhere", plan.folder = folder.file("link"));
  CHECK(holds(refusal(plan), "link: is a link to nowhere, which is not there"));
  write_text(plan.folder = folder.file("file"), "x");
  CHECK(holds(refusal(plan), "file: is a file, wanted a new folder"));
  plan.folder = folder.file("d"), plan.from = folder.file("real/more");
  CHECK(holds(refusal(plan), "holds the files that are to be read"));
}

TEST_CASE("prepared folder: another process in the same folder is noticed") {
  const Folder folder;
  const FolderPlan plan = plan_of(folder);
  std::string second, reader;
  const auto write = [&](const std::string& to) {
    second = refusal(plan);
    write_prepared(to, "test", pairs(3), plan.options);
    reader = message_of([&] { read_split(plan.folder, retrieval(), "test"); });
    return write_all(plan, to);
  };
  CHECK(prepare_folder(plan, write) == Prepared::made);
  CHECK(holds(second, "another selene-prepare is at work"));
  CHECK(holds(reader, "is not whole"));
  const auto written_by_another = [&](const std::string& to) { return write_all(plan_of(folder, "{}"), to); };
  CHECK(holds(message_of([&] { prepare_folder(plan_of(folder, R"({"n":5})", true), written_by_another); }),
              "train.safetensors: another process has written it meanwhile"));
  CHECK(prepare(plan) == Prepared::already_there);
}

TEST_CASE("prepared folder: wherever it is killed, it is whole or known not to be, and the next run goes on") {
  // The states in which the moving can be killed, in its order: so many entries have their place already.
  for (const bool replace : {false, true})
    for (int moved = 0; moved <= 4; ++moved) {
      CAPTURE(replace, moved);
      const Folder folder;
      const FolderPlan plan = plan_of(folder, R"({"n":4})");
      REQUIRE(prepare(plan) == Prepared::made);
      const std::string partial = folder.file("d/.selene-partial");
      fs::create_directory(partial);
      const char* const names[] = {"more", "test.safetensors", "train.safetensors", "valid.safetensors"};
      for (int i = moved; i < 4; ++i) fs::rename(folder.file("d/" + std::string(names[i])), partial + "/" + names[i]);
      fs::rename(folder.file("d/dataset.json"), partial + "/dataset.json");
      if (replace) {
        write_text(partial + "/replaced.json",
                   R"({"kind":"retrieval","options":{},"files":["old.tsv","valid.safetensors"]})");
        write_text(folder.file("d/old.tsv"), "x");
        if (moved < 4) write_text(folder.file("d/valid.safetensors"), "x");
      }
      CHECK(holds(message_of([&] { read_split(plan.folder, retrieval(), "train"); }), "is not whole"));
      CHECK(prepare(plan) == Prepared::already_there);
      CHECK(entries_in(folder.file("d")) == 5);
    }
}

TEST_CASE("prepared folder: a killed replacement leaves the old set whole") {
  const Folder folder;
  const FolderPlan old = plan_of(folder), plan = plan_of(folder, R"({"n":4})", true);
  REQUIRE(prepare(old) == Prepared::made);
  const auto die = [&](const std::string& to) {
    const std::string facts = write_all(plan, to);
    std::raise(SIGKILL);
    return facts;
  };
  REQUIRE(signal_of([&] { prepare_folder(plan, die); }) == SIGKILL);
  CHECK(read_split(old.folder, retrieval(), "train").examples() == 3);
  CHECK(prepare(old) == Prepared::already_there);
  CHECK_FALSE(fs::exists(folder.file("d/.selene-partial")));
  REQUIRE(signal_of([&] { prepare_folder(plan, die); }) == SIGKILL);
  CHECK(prepare(plan) == Prepared::made);
  CHECK(entries_in(folder.file("d")) == 5);
}

}  // namespace selene::testing
