// Rows of a float submatrix with AVX2. The chosen columns are covered by vectors of 8 neighbours, each with a mask of those
// that are chosen; a permutation packs the chosen ones for the block, or spreads the block's out to their places.
#include "submatrix_steps.hpp"

#if defined(__AVX2__)
#include <immintrin.h>

namespace thinned {
namespace {

constexpr int kLanesOfVector = 8;
constexpr uint8_t kAll = 0xff;

struct Lanes {
  __m256 v;
  Lanes() : v(_mm256_setzero_ps()) {}
  Lanes(__m256 value) : v(value) {}
  explicit Lanes(double value) : v(_mm256_set1_ps(static_cast<float>(value))) {}
};
inline Lanes operator+(Lanes a, Lanes b) { return _mm256_add_ps(a.v, b.v); }
inline Lanes operator-(Lanes a, Lanes b) { return _mm256_sub_ps(a.v, b.v); }
inline Lanes operator*(Lanes a, Lanes b) { return _mm256_mul_ps(a.v, b.v); }
inline Lanes operator/(Lanes a, Lanes b) { return _mm256_div_ps(a.v, b.v); }
inline Lanes root(Lanes a) { return _mm256_sqrt_ps(a.v); }
inline Lanes larger(Lanes a, Lanes b) {
  const __m256 take = _mm256_or_ps(_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ), _mm256_cmp_ps(b.v, b.v, _CMP_UNORD_Q));
  return _mm256_blendv_ps(a.v, b.v, take);
}

struct Table {
  uint8_t row[256][kLanesOfVector];
};

// Of a mask, packing: the numbers of the chosen lanes, first. Spreading: for each chosen lane, how many are chosen before it.
constexpr Table table(bool packing) {
  Table t{};
  for (int mask = 0; mask < 256; ++mask) {
    int count = 0;
    for (int lane = 0; lane < kLanesOfVector; ++lane) {
      if ((mask >> lane & 1) == 0) continue;
      t.row[mask][packing ? count : lane] = static_cast<uint8_t>(packing ? lane : count);
      ++count;
    }
  }
  return t;
}
constexpr Table kPack = table(true), kSpread = table(false);

inline __m256i order(const Table& table, uint8_t mask) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(table.row[mask])));
}
inline __m256i lanes_of(uint8_t mask) {
  const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(mask), bits), bits);
}

struct Vector {
  uint32_t at, offset;  // of its first lane in a row of the matrix; of its first chosen element in a row of the block
  uint32_t repeat;      // how many such vectors follow each other; more than one only where all lanes are chosen
  uint8_t mask;
  bool whole;           // whether 8 elements from `offset` on are inside the row of the block
};

std::vector<Vector> vectors_of(const Submatrix& s) {
  std::vector<Vector> vectors;
  for (int64_t j = 0; j < s.columns.count;) {
    const int64_t at = s.columns[j], last = s.width - kLanesOfVector;
    Vector v{static_cast<uint32_t>(at < last ? at : last), static_cast<uint32_t>(j), 1, 0, j + kLanesOfVector <= s.columns.count};
    for (; j < s.columns.count && s.columns[j] < v.at + kLanesOfVector; ++j) v.mask |= uint8_t(1u << (s.columns[j] - v.at));
    if (!vectors.empty() && v.mask == kAll) {
      Vector& before = vectors.back();
      if (before.mask == kAll && before.at + before.repeat * kLanesOfVector == v.at) {
        ++before.repeat;
        continue;
      }
    }
    vectors.push_back(v);
  }
  return vectors;
}

// The processor foresees the rest of a row, but not where the next chosen row begins.
template <class Step>
inline void prefetch(float* const* matrices, int64_t ahead) {
  for (int m = 0; m < Step::kMatrices; ++m) _mm_prefetch(reinterpret_cast<const char*>(matrices[m] + ahead), _MM_HINT_T0);
}

