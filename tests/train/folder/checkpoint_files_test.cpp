// Checkpoints on disk: whatever happens to the newest file or to the disk, an older checkpoint is there and is taken.
#include "train/folder/checkpoint_files.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>

#include "data/io/durable_file.h"
#include "kernels/error.h"
#include "kernels/philox.h"
#include "tests/support/catch.h"
#include "tests/support/disk.h"

namespace selene::testing {
namespace {

using data::Metadata;
using data::TensorBytes;
using namespace train;
namespace fs = std::filesystem;

const float kWeight[6] = {1, -2, 3.5f, 4, 5, 6};
const int64_t kState[1] = {1234567890123};
const std::vector<TensorBytes> kTensors{{"layer.weight", DType::f32, {2, 3}, kWeight},
                                        {"optimizer.step", DType::i64, {}, kState}};
const Metadata kStrings{{"recipe", "model: luna\n"}, {"state", R"({"checksum":"0","loss_scale":0.1})"}};

std::string write(const Folder& folder, int64_t update) {
  return write_checkpoint(folder.path.string(), update, kTensors, kStrings);
}

/// Why the file is refused; empty if it is a good checkpoint.
std::string refusal(const std::string& path) {
  return message_of([&] { open_checkpoint(path); });
}

}  // namespace

TEST_CASE("checkpoint: what is written is read, through the file and through links of both kinds") {
  Folder folder;
  const std::string path = write(folder, 5000);
  CHECK(path == folder.file("update-00005000.safetensors"));
  fs::create_symlink(checkpoint_name(5000), folder.file("last"));
  write_text(folder.file("best"), checkpoint_name(5000) + "\n");
  CHECK(linked_file(folder.file("best")) == path);
  for (const std::string& text : {std::string(), std::string("other"), "../" + checkpoint_name(5000)}) {
    write_text(folder.file("other"), text);
    CHECK(linked_file(folder.file("other")) == folder.file("other"));
  }
  for (const std::string& name : {path, folder.file("last"), folder.file("best")}) {
    const Checkpoint c = open_checkpoint(name);
    CHECK(c.update == 5000);
    CHECK(c.metadata("recipe") == kStrings.at("recipe"));
    CHECK(c.metadata("state") == kStrings.at("state"));
    CHECK_THROWS_WITH(c.metadata("none"), c.file.path() + ": has no \"none\" in its metadata");
    const auto bytes = c.file.bytes(c.file.at("layer.weight"));
    REQUIRE(bytes.size() == sizeof kWeight);
    CHECK(std::memcmp(bytes.data(), kWeight, sizeof kWeight) == 0);
  }
  CHECK(read_text(path) == read_text(write(folder, 5000)));
  CHECK(checkpoint_name(123456789) == "update-123456789.safetensors");
}

TEST_CASE("checkpoint: cut at any byte it is refused with a reason, and the one before is taken") {
  Folder folder;
  const std::string before = write(folder, 10), path = write(folder, 20), whole = read_text(path);
  for (size_t size = 0; size < whole.size(); ++size) {
    write_text(path, whole.substr(0, size));
    const NewestCheckpoint newest = newest_valid_checkpoint(folder.path.string());
    REQUIRE(newest.found);
    REQUIRE(newest.found->file.path() == before);
    REQUIRE(newest.found->update == 10);
    REQUIRE(newest.refused.size() == 1);
    REQUIRE(newest.refused[0].path == path);
    REQUIRE(newest.refused[0].reason.size() > path.size() + 10);
  }
  write_text(path, whole + "x");
  CHECK_THAT(refusal(path), containing("1 extra bytes"));
  write_text(path, whole);
  CHECK(newest_valid_checkpoint(folder.path.string()).found->update == 20);
  CHECK(newest_valid_checkpoint(folder.path.string()).refused.empty());
}

TEST_CASE("checkpoint: every flipped bit of the file is found, in the tensors by the checksum") {
  Folder folder;
  const std::string path = write(folder, 20), whole = read_text(path);
  const size_t header = open_checkpoint(path).file.header().size();
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::vector<uint8_t> flipped(whole.begin(), whole.end());
    flipped[bit / 8] = uint8_t(flipped[bit / 8] ^ (1 << bit % 8));
    const std::string reason = message_of([&] { verify_checkpoint(data::SafetensorsFile("flipped", flipped)); });
    INFO("bit " << bit << ": " << reason);
    if (bit / 8 >= header) CHECK_THAT(reason, containing("damaged: checksum of its bytes is "));
    else CHECK(reason != "");
  }
}

