#include <algorithm>
#include <functional>
#include <vector>

#include "philox.hpp"
#include "submatrix.hpp"

namespace thinned {
namespace {

constexpr int64_t kTile = 256;  // elements of a tile at 32 bits

// The words of elements [first, last), at 32 bits.
void words(uint64_t seed, uint64_t stream, int64_t first, int64_t last, uint32_t* out) {
  for (int64_t tile = first / kTile; tile * kTile < last; ++tile) {
    const Shared shared = share(seed, stream, high32(static_cast<uint64_t>(tile) * kLanes));
    for (int lane = 0; lane < kLanes; ++lane) {
      uint32_t w[4];
      words_of(low32(static_cast<uint64_t>(tile) * kLanes + static_cast<uint64_t>(lane)), shared, w);
      for (int plane = 0; plane < 4; ++plane) {
        const int64_t i = tile * kTile + plane * kLanes + lane;
        if (first <= i && i < last) out[i - first] = w[plane];
      }
    }
  }
}

// The k largest of the words u, the first of equal ones; `ranked` is room for as many words.
int64_t* largest(const std::vector<uint32_t>& u, int64_t k, std::vector<uint32_t>& ranked, int64_t* kept) {
  ranked = u;
  std::nth_element(ranked.begin(), ranked.begin() + (k - 1), ranked.end(), std::greater<>());
  const uint32_t least = ranked[static_cast<std::size_t>(k - 1)];  // of those that are kept
  int64_t equals = k - std::count_if(ranked.begin(), ranked.begin() + k, [&](uint32_t w) { return w > least; });
  for (std::size_t j = 0; j < u.size(); ++j) {
    if (u[j] > least || (u[j] == least && equals-- > 0)) *kept++ = static_cast<int64_t>(j);
  }
  return kept;
}

int64_t* neighbours(uint32_t word, int64_t n, int64_t k, int64_t* kept) {
  // n may pass 2**32, and then word * n passes 2**64: the halves of n are multiplied one by one.
  const uint64_t high = static_cast<uint64_t>(n) >> 32, low = static_cast<uint64_t>(n) & 0xffffffff;
  const int64_t start = static_cast<int64_t>(word * high + (word * low >> 32)), wrapped = std::max<int64_t>(start + k - n, 0);
  for (int64_t j = 0; j < wrapped; ++j) *kept++ = j;
  for (int64_t j = start; j < std::min(start + k, n); ++j) *kept++ = j;
  return kept;
}

}  // namespace

void units(int64_t* kept, int64_t n, int64_t k, int64_t groups, uint64_t seed, uint64_t stream, bool slices) {
  std::vector<uint32_t> u(static_cast<std::size_t>(slices ? groups : n)), ranked;
  if (slices) {
    words(seed, stream, 0, groups, u.data());
    for (const uint32_t word : u) kept = neighbours(word, n, k, kept);
    return;
  }
  for (int64_t group = 0; group < groups; ++group) {
    words(seed, stream, group * n, (group + 1) * n, u.data());
    kept = largest(u, k, ranked, kept);
  }
}

}  // namespace thinned
