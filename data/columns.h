// Named ragged columns: what data sets consist of, in memory and in prepared files.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/dtype.h"

namespace selene::data {

/// Rows of elements of one type, each after the one before it. Borrows its memory.
struct Column {
  std::string name;
  DType dtype = DType::u8;                // u8, u16 or i32
  std::span<const uint8_t> bytes;         // of all rows; aligned to the type
  std::span<const int64_t> offsets = {};  // [rows + 1] elements before each row; empty: every row has one element

  int64_t elements() const { return int64_t(bytes.size()) / size_of(dtype); }
  int64_t rows() const { return offsets.empty() ? elements() : int64_t(offsets.size()) - 1; }
  /// All elements. Error for another type.
  template <class T>
  std::span<const T> all() const {
    need_type(dtype_of<T>);
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  /// Row i, which must be in range. Error for another type.
  template <class T>
  std::span<const T> row(int64_t i) const {
    if (offsets.empty()) return all<T>().subspan(size_t(i), 1);
    const int64_t begin = offsets[size_t(i)];
    return all<T>().subspan(size_t(begin), size_t(offsets[size_t(i) + 1] - begin));
  }
  /// Elements `begin` to `end` of row i, whatever integers they are.
  std::vector<int32_t> ids(int64_t i, int64_t begin, int64_t end) const;
  /// The first `count` rows; shares the memory.
  Column first(int64_t count) const;
  /// Error, with `owner`, unless the offsets ascend from 0 to the elements.
  void check(const std::string& owner) const;

 private:
  void need_type(DType wanted) const;
};

/// What a kind wants of a column.
struct ColumnForm {
  std::string name;
  std::vector<DType> types;  // any of these
  bool ragged = true;        // false: one element a row
};

/// The narrowest type of ids below `count`: u8 up to 256, u16 up to 65,536, then i32; and the bytes of ids in it.
DType id_type(int64_t count);
std::vector<uint8_t> packed(std::span<const int32_t> ids, DType type);

/// A column over memory that somebody else keeps.
template <class T>
Column column(std::string name, std::span<const T> elements, std::span<const int64_t> offsets = {}) {
  return {std::move(name),
          dtype_of<T>,
          {reinterpret_cast<const uint8_t*>(elements.data()), elements.size_bytes()},
          offsets};
}

}  // namespace selene::data
