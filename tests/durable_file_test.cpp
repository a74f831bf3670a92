// Files that are complete or absent (data/durable_file.h) and the checksum (data/xxhash64.h).
#include "data/durable_file.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "data/xxhash64.h"
#include "kernels/error.h"
#include "tests/catch.h"

namespace fs = std::filesystem;
using selene::Error;
using selene::data::DurableFile;
using selene::data::XxHash64;

namespace {

struct TemporaryFolder {
  fs::path path = fs::temp_directory_path() / ("selene-durable-" + std::to_string(getpid()));
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return (path / name).string(); }
};

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

size_t files_in(const fs::path& folder) {
  return size_t(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

uint64_t hash_of(std::string_view text) {
  XxHash64 hash;
  hash.update(text.data(), text.size());
  return hash.digest();
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

TEST_CASE("xxhash64: published values") {
  CHECK(hash_of("") == 0xEF46DB3751D8E999u);
  CHECK(hash_of("a") == 0xD24EC4F1A98C6E5Bu);
  CHECK(hash_of("abc") == 0x44BC2CF5AD770999u);
  CHECK(hash_of("Nobody inspects the spammish repetition") == 0xFBCEA83C8A378BF1u);
}

TEST_CASE("xxhash64: the cut into calls does not matter") {
  std::string text;
  for (int i = 0; i < 200; ++i) text += char(i * 37 + 11);
  for (size_t step : {1, 3, 7, 8, 31, 32, 33, 63, 64, 65, 199}) {
    XxHash64 hash;
    for (size_t at = 0; at < text.size(); at += step) hash.update(text.data() + at, std::min(step, text.size() - at));
    CHECK(hash.digest() == hash_of(text));
  }
}

TEST_CASE("durable file: appears at commit, replaces, leaves nothing else") {
  TemporaryFolder folder;
  const std::string path = folder / "file";
  {
    DurableFile file(path);
    file.write("one", 3);
    CHECK_FALSE(fs::exists(path));
    file.commit();
    CHECK_THROWS_AS(file.commit(), Error);
  }
  CHECK(text_of(path) == "one");
  {
    DurableFile file(path);
    file.write("half", 4);
  }
  CHECK(text_of(path) == "one");
  selene::data::write_durably(path, "two");
  CHECK(text_of(path) == "two");
  CHECK(files_in(folder.path) == 1);
}

TEST_CASE("durable file: a full disk is an error with path and reason, the old file stays") {
  TemporaryFolder folder;
  const std::string path = folder / "file", big(100000, 'x');
  selene::data::write_durably(path, "old");
  selene::data::ignore_file_size_signal();
  std::string message;
  {
    FileSizeLimit limit(5000);
    try {
      selene::data::write_durably(path, big);
    } catch (const Error& e) {
      message = e.what();
    }
  }
  CHECK(message == path + ": writing failed after 5000 bytes: File too large");
  CHECK(text_of(path) == "old");
  CHECK(files_in(folder.path) == 1);
}

TEST_CASE("durable file: unwritable places are errors") {
  TemporaryFolder folder;
  selene::data::write_durably(folder / "file", "x");
  CHECK_THROWS_WITH(DurableFile(folder / "file/below"),
                    folder / "file/below" + ": cannot be written: Not a directory");
  CHECK_THROWS_WITH(DurableFile(folder / "none/below"),
                    folder / "none/below" + ": cannot be written: No such file or directory");
  fs::create_directory(folder / "taken");
  DurableFile file(folder / "taken");
  file.write("x", 1);
  CHECK_THROWS_WITH(file.commit(), Catch::Matchers::StartsWith(folder / "taken" + ": renaming failed"));
}

TEST_CASE("links: replaced in one step, relative") {
  TemporaryFolder folder;
  selene::data::replace_link(folder.path.string(), "last", "a");
  selene::data::replace_link(folder.path.string(), "last", "b");
  CHECK(fs::read_symlink(folder / "last") == "b");
  CHECK(files_in(folder.path) == 1);
  fs::create_directory(folder / "best");
  CHECK_THROWS_WITH(selene::data::replace_link(folder.path.string(), "best", "b"),
                    Catch::Matchers::StartsWith(folder / "best" + ": cannot be made a link to b: "));
  CHECK(files_in(folder.path) == 2);
}

TEST_CASE("leftovers of killed writers are removed, those of living ones and other files stay") {
  TemporaryFolder folder;
  const std::string other = ".other.selene-tmp.txt", dead = ".file.1-0.selene-tmp", link = ".last.1-1.selene-tmp";
  for (const std::string& name : {other, dead}) std::ofstream(folder / name) << "x";
  fs::create_symlink("a", folder / link);
  DurableFile living(folder / "file");
  living.write("alive", 5);
  std::vector<std::string> removed = selene::data::remove_leftovers(folder.path.string());
  std::sort(removed.begin(), removed.end());
  CHECK(removed == std::vector<std::string>{dead, link});
  living.commit();
  CHECK(text_of(folder / "file") == "alive");
  CHECK(files_in(folder.path) == 2);
  CHECK(selene::data::remove_leftovers(folder / "none").empty());
}
