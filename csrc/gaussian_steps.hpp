// Normal numbers in standard C++, in loops that a compiler turns into SIMD. Included once for each instruction set; all
// of it rounds alike everywhere, because no product and sum are contracted into one.
#pragma once
#include <cmath>

#include "element.hpp"
#include "gaussian.hpp"
#include "words.hpp"

namespace thinned {
namespace {

// -ln((w + 0.5) * 2**-32) in single precision, within 2 units in the last place. Above one half the distance from one is
// what must be exact, so both halves end in f, small, and the logarithm of 1 + f. Polynomial: S. Moshier, Cephes, logf.
inline float minus_log(uint32_t w) {
  const bool high = static_cast<int32_t>(w) < 0;
  const float part = static_cast<float>(static_cast<int32_t>(high ? ~w : w) + 0.5);  // of 2**32, at most one half
  const uint32_t bits = bits_of<uint32_t>(part) - 0x3f3504f3;                          // sqrt(1/2)
  const float low_exponent = static_cast<float>(static_cast<int32_t>(bits) >> 23) - 32.0f;
  const float low = bits_of<float>((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
  const float d = part * 0x1p-32f;
  const bool near = d < 0.29289322f;
  const float f = high ? (near ? -d : (0.25f - d) * 1.3333333333f) : low;  // between: around three quarters
  const float upper = high ? (near ? 0.0f : -0.28768208f) : 0.693359375f * low_exponent;
  const float lower = high ? (near ? 0.0f : 1.377754344e-08f) : -2.12194440e-4f * low_exponent;
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  const float square = f * f;
  const float rest = p * f * square + lower - 0.5f * square;
  return -(f + rest + upper);
}

// cos and sin of 2 pi (w + 0.5) 2**-32: the nearest quarter turn comes off the integer, exactly. Polynomials: Cephes, sinf.
inline void turn(uint32_t w, float radius, float* cosine, float* sine) {
  const uint32_t quarter = (w + 0x20000000u) >> 30;
  const int32_t rest = static_cast<int32_t>(w - (quarter << 30));
  const float x = static_cast<float>((rest + 0.5) * 1.4629180792671596e-9);  // 2 pi / 2**32; rounded once
  const float z = x * x;
  const float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
  const float c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
  const bool odd = quarter & 1;
  const uint32_t c_sign = ((quarter + 1) & 2) << 30, s_sign = (quarter & 2) << 30;
  *cosine = radius * bits_of<float>(bits_of<uint32_t>(odd ? s : c) ^ c_sign);
  *sine = radius * bits_of<float>(bits_of<uint32_t>(odd ? c : s) ^ s_sign);
}

// The normal numbers of one tile.
inline void normals(const uint32_t (&word)[4][kLanes], float* n) {
  for (int pair = 0; pair < 2; ++pair)
    for (int l = 0; l < kLanes; ++l) {
      const float radius = std::sqrt(2.0f * minus_log(word[2 * pair][l]));
      turn(word[2 * pair + 1][l], radius, n + 2 * pair * kLanes + l, n + (2 * pair + 1) * kLanes + l);
    }
}

inline void normals(const uint32_t (&word)[4][kLanes], double* n) {
  constexpr double unit = 1.0 / 4294967296.0, whole_turn = 6.283185307179586;
  for (int pair = 0; pair < 2; ++pair)
    for (int l = 0; l < kLanes; ++l) {
      const double radius = std::sqrt(-2.0 * std::log((word[2 * pair][l] + 0.5) * unit));
      const double angle = whole_turn * ((word[2 * pair + 1][l] + 0.5) * unit);
      n[2 * pair * kLanes + l] = radius * std::cos(angle);
      n[(2 * pair + 1) * kLanes + l] = radius * std::sin(angle);
    }
}

inline float wide(float v) { return v; }
inline double wide(double v) { return v; }
inline float wide(F16 v) { return widen(v); }
inline float wide(BF16 v) { return widen(v); }

template <class T>
void gaussian_tiles(const void* from, void* to, uint64_t tile, int64_t count, const GaussianLaw& law) {
  using W = decltype(wide(T{}));
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  const W deviation = static_cast<W>(law.deviation);
  alignas(64) uint32_t word[4][kLanes];
  alignas(64) W n[kGaussianTile];
  Shared shared{};
  for (int64_t t = 0; t < count; ++t, ++tile, x += kGaussianTile, y += kGaussianTile) {
    const uint64_t b = tile * kLanes;
    if (t == 0 || low32(b) == 0) shared = share(law.seed, law.stream, high32(b));
    words(low32(b), shared, word[0], word[1], word[2], word[3]);
    normals(word, n);
    if (law.noise == Noise::fill) {
      for (int i = 0; i < kGaussianTile; ++i) y[i] = rounded<T>(n[i]);
    } else if (law.noise == Noise::multiply) {
#pragma GCC ivdep  // x may be y, and then each element depends on itself alone
      for (int i = 0; i < kGaussianTile; ++i) y[i] = rounded<T>(wide(x[i]) * (W{1} + deviation * n[i]));
    } else {
#pragma GCC ivdep
      for (int i = 0; i < kGaussianTile; ++i) y[i] = rounded<T>(wide(x[i]) + deviation * n[i]);
    }
  }
}

const GaussianTiles* gaussian_table() {
  static const GaussianTiles table[kDtypes] = {gaussian_tiles<float>, gaussian_tiles<double>, gaussian_tiles<F16>,
                                               gaussian_tiles<BF16>};
  return table;
}

}  // namespace
}  // namespace thinned
