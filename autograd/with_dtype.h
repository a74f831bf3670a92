// From a run-time element type to a template parameter, and the strided copy that tape and operations share.
#pragma once
#include "engine/tensor.h"
#include "kernels/stream.h"

namespace selene {

[[noreturn]] void refuse_dtype(DType dtype);

/// Calls f.template operator()<T>() for the floating-point type. Error for integers.
template <class F>
decltype(auto) with_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::bf16:
      return f.template operator()<bf16>();
    case DType::f16:
      return f.template operator()<f16>();
    case DType::f64:
      return f.template operator()<double>();
    default:
      refuse_dtype(dtype);
  }
}

/// to = from (+ to), shapes and element types equal, any strides, up to four axes.
void copy_strided(Stream& stream, const Tensor& from, const Tensor& to, bool accumulate);

}  // namespace selene
