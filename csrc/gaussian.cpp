#include "gaussian.hpp"

#include <algorithm>
#include <cstring>

#include "gaussian_steps.hpp"
#include "parallel.hpp"

namespace thinned {
namespace {

constexpr int64_t kPiece = 32 * kGaussianTile;

const GaussianTiles* table(Path path) {
  switch (path) {
    case Path::avx512: return avx512_gaussian_tiles();
    case Path::avx2: return avx2_gaussian_tiles();
    default: return portable_gaussian_tiles();
  }
}

}  // namespace

const GaussianTiles* portable_gaussian_tiles() { return gaussian_table(); }

void gaussian(const void* from, void* to, uint64_t start, int64_t n, Dtype dtype, const GaussianLaw& law, const How& how) {
  if (n <= 0) return;
  const GaussianTiles tiles = table(how.path)[static_cast<int>(dtype)];
  const std::size_t size = element_size(dtype);
  const char* const x = static_cast<const char*>(from);
  char* const y = static_cast<char*>(to);
  const uint64_t last = start + static_cast<uint64_t>(n), base = start / kPiece;
  parallel(static_cast<int64_t>((last - 1) / kPiece - base + 1), how.threads, [&](int64_t k) {
    const uint64_t number = base + static_cast<uint64_t>(k);
    uint64_t first = std::max(start, number * kPiece);
    const uint64_t end = std::min(last, (number + 1) * kPiece);
    while (first < end) {
      const uint64_t tile = first / kGaussianTile, begin = first % kGaussianTile;
      const std::size_t at = (first - start) * size;
      if (begin == 0 && end - first >= kGaussianTile) {
        const uint64_t whole = (end - first) / kGaussianTile;
        tiles(x + at, y + at, tile, static_cast<int64_t>(whole), law);
        first += whole * kGaussianTile;
      } else {  // a part of a tile, by way of a whole one in a buffer
        alignas(64) char buffer[kGaussianTile * kMaxElement] = {};
        const uint64_t count = std::min<uint64_t>(end - first, kGaussianTile - begin);
        if (law.noise != Noise::fill) std::memcpy(buffer + begin * size, x + at, count * size);
        tiles(buffer, buffer, tile, 1, law);
        std::memcpy(y + at, buffer + begin * size, count * size);
        first += count;
      }
    }
  });
}

}  // namespace thinned
