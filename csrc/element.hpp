// One element of each dtype: how it is scaled, and how it is rounded, exactly as torch rounds.
#pragma once
#include <cstdint>
#include <cstring>

namespace thinned {
namespace {

template <class To, class From>
inline To bits_of(From from) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

struct F16 { uint16_t bits; };
struct BF16 { uint16_t bits; };
template <class T> struct Complex { T re, im; };

inline float widen(BF16 v) { return bits_of<float>(static_cast<uint32_t>(v.bits) << 16); }

// Round to nearest even. A nan that came from a bfloat16 has 16 zero bits at its end, so it cannot overflow into inf.
inline BF16 narrow_bf16(float v) {
  const uint32_t b = bits_of<uint32_t>(v);
  return {static_cast<uint16_t>((b + 0x7fff + ((b >> 16) & 1)) >> 16)};
}

inline float widen(F16 v) {
  const uint32_t sign = static_cast<uint32_t>(v.bits & 0x8000) << 16, rest = static_cast<uint32_t>(v.bits & 0x7fff) << 13;
  const uint32_t exponent = rest & 0x0f800000;
  if (exponent == 0x0f800000) return bits_of<float>(sign | (rest + 0x70000000) | (rest & 0x007fffff ? 0x00400000 : 0));
  if (exponent != 0) return bits_of<float>(sign | (rest + 0x38000000));
  const float tiny = bits_of<float>(rest | 0x38800000) - bits_of<float>(0x38800000u);  // subnormal: exact
  return bits_of<float>(sign | bits_of<uint32_t>(tiny));
}

inline F16 narrow_f16(float v) {
  const uint32_t b = bits_of<uint32_t>(v), sign = (b >> 16) & 0x8000, size = b & 0x7fffffff;
  uint32_t half;
  if (size > 0x7f800000) {
    half = 0x7e00 | ((size >> 13) & 0x3ff);                      // nan stays nan
  } else if (size >= 0x477ff000) {
    half = 0x7c00;                                               // rounds to inf
  } else if (size < 0x38800000) {                                // subnormal or zero: let the adder round
    half = bits_of<uint32_t>(bits_of<float>(size) + 0.5f) - 0x3f000000;
  } else {
    half = (size - 0x38000000 + 0xfff + ((size >> 13) & 1)) >> 13;
  }
  return {static_cast<uint16_t>(sign | half)};
}

inline float scaled(float v, double s) { return v * static_cast<float>(s); }
inline double scaled(double v, double s) { return v * s; }
inline F16 scaled(F16 v, double s) { return narrow_f16(widen(v) * static_cast<float>(s)); }
inline BF16 scaled(BF16 v, double s) { return narrow_bf16(widen(v) * static_cast<float>(s)); }
template <class T> inline Complex<T> scaled(Complex<T> v, double s) { return {scaled(v.re, s), scaled(v.im, s)}; }

// The same with a summand, for the real types.
inline float affine(float v, double s, double c) { return v * static_cast<float>(s) + static_cast<float>(c); }
inline double affine(double v, double s, double c) { return v * s + c; }
inline F16 affine(F16 v, double s, double c) { return narrow_f16(affine(widen(v), s, c)); }
inline BF16 affine(BF16 v, double s, double c) { return narrow_bf16(affine(widen(v), s, c)); }

template <class T> inline T rounded(double v) { return static_cast<T>(v); }
template <> inline F16 rounded(double v) { return narrow_f16(static_cast<float>(v)); }
template <> inline BF16 rounded(double v) { return narrow_bf16(static_cast<float>(v)); }

}  // namespace
}  // namespace thinned
