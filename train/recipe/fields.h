// Values of YAML trees that are no recipes, with errors that name the place.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "train/recipe/tree.h"

namespace selene::train {

/// The members of a map, asked for by name. The tree must outlive it.
class Fields {
 public:
  /// `name`: of the map, for messages; empty at the top. Throws Error for what is no map, and for a key that is no
  /// name or given twice.
  explicit Fields(const Node& map, std::string name = "");
  /// The value, or null where there is none or it is left empty.
  const Node* find(std::string_view key);
  /// The same. Error where there is none.
  const Node& need(std::string_view key);
  /// Throws Error for the first key that nobody asked for.
  void need_all_asked() const;
  /// "data.text" for the member `text` of the map `data`.
  std::string name_of(std::string_view key) const;

  struct Member {
    const Node &key, &value;
  };
  const std::vector<Member>& members() const { return members_; }

 private:
  const Node& map_;
  std::string name_;
  std::vector<Member> members_;
  std::vector<std::string> asked_;
};

/// A scalar's text, which is not empty; a whole number from `least` on; a number; scalars, one or a list of at least
/// one. Throws Error that begins with the place; `name`: of the value.
std::string text_of(const Node& node, const std::string& name);
int64_t whole_of(const Node& node, const std::string& name, int64_t least);
double number_of(const Node& node, const std::string& name);
std::vector<std::string> texts_of(const Node& node, const std::string& name);
std::vector<int64_t> wholes_of(const Node& node, const std::string& name, int64_t least);
std::vector<double> numbers_of(const Node& node, const std::string& name);

}  // namespace selene::train
