// The lines of a text file, as whichever tool has written it.
#pragma once
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>

namespace selene::data {

/// What a file is that begins like this and is no text: "compressed by gzip", "UTF-16 text", ...; null if it may be
/// text.
const char* foreign_form(std::string_view start);
/// The same for a web page, which is a text, but no lines of a form.
const char* web_page(std::string_view start);

/// Gives the lines of a text without their ends (LF or CR LF) and without a byte order mark. Blank lines before the
/// first and after the last one are left out, but counted.
class Lines {
 public:
  /// `name` stands in messages. The stream is borrowed.
  Lines(std::istream& in, std::string name) : in_(in), name_(std::move(name)) {}
  /// False at the end. Error, with name and line, for a blank line between others, for what foreign_form and
  /// web_page tell, for lines that end in CR alone, and where the stream cannot be read.
  bool next(std::string& line);
  /// Of the line given last, from 1, blank ones counted.
  int64_t number() const { return number_; }
  /// "name:number"
  std::string place() const;

 private:
  void check_first(const std::string& line) const;

  std::istream& in_;
  std::string name_;
  int64_t read_ = 0, number_ = 0;
};

}  // namespace selene::data
