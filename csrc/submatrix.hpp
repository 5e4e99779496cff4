// Submatrices: chosen rows and columns of a row-major matrix, read into a dense block, or updated from one.
#pragma once
#include <cstdint>
#include <vector>

#include "mask.hpp"

namespace thinned {

struct Choice {
  const int64_t* index;  // ascending, none twice; null: all of them
  int64_t count;
  int64_t operator[](int64_t i) const { return index ? index[i] : i; }
};

struct Submatrix {
  int64_t width;  // length of a row of the whole matrix
  Choice rows, columns;
};

struct SgdStep {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize;
};

struct AdamStep {
  double lr, beta1, beta2, eps, weight_decay;
  double correction1, correction2;  // 1 - beta1**step, 1 - beta2**step
  bool decoupled, maximize;         // decoupled weight decay: AdamW
};

struct Launch {
  Dtype dtype;  // f32, f64 or bf16
  int threads;
  Path path;
};

// block = the submatrix
void gather(const void* matrix, void* block, const Submatrix& s, const Launch& launch);
// the submatrix += block
void scatter_add(void* matrix, const void* block, const Submatrix& s, const Launch& launch);
// One step of an optimizer on the submatrices of a parameter and of its state; all else stays as it is. `momentum` may be
// null for SGD without; `largest` (the maximum of the second moments) may be null for Adam without.
void sgd(void* parameter, void* momentum, const void* gradient, const Submatrix& s, const SgdStep& step, const Launch& launch);
void adam(void* parameter, void* first, void* second, void* largest, const void* gradient, const Submatrix& s,
          const AdamStep& step, const Launch& launch);

// The units that the mask law keeps, ascending: for each group the k of n with the largest words; with `slices` k
// neighbours, which wrap around the end.
void units(int64_t* kept, int64_t n, int64_t k, int64_t groups, uint64_t seed, uint64_t stream, bool slices);

}  // namespace thinned
