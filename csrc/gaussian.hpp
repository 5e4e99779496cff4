// Gaussian noise: the normal numbers of the mask law (Box and Muller's method on the planes of a tile), used at once.
#pragma once
#include "dropout.hpp"

namespace thinned {

enum class Noise : int { fill, multiply, add };  // y = n; y = x * (1 + deviation * n); y = x + deviation * n

struct GaussianLaw {
  uint64_t seed, stream;
  double deviation;
  Noise noise;
};

constexpr int kGaussianTile = 256;

// Whole tiles, as `Tiles` of mask.hpp. Real dtypes only. x may be y.
using GaussianTiles = void (*)(const void* x, void* y, uint64_t tile, int64_t tiles, const GaussianLaw& law);

const GaussianTiles* portable_gaussian_tiles();
const GaussianTiles* avx2_gaussian_tiles();
const GaussianTiles* avx512_gaussian_tiles();

// Indices [start, start + n).
void gaussian(const void* x, void* y, uint64_t start, int64_t n, Dtype dtype, const GaussianLaw& law, const How& how);

}  // namespace thinned
