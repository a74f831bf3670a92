// A tensor: a typed, shaped, strided look at a block of memory. reshape, transpose and slice make other looks at the
// same block; only matmul and copy accept strided ones, every other operation wants dense input and says so.
#pragma once
#include <array>
#include <initializer_list>
#include <string>

#include "engine/arena.h"

namespace selene {

/// Up to six sizes, held inline.
class Shape {
 public:
  static constexpr int kMaxRank = 6;
  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes);
  template <class Iterator>
  Shape(Iterator first, Iterator last) {
    for (; first != last; ++first) append(*first);
  }
  int rank() const { return rank_; }
  /// Axis i; negative counts from the end. Error outside of the rank.
  int64_t operator[](int i) const { return sizes_[checked(i)]; }
  int64_t& operator[](int i) { return sizes_[checked(i)]; }
  int64_t numel() const;
  void append(int64_t size);  // Error beyond six axes
  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + rank_; }
  bool operator==(const Shape& o) const;
  std::string text() const;  // "[8, 128]"

 private:
  int checked(int i) const;
  std::array<int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
};

class Tensor {
 public:
  Tensor() = default;
  /// Takes over one reference of the block; dense, from its start.
  Tensor(Storage* storage, Shape shape, DType dtype);
  Tensor(const Tensor& o);
  Tensor(Tensor&& o) noexcept;
  Tensor& operator=(Tensor o) noexcept;
  ~Tensor();

  explicit operator bool() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t stride(int axis) const { return strides_[axis]; }  // elements
  int64_t numel() const { return shape_.numel(); }
  int64_t bytes() const { return numel() * size_of(dtype_); }
  bool dense() const;
  /// True when no other tensor looks at this memory: its values may be overwritten.
  bool unique() const { return storage_ && storage_->references == 1; }
  const Storage* storage() const { return storage_; }

  /// First element; in a dry run there is no memory at its address. Error when T is not the dtype.
  template <class T>
  T* data() const {
    need_dtype(dtype_of<T>);
    return static_cast<T*>(raw());
  }
  void* raw() const;

  /// Same elements, other sizes (one may be -1). Error unless dense and of the same count.
  Tensor reshape(Shape shape) const;
  /// Two axes exchanged.
  Tensor transpose(int a, int b) const;
  /// Elements [begin, end) of one axis.
  Tensor slice(int axis, int64_t begin, int64_t end) const;

  std::string text() const;  // "f32[8, 128]"

 private:
  void need_dtype(DType wanted) const;
  Storage* storage_ = nullptr;
  int64_t offset_ = 0;  // elements
  Shape shape_, strides_;
  DType dtype_ = DType::f32;
};

}  // namespace selene
