// What the kernels should give, one element at a time, written from the text of the mask law: no arithmetic is csrc/'s.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "mask.hpp"

namespace expected {

using thinned::Dtype;
using thinned::Law;

// The 16 or 32 random bits of index i: Philox4x32 with 7 rounds on the counter of its lane, then the plane's part of a word.
inline uint32_t random_bits(const Law& law, uint64_t i) {
  const uint64_t tile = law.bits == 16 ? 512 : 256, b = i / tile * 64 + i % 64, plane = i % tile / 64;
  uint32_t c[4] = {static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32), static_cast<uint32_t>(law.stream),
                   static_cast<uint32_t>(law.stream >> 32)};
  uint32_t k[2] = {static_cast<uint32_t>(law.seed), static_cast<uint32_t>(law.seed >> 32)};
  for (int round = 0; round < 7; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    const uint32_t next[4] = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
                              static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    std::copy(next, next + 4, c);
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return law.bits == 32 ? c[plane] : c[plane / 2] >> (16 * (plane % 2)) & 0xffff;
}

inline bool keep(const Law& law, uint64_t i) { return random_bits(law, i) >= law.threshold; }

// A 16-bit floating format by its number of fraction bits: 10 is float16, 7 is bfloat16.
struct Short {
  int fraction;
  int bias() const { return (1 << (14 - fraction)) - 1; }
  int inf() const { return 0x7fff >> fraction << fraction; }

  double value(uint16_t bits) const {
    const int exponent = (bits & 0x7fff) >> fraction, rest = bits & ((1 << fraction) - 1);
    double size = 0;
    if ((bits & 0x7fff) > inf()) size = NAN;
    else if ((bits & 0x7fff) == inf()) size = INFINITY;
    else if (exponent == 0) size = std::ldexp(rest, 1 - bias() - fraction);
    else size = std::ldexp(rest + (1 << fraction), exponent - bias() - fraction);
    return bits & 0x8000 ? -size : size;
  }

  uint16_t nearest(double v) const {  // half to even, as nearbyint rounds
    const int sign = std::signbit(v) ? 0x8000 : 0;
    if (std::isnan(v)) return static_cast<uint16_t>(sign | (inf() + 1));
    if (std::isinf(v) || v == 0) return static_cast<uint16_t>(sign | (v == 0 ? 0 : inf()));
    const int exponent = std::max(std::ilogb(v), 1 - bias());
    const double steps = std::nearbyint(std::ldexp(std::fabs(v), fraction - exponent));
    const int bits = ((exponent + bias()) << fraction) + static_cast<int>(steps) - (1 << fraction);
    return static_cast<uint16_t>(sign | (exponent > bias() ? inf() : std::min(bits, inf())));
  }
};

template <class T>
inline T load(const char* at) {
  T v;
  std::memcpy(&v, at, sizeof(v));
  return v;
}

inline Short format(Dtype d) { return {d == Dtype::f16 ? 10 : 7}; }
inline bool is_short(Dtype d) { return d == Dtype::f16 || d == Dtype::bf16; }
inline bool is_double(Dtype d) { return d == Dtype::f64 || d == Dtype::c128; }
inline bool is_float(Dtype d) { return d == Dtype::f32 || d == Dtype::c64; }

// Bytes of a number: of a complex element's part, else of the element.
inline std::size_t part_size(Dtype d) { return is_double(d) ? 8 : is_float(d) ? 4 : is_short(d) ? 2 : 1; }

inline double value(Dtype d, const char* at) {
  if (is_double(d)) return load<double>(at);
  if (is_float(d)) return load<float>(at);
  if (is_short(d)) return format(d).value(load<uint16_t>(at));
  return *at;
}

// The element that dropout makes of the one at x.
inline void element(Dtype d, const char* x, bool kept, double scale, char* y) {
  const std::size_t size = thinned::element_size(d);
  std::memset(y, 0, size);  // all bits 0 is +0.0
  if (d == Dtype::keep) y[0] = kept ? 1 : 0;
  if (d == Dtype::keep || !kept) return;
  for (std::size_t at = 0; at < size; at += part_size(d)) {
    const double v = value(d, x + at);
    const float single = static_cast<float>(v) * static_cast<float>(scale);
    const double wide = v * scale;
    const uint16_t bits = is_short(d) ? format(d).nearest(single) : uint16_t{0};
    if (is_double(d)) std::memcpy(y + at, &wide, 8);
    else if (is_float(d)) std::memcpy(y + at, &single, 4);
    else std::memcpy(y + at, &bits, 2);
  }
}

// Equal bit for bit, where any nan stands for any other.
inline bool same(Dtype d, const char* a, const char* b) {
  const std::size_t size = thinned::element_size(d), part = part_size(d);
  for (std::size_t at = 0; at < size; at += part) {
    if (std::memcmp(a + at, b + at, part) == 0) continue;
    if (d == Dtype::keep || !std::isnan(value(d, a + at)) || !std::isnan(value(d, b + at))) return false;
  }
  return true;
}

}  // namespace expected
