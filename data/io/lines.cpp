#include "data/io/lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <istream>

#include "data/io/stop.h"
#include "kernels/error.h"

namespace selene::data {

using namespace std::string_view_literals;

const char* foreign_form(std::string_view start) {
  struct Form {
    std::string_view start;
    const char* what;
  };
  constexpr Form forms[] = {{"\x1f\x8b"sv, "compressed by gzip; unpack it"},
                            {"PK\x03\x04"sv, "a zip archive; unpack it"},
                            {"\xfd"
                             "7zXZ"sv,
                             "compressed by xz; unpack it"},
                            {"\x28\xb5\x2f\xfd"sv, "compressed by zstd; unpack it"},
                            {"\xff\xfe"sv, "UTF-16 text; write it as UTF-8"},
                            {"\xfe\xff"sv, "UTF-16 text; write it as UTF-8"},
                            {"\x93NUMPY"sv, "a binary NumPy array"},
                            {"version https://git-lfs"sv, "a Git LFS pointer; fetch the file it stands for"}};
  for (const Form& form : forms)
    if (start.starts_with(form.start)) return form.what;
  // BZh and a digit may begin a text; the six bytes after them begin a block, or end a file that has none.
  if (start.starts_with("BZh"sv) && start.size() >= 10)
    if (const auto next = start.substr(4, 6); next == "1AY&SY"sv || next == "\x17rE8P\x90"sv)
      return "compressed by bzip2; unpack it";
  return nullptr;
}

const char* web_page(std::string_view start) {
  std::string lower(start.substr(0, 9));
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  const bool page = lower == "<!doctype"sv || lower.starts_with("<html"sv);
  return page ? "a web page; what was wanted was not downloaded" : nullptr;
}

std::string Lines::place() const { return fmt::format("{}:{}", name_, number_); }

void Lines::check_first(const std::string& line) const {
  const char* what = foreign_form(line);
  if (!what) what = web_page(line);
  if (what) throw Error(fmt::format("{}: is {}", name_, what));
  if (line.substr(0, 2).find('\0') != line.npos)
    throw Error(fmt::format("{}: begins with a byte of 0, wanted text (is it UTF-16?)", name_));
  const size_t end = line.find('\r');
  if (in_.eof() && end != line.npos && end + 1 < line.size())
    throw Error(fmt::format("{}: its lines end in CR alone, wanted LF or CR LF", name_));
}

bool Lines::next(std::string& line) {
  int64_t blank = 0;
  while (std::getline(in_, line)) {
    check_stop();
    if (++read_ == 1) {
      check_first(line);
      if (line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);  // a byte order mark
    }
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) {
      if (blank == 0) blank = read_;
      continue;
    }
    if (blank > 0 && number_ > 0) throw Error(fmt::format("{}:{}: is empty, wanted an example", name_, blank));
    number_ = read_;
    return true;
  }
  if (in_.bad()) throw Error(fmt::format("{}: cannot be read: {}", name_, std::strerror(errno)));
  return false;
}

}  // namespace selene::data