// All 8 lanes are chosen. `ahead` is how far it is to the same columns in the next row.
template <class Step>
inline void full_vectors(const Step& step, float* const* matrices, float* block, int64_t repeat, int64_t ahead) {
  constexpr int n = Step::kMatrices;
  for (int64_t k = 0; k < repeat * kLanesOfVector; k += kLanesOfVector) {
    prefetch<Step>(matrices, ahead + k);
    Lanes x[n], g;
    for (int i = 0; i < n; ++i) x[i] = _mm256_loadu_ps(matrices[i] + k);
    if constexpr (!Step::kGathers) g = _mm256_loadu_ps(block + k);
    step(x, g);
    if constexpr (Step::kGathers) {
      _mm256_storeu_ps(block + k, g.v);
    } else {
      for (int i = 0; i < n; ++i) _mm256_storeu_ps(matrices[i] + k, x[i].v);
    }
  }
}

// Some lanes are chosen; the row of the block ends `left` elements after the vector's first one.
template <class Step>
inline void some_lanes(const Step& step, float* const* matrices, float* block, const Vector& v, int64_t left, int64_t ahead) {
  constexpr int n = Step::kMatrices;
  prefetch<Step>(matrices, ahead);
  Lanes x[n], g;
  for (int i = 0; i < n; ++i) x[i] = _mm256_loadu_ps(matrices[i]);
  const __m256i inside = v.whole ? _mm256_set1_epi32(-1) : lanes_of(static_cast<uint8_t>((1u << left) - 1));
  if constexpr (Step::kGathers) {
    step(x, g);
    g = _mm256_permutevar8x32_ps(g.v, order(kPack, v.mask));
    if (v.whole) return _mm256_storeu_ps(block, g.v);
    _mm256_maskstore_ps(block, inside, g.v);
  } else {
    g = v.whole ? _mm256_loadu_ps(block) : _mm256_maskload_ps(block, inside);
    g = _mm256_permutevar8x32_ps(g.v, order(kSpread, v.mask));
    Lanes y[n];
    for (int i = 0; i < n; ++i) y[i] = x[i];
    step(y, g);
    const __m256 chosen = _mm256_castsi256_ps(lanes_of(v.mask));
    for (int i = 0; i < n; ++i) _mm256_storeu_ps(matrices[i], _mm256_blendv_ps(x[i].v, y[i].v, chosen));
  }
}

template <class Step>
void rows(const Step& step, const Job& job, int64_t first, int64_t last) {
  const Submatrix& s = job.where;
  const std::vector<Vector> vectors = vectors_of(s);
  for (int64_t i = first; i < last; ++i) {
    float* const row = static_cast<float*>(job.block) + i * s.columns.count;
    const int64_t ahead = i + 1 < last ? (s.rows[i + 1] - s.rows[i]) * s.width : 0;
    for (const Vector& v : vectors) {
      float* at[Step::kMatrices];
      for (int m = 0; m < Step::kMatrices; ++m) {
        at[m] = static_cast<float*>(job.matrices[static_cast<std::size_t>(m)]) + s.rows[i] * s.width + v.at;
      }
      if (v.mask == kAll) {
        full_vectors(step, at, row + v.offset, v.repeat, ahead);
      } else {
        some_lanes(step, at, row + v.offset, v, s.columns.count - v.offset, ahead);
      }
    }
  }
}

template <class Step>
void plain_rows(const Job& job, int64_t first, int64_t last) {
  rows(Step{}, job, first, last);
}
template <class Step, class Numbers>
void step_rows(const Job& job, int64_t first, int64_t last) {
  rows(Step{std::get<Numbers>(job.step)}, job, first, last);
}

constexpr Rows kRows[kTasks] = {
    plain_rows<Gather>,          plain_rows<ScatterAdd>,        step_rows<Sgd<false>, SgdStep>,
    step_rows<Sgd<true>, SgdStep>, step_rows<Adam<false>, AdamStep>, step_rows<Adam<true>, AdamStep>,
};

}  // namespace

const Rows* avx2_rows() { return kRows; }

}  // namespace thinned

#else
namespace thinned {
const Rows* avx2_rows() { return nullptr; }
}  // namespace thinned
#endif
