#include "engine/tensor.h"

#include <fmt/format.h>

#include <utility>

#include "kernels/error.h"

namespace selene {

Shape::Shape(std::initializer_list<int64_t> sizes) {
  for (const int64_t n : sizes) append(n);
}

int Shape::checked(int i) const {
  const int axis = i < 0 ? i + rank_ : i;
  if (axis < 0 || axis >= rank_) throw Error(fmt::format("axis {} of a shape with {} axes", i, rank_));
  return axis;
}

void Shape::append(int64_t size) {
  if (rank_ == kMaxRank) throw Error(fmt::format("a shape has at most {} axes", kMaxRank));
  sizes_[size_t(rank_++)] = size;
}

int64_t Shape::numel() const {
  int64_t n = 1;
  for (const int64_t size : *this) n *= size;
  return n;
}

bool Shape::operator==(const Shape& o) const {
  if (rank_ != o.rank_) return false;
  for (int i = 0; i < rank_; ++i)
    if (sizes_[size_t(i)] != o.sizes_[size_t(i)]) return false;
  return true;
}

std::string Shape::text() const {
  std::string text = "[";
  for (const int64_t n : *this) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

static Shape dense_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t stride = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) strides[i] = stride, stride *= shape[i];
  return strides;
}

Tensor::Tensor(Storage* storage, Shape shape, DType dtype)
    : storage_(storage), shape_(shape), strides_(dense_strides(shape)), dtype_(dtype) {}

Tensor::Tensor(const Tensor& o)
    : storage_(o.storage_), offset_(o.offset_), shape_(o.shape_), strides_(o.strides_), dtype_(o.dtype_) {
  if (storage_) ++storage_->references;
}

Tensor::Tensor(Tensor&& o) noexcept
    : storage_(std::exchange(o.storage_, nullptr)),
      offset_(o.offset_),
      shape_(o.shape_),
      strides_(o.strides_),
      dtype_(o.dtype_) {}

Tensor& Tensor::operator=(Tensor o) noexcept {
  std::swap(storage_, o.storage_);
  std::swap(offset_, o.offset_);
  std::swap(shape_, o.shape_);
  std::swap(strides_, o.strides_);
  std::swap(dtype_, o.dtype_);
  return *this;
}

Tensor::~Tensor() {
  if (!storage_ || --storage_->references > 0) return;
  if (storage_->arena) storage_->arena->release(storage_);
  delete storage_;
}

bool Tensor::dense() const { return strides_ == dense_strides(shape_); }

void* Tensor::raw() const {
  if (!storage_) throw Error("an empty tensor has no data");
  return storage_->data ? storage_->data + offset_ * size_of(dtype_) : nullptr;
}

void Tensor::need_dtype(DType wanted) const {
  if (dtype_ != wanted)
    throw Error(fmt::format("tensor is {}, its data is asked for as {}", text(), name_of(wanted)));
}

Tensor Tensor::reshape(Shape shape) const {
  if (!dense()) throw Error(fmt::format("reshape: {} is not dense, wanted a dense tensor (use contiguous)", text()));
  int free_axis = -1;
  int64_t known = 1;
  for (int i = 0; i < shape.rank(); ++i)
    if (shape[i] == -1) free_axis = i;
    else known *= shape[i];
  if (free_axis >= 0 && known > 0) shape[free_axis] = numel() / known;
  if (shape.numel() != numel())
    throw Error(fmt::format("reshape: {} to {}: other number of elements", text(), shape.text()));
  Tensor t = *this;
  t.shape_ = shape, t.strides_ = dense_strides(shape);
  return t;
}

Tensor Tensor::transpose(int a, int b) const {
  Tensor t = *this;
  std::swap(t.shape_[a], t.shape_[b]);
  std::swap(t.strides_[a], t.strides_[b]);
  return t;
}

Tensor Tensor::slice(int axis, int64_t begin, int64_t end) const {
  if (begin < 0 || begin > end || end > dim(axis))
    throw Error(fmt::format("slice: [{}, {}) of axis {} of {}", begin, end, axis, text()));
  Tensor t = *this;
  t.offset_ += begin * stride(axis);
  t.shape_[axis] = end - begin;
  return t;
}

std::string Tensor::text() const { return name_of(dtype_) + shape_.text(); }

}  // namespace selene
