#include "autograd/check.h"

#include <fmt/format.h>

#include "autograd/with_dtype.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"

namespace selene {

void need_shape(const char* op, const char* argument, const Tensor& is, const Shape& wanted, const char* why,
                const Tensor& of) {
  if (!(is.shape() == wanted))
    throw Error(
        fmt::format("{}: {} is {}, wanted {} ({} {})", op, argument, is.text(), wanted.text(), why, of.text()));
}

void need_rank(const char* op, const char* argument, const Tensor& is, int rank) {
  if (is.rank() != rank) throw Error(fmt::format("{}: {} is {}, wanted {} axes", op, argument, is.text(), rank));
}

void need_same_dtype(const char* op, const char* argument, const Tensor& is, const Tensor& of) {
  if (is.dtype() != of.dtype())
    throw Error(fmt::format("{}: {} is {}, wanted the element type of {}", op, argument, is.text(), of.text()));
}

void need_dtype(const char* op, const char* argument, const Tensor& is, DType wanted) {
  if (is.dtype() != wanted)
    throw Error(fmt::format("{}: {} is {}, wanted element type {}", op, argument, is.text(), name_of(wanted)));
}

void need_dense(const char* op, const char* argument, const Tensor& is) {
  if (!is.dense())
    throw Error(fmt::format("{}: {} is a strided view of {}, wanted dense memory", op, argument, is.text()));
}

void refuse_dtype(DType dtype) {
  throw Error(fmt::format("element type {} is not a floating-point type", name_of(dtype)));
}

void copy_strided(Stream& stream, const Tensor& from, const Tensor& to, bool accumulate) {
  if (!(from.shape() == to.shape()) || from.rank() > 4 || from.dtype() != to.dtype())
    throw Error(fmt::format("copy: {} to {}, wanted equal shapes of at most four axes and one element type",
                            from.text(), to.text()));
  with_dtype(from.dtype(), [&]<class T>() {
    CopyStrided<T> a{from.data<T>(), to.data<T>(), {1, 1, 1, 1}, {0, 0, 0, 0}, {0, 0, 0, 0}, accumulate};
    for (int i = 0, skip = 4 - from.rank(); i < from.rank(); ++i)
      a.n[skip + i] = from.dim(i), a.x_stride[skip + i] = from.stride(i), a.y_stride[skip + i] = to.stride(i);
    run(stream, a);
  });
}

}  // namespace selene
