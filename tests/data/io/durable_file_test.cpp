// Files that are complete or absent (data/io/durable_file.h) and the checksum (data/io/xxhash64.h).
#include "data/io/durable_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "data/io/xxhash64.h"
#include "kernels/error.h"
#include "tests/support/catch.h"
#include "tests/support/disk.h"

namespace selene::testing {
namespace {

using data::DurableFile;
using data::XxHash64;
namespace fs = std::filesystem;

uint64_t hash_of(std::string_view text) {
  XxHash64 hash;
  hash.update(text.data(), text.size());
  return hash.digest();
}

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
  Folder folder;
  const std::string path = folder.file("file");
  {
    DurableFile file(path);
    file.write("one", 3);
    CHECK_FALSE(fs::exists(path));
    file.commit();
    CHECK_THROWS_AS(file.commit(), Error);
  }
  CHECK(read_text(path) == "one");
  {
    DurableFile file(path);
    file.write("half", 4);
  }
  CHECK(read_text(path) == "one");
  data::write_durably(path, "two");
  CHECK(read_text(path) == "two");
  CHECK(names_in(folder).size() == 1);
}

TEST_CASE("durable file: a full disk is an error with path and reason, the old file stays") {
  Folder folder;
  const std::string path = folder.file("file"), big(100000, 'x');
  data::write_durably(path, "old");
  data::ignore_file_size_signal();
  const std::string message = message_of([&] {
    FileSizeLimit limit(5000);
    data::write_durably(path, big);
  });
  CHECK(message == path + ": writing failed after 5000 bytes: File too large");
  CHECK(read_text(path) == "old");
  CHECK(names_in(folder).size() == 1);
}

TEST_CASE("durable file: unwritable places are errors") {
  Folder folder;
  data::write_durably(folder.file("file"), "x");
  CHECK_THROWS_WITH(DurableFile(folder.file("file/below")),
                    folder.file("file/below") + ": cannot be written: Not a directory");
  CHECK_THROWS_WITH(DurableFile(folder.file("none/below")),
                    folder.file("none/below") + ": cannot be written: No such file or directory");
  DurableFile file(folder.file("taken"));
  file.write("x", 1);
  fs::create_directory(folder.file("taken"));
  CHECK_THROWS_WITH(file.commit(), Catch::Matchers::StartsWith(folder.file("taken") + ": renaming failed"));
}

TEST_CASE("durable file: a folder or a pipe keeps its place") {
  Folder folder;
  const std::string pipe = folder.file("pipe");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  fs::create_directory(folder.file("below"));
  CHECK_THROWS_WITH(DurableFile(pipe), containing("a device or pipe"));
  CHECK_THROWS_WITH(DurableFile(folder.file("below")), containing("a folder"));
  CHECK(fs::is_fifo(pipe));
  CHECK(names_in(folder).size() == 2);
}

TEST_CASE("durable file: a link stays a link, its target gets the text") {
  Folder folder;
  data::write_durably(folder.file("target"), "old");
  fs::create_symlink("target", folder.file("link"));
  data::write_durably(folder.file("link"), "new");
  CHECK(fs::is_symlink(folder.file("link")));
  CHECK(fs::file_size(folder.file("target")) == 3);
  CHECK(read_text(folder.file("target")) == "new");
}

TEST_CASE("links: replaced in one step, relative") {
  Folder folder;
  CHECK(data::replace_link(folder.path.string(), "last", "a") == "");
  CHECK(data::replace_link(folder.path.string(), "last", "b") == "");
  CHECK(fs::read_symlink(folder.file("last")).string() == "b");
  CHECK(data::link_target(folder.path.string(), "last") == "b");
  CHECK(names_in(folder).size() == 1);
  fs::create_directory(folder.file("best"));
  CHECK_THROWS_WITH(data::replace_link(folder.path.string(), "best", "b"),
                    Catch::Matchers::StartsWith(folder.file("best") + ": is a folder"));
  CHECK(data::link_target(folder.path.string(), "best") == "");
  CHECK(names_in(folder).size() == 2);
}

TEST_CASE("links: a small file that holds a name is one too, and gives way to a link") {
  Folder folder;
  write_text(folder.file("last"), "a\n");
  CHECK(data::link_target(folder.path.string(), "last") == "a");
  for (const std::string& text : {std::string("a\nb\n"), std::string("a/b"), std::string(300, 'a')}) {
    write_text(folder.file("other"), text);
    CHECK(data::link_target(folder.path.string(), "other") == "");
  }
  CHECK(data::link_target(folder.path.string(), "none") == "");
  CHECK(data::replace_link(folder.path.string(), "last", "b") == "");
  CHECK(fs::read_symlink(folder.file("last")).string() == "b");
}

TEST_CASE("durable file: the longest names that a file system takes can be written") {
  Folder folder;
  const std::string path = folder.file(std::string(255, 'n'));
  data::write_durably(path, "x");
  CHECK(read_text(path) == "x");
  CHECK(names_in(folder).size() == 1);
  CHECK_THROWS_WITH(DurableFile(path + "n"), path + "n: cannot be written: File name too long");
  CHECK(names_in(folder).size() == 1);
}

TEST_CASE("leftovers of killed writers are removed, those of living ones and other files stay") {
  Folder folder;
  const std::string other = ".other.selene-tmp.txt", dead = ".file.1-0.selene-tmp", link = ".last.1-1.selene-tmp";
  for (const std::string& name : {other, dead}) write_text(folder.file(name), "x");
  fs::create_symlink("a", folder.file(link));
  DurableFile living(folder.file("file"));
  living.write("alive", 5);
  std::vector<std::string> removed = data::remove_leftovers(folder.path.string());
  std::sort(removed.begin(), removed.end());
  CHECK(removed == std::vector<std::string>{dead, link});
  living.commit();
  CHECK(read_text(folder.file("file")) == "alive");
  CHECK(names_in(folder).size() == 2);
  CHECK(data::remove_leftovers(folder.file("none")).empty());
}

}  // namespace selene::testing
