// The loops of gaussian_steps.hpp once more, compiled for AVX2.
#include "gaussian_steps.hpp"

namespace thinned {

#if defined(__AVX2__)
const GaussianTiles* avx2_gaussian_tiles() { return gaussian_table(); }
#else
const GaussianTiles* avx2_gaussian_tiles() { return nullptr; }
#endif

}  // namespace thinned
