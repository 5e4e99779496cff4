// Philox4x32-7 as the mask law uses it: constants, one counter at a time, and what a whole tile of counters shares.
#pragma once
#include <cstdint>

namespace thinned {

constexpr uint64_t kMultiply0 = 0xD2511F53, kMultiply1 = 0xCD9E8D57;
constexpr uint32_t kStep0 = 0x9E3779B9, kStep1 = 0xBB67AE85;
constexpr int kRounds = 7;
constexpr int kLanes = 64;  // counters of one tile

namespace {

inline uint32_t low32(uint64_t v) { return static_cast<uint32_t>(v); }
inline uint32_t high32(uint64_t v) { return static_cast<uint32_t>(v >> 32); }

// Stream and seed are the same for all counters of a tile, and so is the upper half of the counter (a tile never crosses
// a multiple of 2**32). Of the first three rounds only this is left to do for each counter b, with `low` = b mod 2**32:
//   round 1   p0 = M0 * low                    c2 = hi(p0) ^ x1                 c3 = lo(p0)
//   round 2   p1 = M1 * c2                     c0 = hi(p1) ^ x2, c1 = lo(p1)    c2 = c3 ^ y2
//   round 3   p0 = M0 * c0, p1 = M1 * c2       c0 = hi(p1) ^ c1 ^ key0[2], c1 = lo(p1), c2 = hi(p0) ^ x3, c3 = lo(p0)
// Rounds 4 to 7 are the full ones, with key0[3..6] and key1[3..6].
struct Shared {
  uint32_t x1, x2, y2, x3;
  uint32_t key0[kRounds], key1[kRounds];
};

inline Shared share(uint64_t seed, uint64_t stream, uint32_t counter_high) {
  Shared s{};
  for (int r = 0; r < kRounds; ++r) {
    s.key0[r] = low32(seed) + static_cast<uint32_t>(r) * kStep0;
    s.key1[r] = high32(seed) + static_cast<uint32_t>(r) * kStep1;
  }
  const uint64_t p1 = kMultiply1 * low32(stream);                    // round 1
  const uint32_t c0 = high32(p1) ^ counter_high ^ s.key0[0];
  const uint64_t p0 = kMultiply0 * c0;                               // round 2
  s.x1 = high32(stream) ^ s.key1[0];
  s.x2 = low32(p1) ^ s.key0[1];
  s.y2 = high32(p0) ^ s.key1[1];
  s.x3 = low32(p0) ^ s.key1[2];
  return s;
}

// The four words of one counter; `s` holds what all counters with its upper half share.
inline void words_of(uint32_t low, const Shared& s, uint32_t* w) {
  uint64_t p0 = kMultiply0 * low;
  uint32_t c2 = high32(p0) ^ s.x1, c3 = low32(p0);
  uint64_t p1 = kMultiply1 * c2;
  uint32_t c0 = high32(p1) ^ s.x2, c1 = low32(p1);
  c2 = c3 ^ s.y2;
  p0 = kMultiply0 * c0, p1 = kMultiply1 * c2;
  c0 = high32(p1) ^ c1 ^ s.key0[2], c1 = low32(p1), c2 = high32(p0) ^ s.x3, c3 = low32(p0);
  for (int r = 3; r < kRounds; ++r) {
    p0 = kMultiply0 * c0, p1 = kMultiply1 * c2;
    c0 = high32(p1) ^ c1 ^ s.key0[r], c1 = low32(p1);
    c2 = high32(p0) ^ c3 ^ s.key1[r], c3 = low32(p0);
  }
  w[0] = c0, w[1] = c1, w[2] = c2, w[3] = c3;
}

}  // namespace
}  // namespace thinned
