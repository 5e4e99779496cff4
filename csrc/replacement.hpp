// Sparse dropout with replacement: what is dropped gives way to one value. Ids are int32 or int64; so are lengths.
#pragma once
#include <cstdint>

#include "dropout.hpp"

namespace thinned {

constexpr int64_t kSegmentBlock = 4096;  // segments of one piece of work; what a block does, others need not know

enum class Fault : int64_t { none = 0, negative = -1, sum = -2 };  // of lengths: one is negative; they miss the sum

// Segments that follow each other in memory: `lengths[i]` values each, `items` in all.
struct Segments {
  const void* lengths;
  int length_size;  // bytes: 4 or 8
  int64_t count, items;
  int64_t blocks() const { return (count + kSegmentBlock - 1) / kSegmentBlock; }
};

// One value, and how many bytes of it count: 4 or 8.
struct Id {
  int64_t value;
  int size;
};

// First pass: the lengths of the result, into `out`, and where each block begins: `starts` has 2 * blocks entries, in
// the values for even places and in the result for odd ones. Segment i is kept where the law keeps index `start` + i; a
// dropped one becomes one value long, also if it was empty. Returns the number of values of the result, or a Fault.
int64_t count_segments(const Segments& s, void* out, int64_t* starts, uint64_t start, const Law& law, const How& how);

// Second pass: copies the values of kept segments, and writes `id` once for each dropped one: `total` values in all.
void replace_segments(const Segments& s, const void* values, void* out, int64_t total, const int64_t* starts, Id id,
                      uint64_t start, const Law& law, const How& how);

// y[i] = keep(start + i) ? x[i] : id for i in [0, n). x may be y.
void replace_items(const void* x, void* y, int64_t n, Id id, uint64_t start, const Law& law, const How& how);

}  // namespace thinned
