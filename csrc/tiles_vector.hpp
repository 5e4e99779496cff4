// Whole tiles with SIMD, written once for every vector length. A file that includes this defines `Vec` first: the type of
// a vector of 64-bit lanes (half a group), of a packed group of 32-bit lanes, of a keep mask, and their few operations.
// Everything is in an unnamed namespace, so that no code compiled for one CPU is ever linked in for another.
#pragma once
#include <cstring>

#include "mask.hpp"
#include "philox.hpp"

namespace thinned {
namespace {

using Wide = Vec::Wide;      // kGroup / 2 counters' words, each in the low half of a 64-bit lane; the high half is garbage
using Packed = Vec::Packed;  // one word of each of the kGroup counters of a group

constexpr int kGroup = Vec::kGroup;
constexpr int kPairs = kLanes / (2 * kGroup);  // two groups at a time hide each other's latency and fill cache lines
constexpr int kHalves = 4;                     // two groups, two vectors of 64-bit lanes each

// M0 * lane for each lane, in the order in which packing puts lanes into place. `interleaved` gives the even lanes of a
// pair to its first group and the odd lanes to its second, which is how two 16-bit numbers sit in one 32-bit lane.
struct Offsets {
  alignas(64) uint64_t at[kPairs][kHalves][kGroup / 2];
  constexpr explicit Offsets(bool interleaved) : at() {
    for (int pair = 0; pair < kPairs; ++pair)
      for (int half = 0; half < kHalves; ++half)
        for (int k = 0; k < kGroup / 2; ++k) {
          const int group = half / 2, place = 4 * (k / 2) + 2 * (half % 2) + k % 2;
          const int lane = 2 * kGroup * pair + (interleaved ? 2 * place + group : kGroup * group + place);
          at[pair][half][k] = kMultiply0 * static_cast<uint64_t>(lane);
        }
  }
};

struct Constants {
  Wide m0, m1, x1, x2, y2, x3, key0[kRounds], key1[kRounds];
  Packed last0, last1;
  explicit Constants(const Shared& s)
      : m0(Vec::wide(kMultiply0)), m1(Vec::wide(kMultiply1)), x1(Vec::wide(s.x1)), x2(Vec::wide(s.x2)),
        y2(Vec::wide(s.y2)), x3(Vec::wide(s.x3)), last0(Vec::packed(s.key0[kRounds - 1])),
        last1(Vec::packed(s.key1[kRounds - 1])) {
    for (int r = 0; r < kRounds; ++r) {
      key0[r] = Vec::wide(s.key0[r]);
      key1[r] = Vec::wide(s.key1[r]);
    }
  }
};

// The four words of the two groups of one pair: word[w][group].
inline void words(uint64_t base, const uint64_t (&offset)[kHalves][kGroup / 2], const Constants& c, Packed (&word)[4][2]) {
  Wide c0[kHalves], c1[kHalves], c2[kHalves], c3[kHalves];
#pragma GCC unroll 4
  for (int h = 0; h < kHalves; ++h) {  // rounds 1 to 3: see philox.hpp
    const Wide first = Vec::add(Vec::wide(base), Vec::load(offset[h]));
    const Wide second = Vec::multiply(c.m1, Vec::exclusive(Vec::down(first), c.x1));
    const Wide p0 = Vec::multiply(c.m0, Vec::exclusive(Vec::down(second), c.x2));
    const Wide p1 = Vec::multiply(c.m1, Vec::exclusive(first, c.y2));
    c0[h] = Vec::exclusive(Vec::down(p1), second, c.key0[2]);
    c1[h] = p1;
    c2[h] = Vec::exclusive(Vec::down(p0), c.x3);
    c3[h] = p0;
  }
#pragma GCC unroll 3
  for (int r = 3; r < kRounds - 1; ++r) {
#pragma GCC unroll 4
    for (int h = 0; h < kHalves; ++h) {
      const Wide p0 = Vec::multiply(c.m0, c0[h]), p1 = Vec::multiply(c.m1, c2[h]);
      c0[h] = Vec::exclusive(Vec::down(p1), c1[h], c.key0[r]);
      c1[h] = p1;
      c2[h] = Vec::exclusive(Vec::down(p0), c3[h], c.key1[r]);
      c3[h] = p0;
    }
  }
#pragma GCC unroll 2
  for (int g = 0; g < 2; ++g) {  // the last round packs 64-bit lanes into 32-bit ones
    const int a = 2 * g, b = a + 1;
    const Wide p0a = Vec::multiply(c.m0, c0[a]), p1a = Vec::multiply(c.m1, c2[a]);
    const Wide p0b = Vec::multiply(c.m0, c0[b]), p1b = Vec::multiply(c.m1, c2[b]);
    word[0][g] = Vec::exclusive(Vec::pack_high(p1a, p1b), Vec::pack_low(c1[a], c1[b]), c.last0);
    word[1][g] = Vec::pack_low(p1a, p1b);
    word[2][g] = Vec::exclusive(Vec::pack_high(p0a, p0b), Vec::pack_low(c3[a], c3[b]), c.last1);
    word[3][g] = Vec::pack_low(p0a, p0b);
  }
}

template <class Element, int bits, bool streaming>
void tiles_of(const typename Element::Value* x, typename Element::Value* y, uint64_t tile, int64_t count, const Law& law) {
  static constexpr Offsets offsets(Element::kInterleaved);
  constexpr int kTile = bits == 16 ? 512 : 256;
  const Element element(law);
  const Packed threshold = Vec::threshold(law.threshold, bits);
  Constants constants(share(law.seed, law.stream, high32(tile * kLanes)));
  for (int64_t t = 0; t < count; ++t, ++tile, x += kTile, y += kTile) {
    const uint64_t b = tile * kLanes;
    if (low32(b) == 0) constants = Constants(share(law.seed, law.stream, high32(b)));
    const uint64_t base = kMultiply0 * low32(b);
    for (int pair = 0; pair < kPairs; ++pair) {
      Packed word[4][2];
      words(base, offsets.at[pair], constants, word);
      const int lane = 2 * kGroup * pair;
#pragma GCC unroll 4
      for (int w = 0; w < 4; ++w) {
        if (bits == 16) {
          const int at = 2 * w * kLanes + lane;
          element.template apply<streaming>(x + at, y + at, Vec::keep_low(word[w][0], threshold),
                                            Vec::keep_low(word[w][1], threshold));
          element.template apply<streaming>(x + at + kLanes, y + at + kLanes, Vec::keep_high(word[w][0], threshold),
                                            Vec::keep_high(word[w][1], threshold));
        } else {
          const int at = w * kLanes + lane;
          element.template apply<streaming>(x + at, y + at, Vec::keep_all(word[w][0], threshold),
                                            Vec::keep_all(word[w][1], threshold));
        }
      }
    }
  }
  if (streaming) Vec::fence();
}

template <class Element>
void tiles(const void* from, void* to, uint64_t tile, int64_t count, const Law& law, bool streaming) {
  using T = typename Element::Value;
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  if (law.bits == 16)
    streaming ? tiles_of<Element, 16, true>(x, y, tile, count, law) : tiles_of<Element, 16, false>(x, y, tile, count, law);
  else
    streaming ? tiles_of<Element, 32, true>(x, y, tile, count, law) : tiles_of<Element, 32, false>(x, y, tile, count, law);
}

template <class Element>
void run(const void* from, void* to, const uint8_t* keep, int64_t n, const Law& law) {
  using T = typename Element::Value;
  constexpr int kStep = 2 * kGroup;
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  const Element element(law);
  Vec::Keep a = Vec::all(), b = a;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    if (keep) Vec::template decisions<Element::kInterleaved>(keep + i, &a, &b);
    element.template apply<false>(x + i, y + i, a, b);
  }
  if (i == n) return;
  const std::size_t rest = static_cast<std::size_t>(n - i);  // by way of a whole step in a buffer
  alignas(64) T values[kStep] = {};
  alignas(64) uint8_t bytes[kStep] = {};
  std::memcpy(values, x + i, rest * sizeof(T));
  if (keep) {
    std::memcpy(bytes, keep + i, rest);
    Vec::template decisions<Element::kInterleaved>(bytes, &a, &b);
  }
  element.template apply<false>(values, values, a, b);
  std::memcpy(y + i, values, rest * sizeof(T));
}

}  // namespace
}  // namespace thinned
