// Whole tiles in standard C++. One loop for each round over all 64 counters, so that any compiler vectorises it.
#include "element.hpp"
#include "mask.hpp"
#include "philox.hpp"

namespace thinned {
namespace {

// The four random words of each of the 64 counters of one tile.
void words(uint32_t low, const Shared& s, uint32_t (&c0)[kLanes], uint32_t (&c1)[kLanes], uint32_t (&c2)[kLanes],
           uint32_t (&c3)[kLanes]) {
  for (int l = 0; l < kLanes; ++l) {
    const uint64_t p0 = kMultiply0 * (low + static_cast<uint32_t>(l));
    const uint64_t p1 = kMultiply1 * (high32(p0) ^ s.x1);
    c0[l] = high32(p1) ^ s.x2;
    c1[l] = low32(p1);
    c2[l] = low32(p0) ^ s.y2;
  }
  for (int l = 0; l < kLanes; ++l) {
    const uint64_t p0 = kMultiply0 * c0[l], p1 = kMultiply1 * c2[l];
    c0[l] = high32(p1) ^ c1[l] ^ s.key0[2];
    c1[l] = low32(p1);
    c2[l] = high32(p0) ^ s.x3;
    c3[l] = low32(p0);
  }
  for (int r = 3; r < kRounds; ++r) {
    for (int l = 0; l < kLanes; ++l) {
      const uint64_t p0 = kMultiply0 * c0[l], p1 = kMultiply1 * c2[l];
      c0[l] = high32(p1) ^ c1[l] ^ s.key0[r];
      c1[l] = low32(p1);
      c2[l] = high32(p0) ^ c3[l] ^ s.key1[r];
      c3[l] = low32(p0);
    }
  }
}

// keep is all ones or all zeros, so that "select" is one AND on the bits and never a product with inf or nan.
template <class T>
inline T select(T v, double s, uint32_t keep) {
  if constexpr (sizeof(T) == 4) return bits_of<T>(bits_of<uint32_t>(scaled(v, s)) & keep);
  else if constexpr (sizeof(T) == 2) return {static_cast<uint16_t>(scaled(v, s).bits & keep)};
  else return keep ? scaled(v, s) : T{};
}
template <>
inline double select(double v, double s, uint32_t keep) {
  return bits_of<double>(bits_of<uint64_t>(v * s) & static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(keep))));
}
template <>
inline uint8_t select(uint8_t, double, uint32_t keep) {
  return keep & 1;
}

inline uint32_t all_if(bool keep) { return keep ? ~0u : 0u; }

// The lower and the upper half of one word of each counter: two neighbouring planes.
template <class T>
inline void planes16(const T* x, T* y, const uint32_t (&word)[kLanes], uint32_t threshold, double scale) {
  const int32_t above = static_cast<int32_t>(threshold) - 1;  // small numbers: a signed comparison is one instruction
#pragma GCC ivdep                                             // x may be y, and then each element depends on itself alone
  for (int l = 0; l < kLanes; ++l) {
    y[l] = select(x[l], scale, all_if(static_cast<int32_t>(word[l] & 0xffff) > above));
    y[l + kLanes] = select(x[l + kLanes], scale, all_if(static_cast<int32_t>(word[l] >> 16) > above));
  }
}

template <class T>
inline void plane32(const T* x, T* y, const uint32_t (&word)[kLanes], uint32_t threshold, double scale) {
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) y[l] = select(x[l], scale, all_if(word[l] >= threshold));
}

template <class T>
void tiles(const void* from, void* to, uint64_t tile, int64_t count, const Law& law, bool) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  alignas(64) uint32_t word[4][kLanes];
  Shared shared{};
  for (int64_t t = 0; t < count; ++t, ++tile, x += law.tile(), y += law.tile()) {
    const uint64_t b = tile * kLanes;
    if (t == 0 || low32(b) == 0) shared = share(law.seed, law.stream, high32(b));
    words(low32(b), shared, word[0], word[1], word[2], word[3]);
    for (int w = 0; w < 4; ++w) {
      if (law.bits == 16) planes16(x + 2 * w * kLanes, y + 2 * w * kLanes, word[w], law.threshold, law.scale);
      else plane32(x + w * kLanes, y + w * kLanes, word[w], law.threshold, law.scale);
    }
  }
}

}  // namespace

const Tiles* portable_tiles() {
  static const Tiles table[kDtypes] = {tiles<float>,          tiles<double>,          tiles<F16>,    tiles<BF16>,
                                       tiles<Complex<float>>, tiles<Complex<double>>, tiles<uint8_t>};
  return table;
}

}  // namespace thinned