TEST_CASE("checkpoint: random bytes, other files and other versions are refused") {
  Folder folder;
  const std::string path = folder.file("update-00000007.safetensors");
  PhiloxStream random(3, 0);
  for (int trial = 0; trial < 300; ++trial) {
    std::string noise(random.below(300), '\0');
    for (char& c : noise) c = char(random.bits());
    write_text(path, noise);
    CHECK(refusal(path) != "");
  }
  data::write_safetensors(path, kTensors, {{"format", "pt"}});
  CHECK_THAT(refusal(path), containing("is not a Selene checkpoint"));
  data::write_safetensors(path, kTensors, {{"format_version", "1"}});
  CHECK_THAT(
      refusal(path),
      containing("checkpoint format is version 1, this program reads version 2 and converts none; train again"));
  data::write_safetensors(path, kTensors, {{"format_version", "2"}});
  CHECK_THAT(refusal(path), containing("has no \"checksum\" in its metadata"));
  CHECK_THAT(refusal(folder.file("none")), containing("No such file"));
  const NewestCheckpoint newest = newest_valid_checkpoint(folder.path.string());
  CHECK_FALSE(newest.found);
  CHECK(newest.refused.size() == 1);
}

TEST_CASE("checkpoint: an empty or missing folder has none") {
  Folder folder;
  for (const std::string& name : {folder.path.string(), folder.file("none")}) {
    const NewestCheckpoint newest = newest_valid_checkpoint(name);
    CHECK_FALSE(newest.found);
    CHECK(newest.refused.empty());
  }
  write_text(folder.file("file"), "x");
  CHECK_THROWS_WITH(newest_valid_checkpoint(folder.file("file")), containing("folder cannot be read"));
}

TEST_CASE("checkpoint: a full disk leaves the old checkpoint as it was") {
  Folder folder;
  const std::string old = write(folder, 10), bytes = read_text(old);
  const std::vector<std::string> names = names_in(folder);
  data::ignore_file_size_signal();
  for (size_t room = 0; room < bytes.size(); room += 7) {
    const std::string message = message_of([&] {
      FileSizeLimit limit(room);
      write(folder, 20);
    });
    REQUIRE_THAT(message, containing(folder.file("update-00000020.safetensors")) && containing("File too large"));
    REQUIRE(names_in(folder) == names);
  }
  CHECK(read_text(old) == bytes);
}

TEST_CASE("checkpoint: wrong calls and places are refused before anything is written") {
  Folder folder;
  write_text(folder.file("file"), "x");
  CHECK_THROWS_WITH(write_checkpoint(folder.file("file/run"), 1, kTensors, kStrings),
                    containing("cannot be created"));
  CHECK_THROWS_WITH(write_checkpoint(folder.file("file"), 1, kTensors, kStrings), containing(folder.file("file")));
  CHECK_THROWS_WITH(write_checkpoint(folder.path.string(), 1, kTensors, {{"checksum", "1"}}),
                    containing("metadata \"checksum\" belongs to the"));
  CHECK_THROWS_WITH(write_checkpoint(folder.path.string(), 1, kTensors, {{"\"checksum", "1"}}),
                    containing("has a quote"));
  CHECK_THROWS_WITH(write_checkpoint(folder.path.string(), -1, kTensors, kStrings), containing("update is -1"));
  CHECK(names_in(folder) == std::vector<std::string>{"file"});
}

TEST_CASE("checkpoint: a process killed while it writes leaves the old checkpoint and a file that goes") {
  Folder folder;
  write(folder, 10);
  const auto killed = [&] {
    data::DurableFile file(folder.file("update-00000020.safetensors"));
    file.write(kWeight, sizeof kWeight);
    raise(SIGKILL);
  };
  REQUIRE(signal_of(killed) == SIGKILL);
  CHECK(names_in(folder).size() == 2);
  CHECK(newest_valid_checkpoint(folder.path.string()).found->update == 10);
  CHECK(data::remove_leftovers(folder.path.string()).size() == 1);
  CHECK(names_in(folder).size() == 1);
}

TEST_CASE("checkpoint: leftovers of a killed run are no checkpoints and go at the next start") {
  Folder folder;
  const std::string path = write(folder, 10);
  write_text(folder.file(".update-00000020.safetensors.99-0.selene-tmp"), read_text(path));
  CHECK(newest_valid_checkpoint(folder.path.string()).found->update == 10);
  CHECK(data::remove_leftovers(folder.path.string()).size() == 1);
  CHECK(names_in(folder) == std::vector<std::string>{"update-00000010.safetensors"});
}

}  // namespace selene::testing
