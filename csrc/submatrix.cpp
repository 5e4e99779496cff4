#include "submatrix.hpp"

#include <algorithm>

#include "element.hpp"
#include "parallel.hpp"
#include "submatrix_steps.hpp"

namespace thinned {
namespace {

constexpr int64_t kPiece = 1 << 14;          // elements that are worth a thread's while
constexpr int64_t kPiecesOfAThread = 4;      // so that threads that are interrupted do not hold up the others
constexpr int64_t kVector = 8;               // narrower matrices have no room for a vector
constexpr int64_t kWidest = int64_t{1} << 31;

inline float load(const float& v) { return v; }
inline double load(const double& v) { return v; }
inline float load(const BF16& v) { return widen(v); }
inline void store(float& to, float v) { to = v; }
inline void store(double& to, double v) { to = v; }
inline void store(BF16& to, float v) { to = narrow_bf16(v); }

// Neighbouring columns, copied or updated in one loop.
struct Run {
  int64_t at, offset, length;  // in a row of the matrix; in a row of the block
};

std::vector<Run> runs_of(const Choice& columns) {
  if (!columns.index) return {{0, 0, columns.count}};
  std::vector<Run> runs;
  for (int64_t j = 0; j < columns.count; ++j) {
    const int64_t at = columns[j];
    if (!runs.empty() && runs.back().at + runs.back().length == at) {
      ++runs.back().length;
    } else {
      runs.push_back({at, j, 1});
    }
  }
  return runs;
}

template <class T, class Step>
void run(const Step& step, T* const* matrices, T* block, int64_t length) {
  using V = decltype(load(*block));
  constexpr int n = Step::kMatrices;
  for (int64_t j = 0; j < length; ++j) {
    V x[n], g{};
    for (int i = 0; i < n; ++i) x[i] = load(matrices[i][j]);
    if constexpr (!Step::kGathers) g = load(block[j]);
    step(x, g);
    if constexpr (Step::kGathers) {
      store(block[j], g);
    } else {
      for (int i = 0; i < n; ++i) store(matrices[i][j], x[i]);
    }
  }
}

template <class T, class Step>
void rows(const Step& step, void* const* matrices, void* block, const Submatrix& s, int64_t first, int64_t last) {
  const std::vector<Run> runs = runs_of(s.columns);
  for (int64_t i = first; i < last; ++i) {
    for (const Run& r : runs) {
      T* at[Step::kMatrices];
      for (int m = 0; m < Step::kMatrices; ++m) at[m] = static_cast<T*>(matrices[m]) + s.rows[i] * s.width + r.at;
      run(step, at, static_cast<T*>(block) + i * s.columns.count + r.offset, r.length);
    }
  }
}

template <class Step>
void carry_out(const Step& step, Task task, const void* numbers, std::initializer_list<void*> list, void* block, const Submatrix& s,
               const Launch& launch) {
  void* const* matrices = list.begin();
  const bool vectors = launch.dtype == Dtype::f32 && launch.path != Path::portable && s.width >= kVector && s.width < kWidest;
  const Rows fast = vectors && avx2_rows() ? avx2_rows()[static_cast<int>(task)] : nullptr;
  const int64_t count = s.rows.count, elements = count * s.columns.count;
  if (elements == 0) return;
  const int64_t pieces = std::min({std::max<int64_t>(elements / kPiece, 1), launch.threads * kPiecesOfAThread, count});
  parallel(pieces, launch.threads, [&](int64_t piece) {
    const int64_t first = count * piece / pieces, last = count * (piece + 1) / pieces;
    if (fast) return fast(numbers, matrices, block, s, first, last);
    switch (launch.dtype) {
      case Dtype::f64: return rows<double>(step, matrices, block, s, first, last);
      case Dtype::bf16: return rows<BF16>(step, matrices, block, s, first, last);
      default: return rows<float>(step, matrices, block, s, first, last);
    }
  });
}

}  // namespace

void gather(const void* matrix, void* block, const Submatrix& s, const Launch& launch) {
  carry_out(Gather{}, Task::gather, nullptr, {const_cast<void*>(matrix)}, block, s, launch);
}

void scatter_add(void* matrix, const void* block, const Submatrix& s, const Launch& launch) {
  carry_out(ScatterAdd{}, Task::scatter_add, nullptr, {matrix}, const_cast<void*>(block), s, launch);
}

void sgd(void* parameter, void* momentum, const void* gradient, const Submatrix& s, const SgdStep& step, const Launch& launch) {
  void* const block = const_cast<void*>(gradient);
  if (momentum) return carry_out(Sgd<true>{step}, Task::sgd_momentum, &step, {parameter, momentum}, block, s, launch);
  carry_out(Sgd<false>{step}, Task::sgd, &step, {parameter}, block, s, launch);
}

void adam(void* parameter, void* first, void* second, void* largest, const void* gradient, const Submatrix& s,
          const AdamStep& step, const Launch& launch) {
  void* const block = const_cast<void*>(gradient);
  if (largest) {
    return carry_out(Adam<true>{step}, Task::adam_largest, &step, {parameter, first, second, largest}, block, s, launch);
  }
  carry_out(Adam<false>{step}, Task::adam, &step, {parameter, first, second}, block, s, launch);
}

}  // namespace thinned
