// What the extension offers: dropout by the mask law on memory of any layout. All sizes and strides are in elements.
#pragma once
#include <cstdint>
#include <vector>

#include "mask.hpp"

namespace thinned {

struct How {
  int threads;
  Path path;
  bool fresh;  // y was just allocated: its pages may not exist yet
};

// The paths that were compiled in and that this CPU can run, slowest first.
std::vector<Path> available_paths();

// y[i] = keep(start + i) ? x[i] * scale : 0 for i in [0, n). x may be y.
void dropout(const void* x, void* y, uint64_t start, int64_t n, Dtype dtype, const Law& law, const How& how);

// The same for `count` tensors of n elements, one behind the other: number k has the seed seeds[k], and law.seed is not used.
void dropout_each(const void* x, void* y, uint64_t start, int64_t n, int64_t count, const uint64_t* seeds, Dtype dtype,
                  const Law& law, const How& how);

// One axis of a tensor: its size, and the distance between neighbours in x, in y, and in the mask (0: the mask is shared).
struct Axis {
  int64_t size, x, y;
  uint64_t mask;
};

// The same for any strides, shared axes and windows; `start` is the mask's index of the first element.
void dropout_strided(const void* x, void* y, std::vector<Axis> axes, uint64_t start, Dtype dtype, const Law& law,
                     const How& how);

}  // namespace thinned
