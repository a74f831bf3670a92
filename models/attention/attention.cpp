#include "models/attention/attention.h"

#include "kernels/error.h"

namespace selene {

Var Attention::pack(Tape&, const Var&, View&) const {
  throw Error("attention: pack is called, wanted a mechanism with a P");
}

void Attention::leave_out_mix(Parameters&) const {}

}  // namespace selene
