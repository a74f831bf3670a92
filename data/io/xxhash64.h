// XXH64, the 64-bit hash of Yann Collet (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md): our checksum of
// files. It finds damage, not forgery; it runs at memory speed. Little-endian machines only.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace selene::data {

class XxHash64 {
 public:
  explicit XxHash64(uint64_t seed = 0) : seed_(seed), lanes_{seed + kP1 + kP2, seed + kP2, seed, seed - kP1} {}

  /// Takes `size` more bytes; how the bytes are cut into calls does not change the digest.
  void update(const void* data, size_t size) {
    if (size == 0) return;
    const uint8_t* p = static_cast<const uint8_t*>(data);
    total_ += size;
    if (held_ > 0) {
      const size_t part = size < 32 - held_ ? size : 32 - held_;
      std::memcpy(rest_ + held_, p, part);
      held_ += part, p += part, size -= part;
      if (held_ < 32) return;
      stripe(rest_);
    }
    for (; size >= 32; p += 32, size -= 32) stripe(p);
    std::memcpy(rest_, p, size);
    held_ = size;
  }

  /// The hash of everything taken so far; more may follow.
  uint64_t digest() const {
    uint64_t h = seed_ + kP5;
    if (total_ >= 32) {
      h = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
      for (uint64_t lane : lanes_) h = (h ^ round(0, lane)) * kP1 + kP4;
    }
    h += total_;
    const uint8_t *p = rest_, *end = rest_ + held_;
    for (; end - p >= 8; p += 8) h = std::rotl(h ^ round(0, word<uint64_t>(p)), 27) * kP1 + kP4;
    if (end - p >= 4) h = std::rotl(h ^ (word<uint32_t>(p) * kP1), 23) * kP2 + kP3, p += 4;
    for (; p < end; ++p) h = std::rotl(h ^ (*p * kP5), 11) * kP1;
    h = (h ^ (h >> 33)) * kP2;
    h = (h ^ (h >> 29)) * kP3;
    return h ^ (h >> 32);
  }

  /// The same as 16 hexadecimal digits.
  std::string text() const {
    std::string digits;
    const uint64_t h = digest();
    for (int at = 60; at >= 0; at -= 4) digits += "0123456789abcdef"[h >> at & 15];
    return digits;
  }

 private:
  static_assert(std::endian::native == std::endian::little);
  static constexpr uint64_t kP1 = 0x9E3779B185EBCA87u, kP2 = 0xC2B2AE3D27D4EB4Fu, kP3 = 0x165667B19E3779F9u,
                            kP4 = 0x85EBCA77C2B2AE63u, kP5 = 0x27D4EB2F165667C5u;

  template <class T>
  static uint64_t word(const uint8_t* p) {
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
  }
  static uint64_t round(uint64_t lane, uint64_t input) { return std::rotl(lane + input * kP2, 31) * kP1; }
  void stripe(const uint8_t* p) {
    for (int i = 0; i < 4; ++i) lanes_[i] = round(lanes_[i], word<uint64_t>(p + 8 * i));
    held_ = 0;
  }

  uint64_t seed_, lanes_[4], total_ = 0;
  uint8_t rest_[32] = {};  // bytes of an incomplete stripe
  size_t held_ = 0;
};

}  // namespace selene::data
