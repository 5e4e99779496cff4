// Submatrices: chosen rows and columns of a row-major matrix, read into a dense block, or updated from one.
#pragma once
#include <array>
#include <cstdint>
#include <variant>
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

// gather: block = the submatrix. scatter_add: the submatrix += block. The others are one step of an optimizer on the
// submatrices of a parameter and of its state; all else stays as it is.
enum class Task : int { gather, scatter_add, sgd, sgd_momentum, adam, adam_largest };
constexpr int kTasks = 6, kMostMatrices = 4;

struct Job {
  Task task;
  Dtype dtype;                          // f32, f64 or bf16
  std::array<void*, kMostMatrices> matrices;  // parameter, then state: momentum; first, second and largest moments
  void* block;
  Submatrix where;
  std::variant<std::monostate, SgdStep, AdamStep> step;
};

Job gather(Dtype dtype, const void* matrix, void* block, const Submatrix& where);
Job scatter_add(Dtype dtype, void* matrix, const void* block, const Submatrix& where);
// `momentum` may be null for SGD without; `largest` (the maximum of the second moments) may be null for Adam without.
Job sgd(Dtype dtype, void* parameter, void* momentum, const void* gradient, const Submatrix& where, const SgdStep& step);
Job adam(Dtype dtype, void* parameter, void* first, void* second, void* largest, const void* gradient, const Submatrix& where,
         const AdamStep& step);

// Does all jobs at once: they share the threads. No job may write what another one reads or writes.
void carry_out(const std::vector<Job>& jobs, int threads, Path path);

// The units that the mask law keeps, ascending: for each group the k of n with the largest words; with `slices` k
// neighbours, which wrap around the end.
void units(int64_t* kept, int64_t n, int64_t k, int64_t groups, uint64_t seed, uint64_t stream, bool slices);

}  // namespace thinned
