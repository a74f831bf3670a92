// Checkpoints on disk: whatever happens to the newest file or to the disk, an older checkpoint is there and is taken.
#include "train/checkpoint_files.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "data/durable_file.h"
#include "kernels/error.h"
#include "kernels/philox.h"
#include "tests/catch.h"

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using selene::DType;
using selene::Error;
using selene::data::Metadata;
using selene::data::TensorBytes;
using namespace selene::train;

namespace {

struct TemporaryFolder {
  fs::path path = fs::temp_directory_path() / ("selene-checkpoints-" + std::to_string(getpid()));
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return (path / name).string(); }
  std::string text() const { return path.string(); }
};

const float WEIGHT[6] = {1, -2, 3.5f, 4, 5, 6};
const int64_t STATE[1] = {1234567890123};
const std::vector<TensorBytes> TENSORS{{"layer.weight", DType::f32, {2, 3}, WEIGHT},
                                       {"optimizer.step", DType::i64, {}, STATE}};
const Metadata STRINGS{{"recipe", "model: luna\n"}, {"state", R"({"checksum":"0","loss_scale":0.1})"}};

std::string write(const TemporaryFolder& folder, int64_t update, const KeepRule& keep = {}) {
  return write_checkpoint(folder.text(), update, TENSORS, STRINGS, keep);
}

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void put(const std::string& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

std::vector<std::string> names_in(const TemporaryFolder& folder) {
  std::vector<std::string> names;
  for (const auto& e : fs::directory_iterator(folder.path)) names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// Why the file is refused; empty if it is a good checkpoint.
std::string refusal(const std::string& path) {
  try {
    open_checkpoint(path);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

struct FileSizeLimit {  // a full disk for this process
  rlimit before{};
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit now{bytes, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before); }
};

}  // namespace

TEST_CASE("checkpoint: what is written is read, through the file and through the link") {
  TemporaryFolder folder;
  const std::string path = write(folder, 5000);
  CHECK(path == folder / "update-00005000.safetensors");
  for (const std::string& name : {path, folder / "last"}) {
    const Checkpoint c = open_checkpoint(name);
    CHECK(c.update == 5000);
    CHECK(c.metadata("recipe") == STRINGS.at("recipe"));
    CHECK(c.metadata("state") == STRINGS.at("state"));
    CHECK_THROWS_WITH(c.metadata("none"), name + ": has no \"none\" in its metadata");
    const auto bytes = c.file.bytes(c.file.at("layer.weight"));
    REQUIRE(bytes.size() == sizeof WEIGHT);
    CHECK(std::memcmp(bytes.data(), WEIGHT, sizeof WEIGHT) == 0);
  }
  CHECK(content_of(path) == content_of(write(folder, 5000)));
  CHECK(checkpoint_name(123456789) == "update-123456789.safetensors");
}

TEST_CASE("checkpoint: cut at any byte it is refused with a reason, and the one before is taken") {
  TemporaryFolder folder;
  const std::string before = write(folder, 10), path = write(folder, 20), whole = content_of(path);
  for (size_t size = 0; size < whole.size(); ++size) {
    put(path, whole.substr(0, size));
    const NewestCheckpoint newest = newest_valid_checkpoint(folder.text());
    REQUIRE(newest.found);
    REQUIRE(newest.found->file.path() == before);
    REQUIRE(newest.found->update == 10);
    REQUIRE(newest.refused.size() == 1);
    REQUIRE(newest.refused[0].path == path);
    REQUIRE(newest.refused[0].reason.size() > path.size() + 10);
    CHECK_THROWS_AS(open_weights(path), Error);
  }
  put(path, whole + "x");
  CHECK_THAT(refusal(path), Contains("1 extra bytes"));
  put(path, whole);
  CHECK(newest_valid_checkpoint(folder.text()).found->update == 20);
  CHECK(newest_valid_checkpoint(folder.text()).refused.empty());
}

TEST_CASE("checkpoint: every flipped bit of the file is found, in the tensors by the checksum") {
  TemporaryFolder folder;
  const std::string path = write(folder, 20), whole = content_of(path);
  const size_t header = open_checkpoint(path).file.header().size();
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = char(flipped[bit / 8] ^ (1 << bit % 8));
    put(path, flipped);
    const std::string reason = refusal(path);
    INFO("bit " << bit << ": " << reason);
    if (bit / 8 >= header) CHECK_THAT(reason, Contains("damaged: checksum of its bytes is "));
    else CHECK(reason != "");
  }
}

TEST_CASE("checkpoint: random bytes, other files and other versions are refused") {
  TemporaryFolder folder;
  const std::string path = folder / "update-00000007.safetensors";
  selene::PhiloxStream random(3, 0);
  for (int trial = 0; trial < 300; ++trial) {
    std::string noise(random.below(300), '\0');
    for (char& c : noise) c = char(random.bits());
    put(path, noise);
    CHECK(refusal(path) != "");
  }
  selene::data::write_safetensors(path, TENSORS, {{"format", "pt"}});
  CHECK_THAT(refusal(path), Contains("is not a Selene checkpoint"));
  CHECK(open_weights(path).entries().size() == 2);
  selene::data::write_safetensors(path, TENSORS, {{"format_version", "2"}});
  CHECK_THAT(refusal(path), Contains("checkpoint format is version 2, this program reads version 1"));
  CHECK_THROWS_WITH(open_weights(path), Contains("version 2"));
  selene::data::write_safetensors(path, TENSORS, {{"format_version", "1"}});
  CHECK_THAT(refusal(path), Contains("has no \"checksum\" in its metadata"));
  CHECK_THAT(refusal(folder / "none"), Contains("No such file"));
  const NewestCheckpoint newest = newest_valid_checkpoint(folder.text());
  CHECK_FALSE(newest.found);
  CHECK(newest.refused.size() == 1);
}

TEST_CASE("checkpoint: an empty or missing folder has none") {
  TemporaryFolder folder;
  for (const std::string& name : {folder.text(), folder / "none"}) {
    const NewestCheckpoint newest = newest_valid_checkpoint(name);
    CHECK_FALSE(newest.found);
    CHECK(newest.refused.empty());
  }
  put(folder / "file", "x");
  CHECK_THROWS_WITH(newest_valid_checkpoint(folder / "file"), Contains("folder cannot be read"));
}

TEST_CASE("checkpoint: old ones are removed, best and last stay, numbers count and not letters") {
  TemporaryFolder folder;
  put(folder / "update-x.safetensors", "not ours");
  const std::vector<std::string> first{"best", "last", "update-00000001.safetensors", "update-00000002.safetensors"};
  write(folder, 1, {.newest = 2, .best = true});
  write(folder, 2, {.newest = 2});
  auto wanted = first;
  wanted.push_back("update-x.safetensors");
  CHECK(names_in(folder) == wanted);
  write(folder, 100000000, {.newest = 2});
  write(folder, 100000001, {.newest = 2});
  CHECK(names_in(folder) == std::vector<std::string>{"best", "last", first[2], "update-100000000.safetensors",
                                                     "update-100000001.safetensors", "update-x.safetensors"});
  CHECK(open_checkpoint(folder / "best").update == 1);
  CHECK(open_checkpoint(folder / "last").update == 100000001);
  mark_best(folder.text(), 100000000);
  CHECK(open_checkpoint(folder / "best").update == 100000000);
  CHECK_THROWS_WITH(mark_best(folder.text(), 3), Contains("does not exist"));
  write(folder, 5, {.newest = 1});  // after going on from an old one: `last` is not the largest number
  CHECK(open_checkpoint(folder / "last").update == 5);
  CHECK(names_in(folder).size() == 6);
}

TEST_CASE("checkpoint: a full disk leaves the old checkpoint and the links as they were") {
  TemporaryFolder folder;
  const std::string old = write(folder, 10, {.newest = 1, .best = true}), bytes = content_of(old);
  const std::vector<std::string> names = names_in(folder);
  selene::data::ignore_file_size_signal();
  for (size_t room = 0; room < bytes.size(); room += 7) {
    std::string message;
    {
      FileSizeLimit limit(room);
      try {
        write(folder, 20, {.newest = 1, .best = true});
      } catch (const Error& e) {
        message = e.what();
      }
    }
    REQUIRE_THAT(message, Contains(folder / "update-00000020.safetensors") && Contains("File too large"));
    REQUIRE(names_in(folder) == names);
  }
  CHECK(content_of(old) == bytes);
  CHECK(open_checkpoint(folder / "last").update == 10);
  CHECK(open_checkpoint(folder / "best").update == 10);
}

TEST_CASE("checkpoint: wrong calls and places are refused before anything is written") {
  TemporaryFolder folder;
  put(folder / "file", "x");
  CHECK_THROWS_WITH(write_checkpoint(folder / "file/run", 1, TENSORS, STRINGS), Contains("cannot be created"));
  CHECK_THROWS_WITH(write_checkpoint(folder / "file", 1, TENSORS, STRINGS), Contains(folder / "file"));
  CHECK_THROWS_WITH(write_checkpoint(folder.text(), 1, TENSORS, {{"checksum", "1"}}),
                    Contains("metadata \"checksum\" belongs to the checkpoint format"));
  CHECK_THROWS_WITH(write_checkpoint(folder.text(), 1, TENSORS, {{"\"checksum", "1"}}), Contains("has a quote"));
  CHECK_THROWS_WITH(write_checkpoint(folder.text(), -1, TENSORS, STRINGS), Contains("update is -1"));
  CHECK(names_in(folder) == std::vector<std::string>{"file"});
}

TEST_CASE("checkpoint: leftovers of a killed run are no checkpoints and go at the next start") {
  TemporaryFolder folder;
  write(folder, 10);
  put(folder / ".update-00000020.safetensors.99-0.selene-tmp", content_of(folder / "last"));
  CHECK(newest_valid_checkpoint(folder.text()).found->update == 10);
  CHECK(selene::data::remove_leftovers(folder.text()).size() == 1);
  CHECK(names_in(folder) == std::vector<std::string>{"last", "update-00000010.safetensors"});
}
