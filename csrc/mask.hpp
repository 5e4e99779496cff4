// The mask law of one call, and the tiles that its indices fall into.
#pragma once
#include <cstddef>
#include <cstdint>

namespace thinned {

enum class Dtype : int { f32, f64, f16, bf16, c64, c128, keep };  // keep: no input, one byte 0 or 1 per element
enum class Path : int { portable, avx2, avx512 };

constexpr int kDtypes = 7;
constexpr int kMaxTile = 512;
constexpr std::size_t kMaxElement = 16;

constexpr std::size_t element_size(Dtype d) {
  constexpr std::size_t sizes[kDtypes] = {4, 8, 2, 2, 8, 16, 1};
  return sizes[static_cast<int>(d)];
}

struct Law {
  uint64_t seed, stream;
  uint32_t threshold;  // keep when the element's random bits are at least this; never 0 and never 2**bits
  int bits;            // 16 or 32
  double scale;
  double shift = 0, fill = 0;  // what a kept element gets added, and what a dropped one becomes
  bool affine() const { return shift != 0 || fill != 0; }
  int64_t tile() const { return bits == 16 ? 512 : 256; }
};

// Applies the law to `tiles` whole tiles, the first of which has number `tile`: y = keep ? x * scale + shift : fill.
// `streaming` writes past the cache and needs y aligned to 64 bytes. x may be y.
using Tiles = void (*)(const void* x, void* y, uint64_t tile, int64_t tiles, const Law& law, bool streaming);

// One entry for each dtype; null where the path was not compiled in.
const Tiles* portable_tiles();
const Tiles* avx2_tiles();
const Tiles* avx512_tiles();

// Likewise for laws with a shift or a fill; real dtypes only. The others are for laws that have neither.
const Tiles* portable_affine_tiles();
const Tiles* avx2_affine_tiles();

// Does the same to n neighbours whose decisions are made already: keep[i] is 0 or 1; null keeps them all. x may be y.
using Run = void (*)(const void* x, void* y, const uint8_t* keep, int64_t n, const Law& law);

// As above: one entry for each dtype but `keep`, and for laws with a shift or a fill the real dtypes alone.
const Run* portable_runs();
const Run* avx2_runs();
const Run* avx512_runs();
const Run* portable_affine_runs();
const Run* avx2_affine_runs();

}  // namespace thinned
