// JSON texts: read with limits, whoever wrote them, and written so that any text of ours or of others is valid JSON.
#pragma once
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace selene::data {

/// A JSON value. Objects keep the order of their members.
class Json {
 public:
  using Member = std::pair<std::string, Json>;
  using Members = std::vector<Member>;
  using List = std::vector<Json>;

  Json() = default;  // null
  Json(bool value) : value_(value) {}
  Json(double value) : value_(value) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(const char* value) : value_(std::string(value)) {}
  template <std::signed_integral T>
  Json(T value) : value_(int64_t(value)) {}
  template <std::unsigned_integral T>
  Json(T value) {
    if (value > uint64_t(INT64_MAX)) value_ = uint64_t(value);
    else value_ = int64_t(value);
  }
  Json(List values) : value_(std::move(values)) {}
  template <class T>
  Json(const std::vector<T>& values) : value_(List(values.begin(), values.end())) {}
  /// An object.
  Json(std::initializer_list<Member> members);
  explicit Json(Members members) : value_(std::move(members)) {}
  static Json object() { return Json(Members()); }

  bool is_null() const { return value_.index() == 0; }
  /// What it is, or nothing where it is something else. A number with a point or an exponent is no integer.
  std::optional<bool> truth() const;
  std::optional<int64_t> integer() const;
  std::optional<double> number() const;
  const std::string* text() const { return std::get_if<std::string>(&value_); }
  const List* list() const { return std::get_if<List>(&value_); }
  const Members* members() const { return std::get_if<Members>(&value_); }

  /// The member of an object, or null where there is none or this is no object.
  const Json* find(std::string_view name) const;
  /// The same. Error where there is none: `has no "NAME"`.
  const Json& at(std::string_view name) const;
  /// A member's value: bool, int64_t, double, std::string or List. Error for another type too: `"NAME" is 3.7, wanted
  /// ...`.
  template <class T>
  T get(std::string_view name) const;

  /// Sets a member, in the place of an older one of that name; makes an object of null.
  void set(std::string_view name, Json value);
  /// Sets every member of another object.
  void update(const Json& other);

  bool operator==(const Json& other) const;

  /// The text, on one line or, for indent >= 0, with a line for each value. In strings whatever is not visible
  /// (data/io/printable.h) is escaped, and a byte that is not UTF-8 is written as the four characters \xNN.
  std::string dump(int indent = -1) const;

 private:
  friend class JsonBuilder;
  friend struct JsonWriter;
  std::variant<std::monostate, bool, int64_t, uint64_t, double, std::string, List, Members> value_;
};

template <>
bool Json::get<bool>(std::string_view name) const;
template <>
int64_t Json::get<int64_t>(std::string_view name) const;
template <>
double Json::get<double>(std::string_view name) const;
template <>
std::string Json::get<std::string>(std::string_view name) const;
template <>
Json::List Json::get<Json::List>(std::string_view name) const;

/// Lists and objects within each other.
constexpr int kDeepestJson = 32;

/// Reads one JSON text; `name` stands in messages. Error ("name:line:column: what was found, what was wanted") for
/// what is no JSON, for an object with two members of one name, for deeper nesting, and for more than 2^24 values.
/// Takes time and memory in proportion to the text.
Json parse_json(std::string_view text, const std::string& name, int deepest = kDeepestJson);

/// A string as JSON, with its quotes.
std::string quoted_json(std::string_view text);

}  // namespace selene::data
