// The loops of gaussian_steps.hpp once more, compiled for AVX-512.
#include "gaussian_steps.hpp"

namespace thinned {

#if defined(__AVX512F__)
const GaussianTiles* avx512_gaussian_tiles() { return gaussian_table(); }
#else
const GaussianTiles* avx512_gaussian_tiles() { return nullptr; }
#endif

}  // namespace thinned
