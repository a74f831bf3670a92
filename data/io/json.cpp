#include "data/io/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "data/io/printable.h"
#include "kernels/error.h"

namespace selene::data {
namespace {

constexpr size_t kMostValues = size_t(1) << 24;

/// Walks over a text and tells how far it is: the library's events have no place.
struct Cursor {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  const char** furthest;
  reference operator*() const { return *at; }
  Cursor& operator++() {
    *furthest = ++at;
    return *this;
  }
  Cursor operator++(int) {
    const Cursor before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Cursor& other) const { return at == other.at; }
  bool operator!=(const Cursor& other) const { return at != other.at; }
};

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (size_t i = 0; i < text.size();) {
    const Character c = first_character(text.substr(i));
    if (c.code == '"' || c.code == '\\') out += '\\', out += text[i];
    else if (c.visible()) out += text.substr(i, c.bytes);
    else if (!c.valid) out += fmt::format("\\\\x{:02x}", unsigned(c.code));
    else if (c.code == '\n') out += "\\n";
    else if (c.code == '\t') out += "\\t";
    else if (c.code == '\r') out += "\\r";
    else if (c.code == '\b') out += "\\b";
    else if (c.code == '\f') out += "\\f";
    else if (c.code < 0x10000) out += fmt::format("\\u{:04x}", unsigned(c.code));
    else
      out +=
          fmt::format("\\u{:04x}\\u{:04x}", unsigned(0xd7c0 + (c.code >> 10)), unsigned(0xdc00 + (c.code & 0x3ff)));
    i += c.bytes;
  }
  out += '"';
}

}  // namespace

/// Writes values into a text.
struct JsonWriter {
  std::string out;
  int indent;

  void line(int level) {
    if (indent >= 0) out += '\n', out.append(size_t(indent) * size_t(level), ' ');
  }
  void value(const Json& j, int level) {
    if (const auto* members = j.members()) {
      many('{', '}', *members, level, [&](const Json::Member& m) {
        append_quoted(out, m.first);
        out += indent >= 0 ? ": " : ":";
        value(m.second, level + 1);
      });
    } else if (const auto* list = j.list()) {
      many('[', ']', *list, level, [&](const Json& item) { value(item, level + 1); });
    } else if (const auto* text = j.text()) {
      append_quoted(out, *text);
    } else {
      scalar(j);
    }
  }
  template <class Items, class F>
  void many(char begin, char end, const Items& items, int level, const F& write) {
    out += begin;
    for (const auto& item : items) {
      if (&item != &items.front()) out += ',';
      line(level + 1);
      write(item);
    }
    if (!items.empty()) line(level);
    out += end;
  }
  void scalar(const Json& j) {
    if (const auto truth = j.truth()) out += *truth ? "true" : "false";
    else if (const auto integer = j.integer()) out += std::to_string(*integer);
    else if (j.is_null()) out += "null";
    else if (const auto* big = std::get_if<uint64_t>(&j.value_)) out += std::to_string(*big);
    else out += nlohmann::json(j.number().value_or(0)).dump();
  }
};

/// Builds a value from the library's events.
class JsonBuilder {
 public:
  JsonBuilder(std::string_view text, const std::string& name, int deepest)
      : furthest(text.data()), text_(text), name_(name), deepest_(size_t(deepest)) {}

  Json root;
  const char* furthest;  // where the cursor is

