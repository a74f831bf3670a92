// Which checkpoint is the newest and which the best: their own record says it, the links follow.
#include "train/folder/run_folder.h"

#include <filesystem>

#include "kernels/error.h"
#include "tests/support/catch.h"
#include "tests/support/disk.h"

namespace selene::testing {
namespace {

using namespace train;
namespace fs = std::filesystem;

const float kWeight[2] = {1, 2};
const std::vector<data::TensorBytes> kTensors{{"weight", DType::f32, {2}, kWeight}};

/// A checkpoint that records `best`; less than 0: none.
std::string write(const Folder& folder, int64_t update, int64_t best) {
  const std::string state = best < 0 ? R"({"has_best":false,"best_update":0})"
                                     : R"({"has_best":true,"best_update":)" + std::to_string(best) + "}";
  return write_checkpoint(folder.path.string(), update, kTensors, {{"state", state}});
}

RunCheckpoints find(const Folder& folder) { return find_checkpoints(folder.path.string()); }

/// Links to the checkpoint of update 10.
std::vector<std::string> put_right(const Folder& folder, std::optional<int64_t> best = 10) {
  return put_links_right(folder.path.string(), 10, best);
}

}  // namespace

TEST_CASE("run folder: the newest that verifies says which one is the best, whatever the links say") {
  const Folder folder;
  write(folder, 10, 10), write(folder, 20, 10);
  const std::string newest = write(folder, 30, 20);
  fs::create_symlink(checkpoint_name(30), folder.file("best"));
  CHECK(find(folder).newest->update == 30);
  CHECK(find(folder).best->update == 20);
  CHECK((find(folder).validated && find(folder).lost.empty()));
  write_text(newest, "damaged");
  CHECK(find(folder).newest->update == 20);
  CHECK(find(folder).best->update == 10);
  CHECK(find(folder).refused.size() == 1);
}

TEST_CASE("run folder: the newest stands for a best one that is gone or damaged, and for none") {
  const Folder folder;
  const std::string best = write(folder, 10, 10);
  write(folder, 20, 10);
  for (const bool gone : {false, true}) {
    write_text(best, "damaged");
    if (gone) fs::remove(best);
    const RunCheckpoints all = find(folder);
    CHECK((all.validated && all.best->update == 20));
    CHECK_THAT(all.lost, Catch::Matchers::StartsWith(best + ": "));
  }
  write(folder, 30, -1);
  CHECK((!find(folder).validated && find(folder).best->update == 30 && find(folder).lost.empty()));
  for (const char* state : {"", "[]", "{", R"({"has_best":1})", R"({"has_best":true,"best_update":"10"})"}) {
    write_checkpoint(folder.path.string(), 40, kTensors, {{"state", state}});
    CHECK((!find(folder).validated && find(folder).best->update == 40));
  }
  const Folder empty;
  CHECK((!find(empty).newest && !find(empty).best));
  CHECK(!find_checkpoints(empty.file("none")).newest);
}

TEST_CASE("run folder: a file under another update's name is not taken for that") {
  const Folder folder;
  const std::string best = write(folder, 10, 10);
  fs::copy_file(best, folder.file(checkpoint_name(30)));
  CHECK(find(folder).newest->update == 10);
  REQUIRE(find(folder).refused.size() == 1);
  CHECK_THAT(find(folder).refused[0].reason, containing("holds update 10, which is not what its name says"));
}

TEST_CASE("run folder: a run, its checkpoints, and what is neither") {
  const Folder folder;
  CHECK(checkpoint_folder(folder.path.string()) == "");
  CHECK(checkpoint_folder(folder.file("none")) == "");
  write_checkpoint(folder.file("checkpoints"), 1, kTensors, {});
  CHECK(checkpoint_folder(folder.path.string()) == folder.file("checkpoints"));
  CHECK(checkpoint_folder(folder.file("checkpoints")) == folder.file("checkpoints"));
}

TEST_CASE("run folder: links are put right, of either kind, and go where there is nothing to name") {
  const Folder folder;
  write(folder, 10, 10);
  const std::string target = checkpoint_name(10);
  CHECK(put_right(folder).empty());
  CHECK((fs::read_symlink(folder.file("last")) == target && fs::read_symlink(folder.file("best")) == target));
  fs::remove(folder.file("last")), fs::remove(folder.file("best"));
  write_text(folder.file("last"), target + "\n");  // right already
  write_text(folder.file("best"), checkpoint_name(7) + "\n");
  CHECK(put_right(folder).empty());
  CHECK((fs::is_regular_file(fs::symlink_status(folder.file("last"))) &&
         read_text(folder.file("last")) == target + "\n"));
  CHECK(fs::read_symlink(folder.file("best")) == target);
  CHECK(put_right(folder, 11).empty());  // a checkpoint that is not there
  CHECK(names_in(folder) == std::vector<std::string>{"last", target});
  CHECK(put_right(folder, std::nullopt).empty());
}

TEST_CASE("run folder: folders in the place of links are told and stay") {
  const Folder folder;
  write(folder, 10, 10);
  for (const char* name : {"best", "last"}) fs::create_directory(folder.file(name));
  const std::vector<std::string> told = put_right(folder);
  REQUIRE(told.size() == 2);
  CHECK_THAT(told[0], Catch::Matchers::StartsWith(folder.file("last") + ": is a folder") && containing("own record"));
  CHECK(names_in(folder).size() == 3);
}

TEST_CASE("run folder: old checkpoints are removed, the best and the last stay, numbers count and not letters") {
  const Folder folder;
  write_text(folder.file("update-x.safetensors"), "not ours");
  for (const int64_t update : {1, 2, 100000000, 100000001}) write(folder, update, 1);
  CHECK(remove_old(folder.path.string(), 0, 100000001, 1).empty());
  CHECK(names_in(folder).size() == 5);
  CHECK(remove_old(folder.path.string(), 2, 100000001, 1).empty());
  CHECK(names_in(folder) == std::vector<std::string>{checkpoint_name(1), "update-100000000.safetensors",
                                                     "update-100000001.safetensors", "update-x.safetensors"});
  write(folder, 5, 1);  // after going on from an old one: what was just written is not the largest number
  CHECK(remove_old(folder.path.string(), 1, 5, 1).empty());
  CHECK(names_in(folder) == std::vector<std::string>{checkpoint_name(1), checkpoint_name(5),
                                                     "update-100000001.safetensors", "update-x.safetensors"});
  fs::create_directories(folder.file(checkpoint_name(3)) + "/full");
  CHECK(remove_old(folder.path.string(), 1, 5, 1).size() == 1);  // told, and no reason to end a run
}

}  // namespace selene::testing
