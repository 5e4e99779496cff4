// The words of a whole tile in standard C++: one loop for each round over all counters, so that any compiler vectorises it.
#pragma once
#include "philox.hpp"

namespace thinned {
namespace {

// The four random words of each of the 64 counters of one tile.
inline void words(uint32_t low, const Shared& s, uint32_t (&c0)[kLanes], uint32_t (&c1)[kLanes], uint32_t (&c2)[kLanes],
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

}  // namespace
}  // namespace thinned