  bool null() { return add(Json()); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(int64_t value) { return add(value); }
  bool number_unsigned(uint64_t value) { return add(value); }
  bool number_float(double value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(std::vector<uint8_t>&) { return false; }  // JSON has none
  bool start_object(size_t) { return open(Json::object()); }
  bool start_array(size_t) { return open(Json(Json::List())); }
  bool key(std::string& name) {
    std::get<Json::Members>(open_.back().value_).emplace_back(std::move(name), Json());
    return true;
  }
  bool end_array() { return close(); }
  bool end_object() {
    std::vector<std::string_view> names;
    for (const Json::Member& m : std::get<Json::Members>(open_.back().value_)) names.push_back(m.first);
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
      fail(fmt::format("the object that ends here has two members {}, wanted names that differ", shown(*twice)));
    return close();
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) {
    const std::string_view read = text_.substr(0, size_t(furthest - text_.data()));
    const size_t before = read.substr(0, read.size() - !read.empty()).find_last_of(" \t\r\n,:[]{}");
    const std::string_view found = read.substr(before == read.npos ? 0 : before + 1);
    if (read.size() == text_.size() && (found.empty() || found.front() == '"'))
      fail("the text ends within a value, wanted JSON");
    fail(fmt::format("{}, wanted JSON", shown(found)));
  }

 private:
  bool add(Json value) {
    if (++values_ > kMostValues) fail(fmt::format("more than {} values, wanted less", kMostValues));
    if (open_.empty()) root = std::move(value);
    else if (auto* list = std::get_if<Json::List>(&open_.back().value_)) list->push_back(std::move(value));
    else std::get<Json::Members>(open_.back().value_).back().second = std::move(value);
    return true;
  }
  bool open(Json value) {
    if (open_.size() == deepest_) fail(fmt::format("nested deeper than {} levels, wanted less", deepest_));
    open_.push_back(std::move(value));
    return true;
  }
  bool close() {
    Json done = std::move(open_.back());
    open_.pop_back();
    return add(std::move(done));
  }
  [[noreturn]] void fail(const std::string& what) const {
    const std::string_view read = text_.substr(0, size_t(furthest - text_.data()));
    const size_t line = size_t(std::count(read.begin(), read.end(), '\n')), start = read.rfind('\n') + 1;
    throw Error(fmt::format("{}:{}:{}: {}", name_, line + 1, std::max(read.size() - start, size_t(1)), what));
  }

  const std::string_view text_;
  const std::string& name_;
  const size_t deepest_;
  std::vector<Json> open_;
  size_t values_ = 0;
};

Json parse_json(std::string_view text, const std::string& name, int deepest) {
  JsonBuilder builder(text, name, deepest);
  const char* end = text.data() + text.size();
  nlohmann::json::sax_parse(Cursor{text.data(), &builder.furthest}, Cursor{end, &builder.furthest}, &builder);
  return std::move(builder.root);
}

std::string quoted_json(std::string_view text) {
  std::string out;
  append_quoted(out, text);
  return out;
}

Json::Json(std::initializer_list<Member> members) : value_(Members(members)) {}

std::optional<bool> Json::truth() const {
  const bool* value = std::get_if<bool>(&value_);
  return value ? std::optional(*value) : std::nullopt;
}

std::optional<int64_t> Json::integer() const {
  const int64_t* value = std::get_if<int64_t>(&value_);
  return value ? std::optional(*value) : std::nullopt;
}

std::optional<double> Json::number() const {
  if (const auto value = integer()) return double(*value);
  if (const auto* value = std::get_if<uint64_t>(&value_)) return double(*value);
  const double* value = std::get_if<double>(&value_);
  return value ? std::optional(*value) : std::nullopt;
}

const Json* Json::find(std::string_view name) const {
  const Members* all = members();
  if (!all) return nullptr;
  const auto at = std::find_if(all->begin(), all->end(), [&](const Member& m) { return m.first == name; });
  return at == all->end() ? nullptr : &at->second;
}

const Json& Json::at(std::string_view name) const {
  if (const Json* value = find(name)) return *value;
  if (!members()) throw Error(fmt::format("is {}, wanted an object with {}", shown_bare(dump()), shown(name)));
  throw Error(fmt::format("has no {}", shown(name)));
}

namespace {

template <class T>
T needed(const Json& object, std::string_view name, std::optional<T> value, const char* wanted) {
  if (value) return *value;
  throw Error(fmt::format("{} is {}, wanted {}", shown(name), shown_bare(object.at(name).dump()), wanted));
}

}  // namespace

template <>
bool Json::get<bool>(std::string_view name) const {
  return needed(*this, name, at(name).truth(), "true or false");
}

template <>
int64_t Json::get<int64_t>(std::string_view name) const {
  return needed(*this, name, at(name).integer(), "an integer of 64 bits");
}

template <>
double Json::get<double>(std::string_view name) const {
  return needed(*this, name, at(name).number(), "a number");
}

template <>
std::string Json::get<std::string>(std::string_view name) const {
  const std::string* text = at(name).text();
  return needed(*this, name, text ? std::optional(*text) : std::nullopt, "a text");
}

template <>
Json::List Json::get<Json::List>(std::string_view name) const {
  const List* values = at(name).list();
  return needed(*this, name, values ? std::optional(*values) : std::nullopt, "a list");
}

void Json::set(std::string_view name, Json value) {
  if (is_null()) value_ = Members();
  if (const Json* old = find(name)) const_cast<Json&>(*old) = std::move(value);
  else std::get<Members>(value_).emplace_back(name, std::move(value));
}

void Json::update(const Json& other) {
  for (const auto& [name, value] : *other.members()) set(name, value);
}

bool Json::operator==(const Json& other) const { return value_ == other.value_; }

std::string Json::dump(int indent) const {
  JsonWriter writer{{}, indent};
  writer.value(*this, 0);
  return std::move(writer.out);
}

}  // namespace selene::data
