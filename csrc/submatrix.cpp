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
void rows(const Step& step, const Job& job, int64_t first, int64_t last) {
  const Submatrix& s = job.where;
  const std::vector<Run> runs = runs_of(s.columns);
  for (int64_t i = first; i < last; ++i) {
    for (const Run& r : runs) {
      T* at[Step::kMatrices];
      for (int m = 0; m < Step::kMatrices; ++m) {
        at[m] = static_cast<T*>(job.matrices[static_cast<std::size_t>(m)]) + s.rows[i] * s.width + r.at;
      }
      run(step, at, static_cast<T*>(job.block) + i * s.columns.count + r.offset, r.length);
    }
  }
}

template <class T>
void portable_rows(const Job& job, int64_t first, int64_t last) {
  switch (job.task) {
    case Task::gather: return rows<T>(Gather{}, job, first, last);
    case Task::scatter_add: return rows<T>(ScatterAdd{}, job, first, last);
    case Task::sgd: return rows<T>(Sgd<false>{std::get<SgdStep>(job.step)}, job, first, last);
    case Task::sgd_momentum: return rows<T>(Sgd<true>{std::get<SgdStep>(job.step)}, job, first, last);
    case Task::adam: return rows<T>(Adam<false>{std::get<AdamStep>(job.step)}, job, first, last);
    case Task::adam_largest: return rows<T>(Adam<true>{std::get<AdamStep>(job.step)}, job, first, last);
  }
}

Rows rows_for(const Job& job, Path path) {
  const bool vectors = job.dtype == Dtype::f32 && path != Path::portable && job.where.width >= kVector && job.where.width < kWidest;
  if (vectors && avx2_rows()) return avx2_rows()[static_cast<int>(job.task)];
  switch (job.dtype) {
    case Dtype::f64: return portable_rows<double>;
    case Dtype::bf16: return portable_rows<BF16>;
    default: return portable_rows<float>;
  }
}

// Some rows of a job, for one thread.
struct Piece {
  const Job* job;
  int64_t first, last;
};

}  // namespace

Job gather(Dtype dtype, const void* matrix, void* block, const Submatrix& where) {
  return {Task::gather, dtype, {const_cast<void*>(matrix)}, block, where, {}};
}

Job scatter_add(Dtype dtype, void* matrix, const void* block, const Submatrix& where) {
  return {Task::scatter_add, dtype, {matrix}, const_cast<void*>(block), where, {}};
}

Job sgd(Dtype dtype, void* parameter, void* momentum, const void* gradient, const Submatrix& where, const SgdStep& step) {
  return {momentum ? Task::sgd_momentum : Task::sgd, dtype, {parameter, momentum}, const_cast<void*>(gradient), where, step};
}

Job adam(Dtype dtype, void* parameter, void* first, void* second, void* largest, const void* gradient, const Submatrix& where,
         const AdamStep& step) {
  const Task task = largest ? Task::adam_largest : Task::adam;
  return {task, dtype, {parameter, first, second, largest}, const_cast<void*>(gradient), where, step};
}

void carry_out(const std::vector<Job>& jobs, int threads, Path path) {
  int64_t all = 0;
  std::vector<Piece> pieces;
  for (const Job& job : jobs) {
    const int64_t count = job.where.rows.count, elements = count * job.where.columns.count;
    if (elements == 0) continue;
    all += elements;
    const int64_t cut = std::min({std::max<int64_t>(elements / kPiece, 1), threads * kPiecesOfAThread, count});
    for (int64_t piece = 0; piece < cut; ++piece) pieces.push_back({&job, count * piece / cut, count * (piece + 1) / cut});
  }
  parallel(static_cast<int64_t>(pieces.size()), all < 2 * kPiece ? 1 : threads, [&](int64_t number) {
    const Piece& piece = pieces[static_cast<std::size_t>(number)];
    rows_for(*piece.job, path)(*piece.job, piece.first, piece.last);
  });
}

}  // namespace thinned
