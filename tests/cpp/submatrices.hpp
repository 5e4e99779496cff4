// Submatrices: every path and number of threads against the portable loop on one thread, bit for bit, in memory of exactly
// the right size; gathers and sums against element by element, units against a sort of the law's words.
#pragma once
#include "submatrix.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <iterator>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "law.hpp"

namespace submatrices {

using namespace thinned;
using Check = std::function<void(bool, const std::string&)>;

inline std::vector<int64_t> some_of(int64_t n, std::mt19937_64& random) {
  std::vector<int64_t> all(static_cast<std::size_t>(n)), kept;
  std::iota(all.begin(), all.end(), 0);
  std::sample(all.begin(), all.end(), std::back_inserter(kept), static_cast<std::ptrdiff_t>(1 + random() % static_cast<uint64_t>(n)), random);
  return kept;
}

// Positive numbers, so that the second moments are what they may be.
inline std::vector<char> numbers(Dtype dtype, int64_t n, std::mt19937_64& random) {
  std::vector<char> bytes(static_cast<std::size_t>(n) * element_size(dtype));
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
    const float v = 0.5f + static_cast<float>(random() % 1000) / 1000;
    const double wide = v;
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    const uint16_t narrow = static_cast<uint16_t>(bits >> 16);
    if (dtype == Dtype::f64) std::memcpy(&bytes[8 * i], &wide, 8);
    if (dtype == Dtype::f32) std::memcpy(&bytes[4 * i], &v, 4);
    if (dtype == Dtype::bf16) std::memcpy(&bytes[2 * i], &narrow, 2);
  }
  return bytes;
}

struct Case {
  Dtype dtype;
  int64_t height, width;
  std::vector<int64_t> rows, columns;
  bool all_rows, all_columns;
  Submatrix place() const {
    return {width,
            {all_rows ? nullptr : rows.data(), all_rows ? height : static_cast<int64_t>(rows.size())},
            {all_columns ? nullptr : columns.data(), all_columns ? width : static_cast<int64_t>(columns.size())}};
  }
};

// All there is to do, one after another: four matrices and a block, as they are afterwards.
inline std::vector<std::vector<char>> everything(const Case& c, std::vector<std::vector<char>> m, int threads, Path path) {
  const Submatrix s = c.place();
  const SgdStep sgd_step{0.1, 0.9, 0.1, 0.01, false, false};
  const AdamStep adam_step{0.1, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.001, true, true};
  const auto run = [&](const Job& job) { carry_out({job}, threads, path); };
  run(gather(c.dtype, m[0].data(), m[4].data(), s));
  m.push_back(m[4]);
  run(scatter_add(c.dtype, m[0].data(), m[4].data(), s));
  m.push_back(m[0]);
  run(sgd(c.dtype, m[0].data(), nullptr, m[4].data(), s, sgd_step));
  run(sgd(c.dtype, m[0].data(), m[1].data(), m[4].data(), s, sgd_step));
  run(adam(c.dtype, m[0].data(), m[1].data(), m[2].data(), nullptr, m[4].data(), s, adam_step));
  run(adam(c.dtype, m[0].data(), m[1].data(), m[2].data(), m[3].data(), m[4].data(), s, adam_step));
  return m;
}

inline void one(const Case& c, Path path, int threads, std::mt19937_64& random, const std::string& what, const Check& check) {
  const Submatrix s = c.place();
  std::vector<std::vector<char>> m;
  for (int i = 0; i < 4; ++i) m.push_back(numbers(c.dtype, c.height * c.width, random));
  m.push_back(numbers(c.dtype, s.rows.count * s.columns.count, random));
  const auto want = everything(c, m, 1, Path::portable);
  check(everything(c, m, threads, path) == want, what + ": not what the portable loop does");
  const std::size_t size = element_size(c.dtype);
  bool gathered = true, outside = true;
  std::vector<bool> chosen(static_cast<std::size_t>(c.height * c.width));
  for (int64_t i = 0; i < s.rows.count; ++i)
    for (int64_t j = 0; j < s.columns.count; ++j) {
      const std::size_t at = static_cast<std::size_t>(s.rows[i] * c.width + s.columns[j]);
      chosen[at] = true;
      gathered &= std::memcmp(&want[5][static_cast<std::size_t>(i * s.columns.count + j) * size], &m[0][at * size], size) == 0;
    }
  for (std::size_t at = 0; at < chosen.size(); ++at)
    for (std::size_t k = 0; k < 4 && !chosen[at]; ++k) outside &= std::memcmp(&want[k][at * size], &m[k][at * size], size) == 0;
  check(gathered, what + ": gather");
  check(outside, what + ": an element outside the place changed");
}

inline void units_by_sorting(std::mt19937_64& random, const Check& check) {
  for (int turn = 0; turn < 60; ++turn) {
    const int64_t n = 1 + static_cast<int64_t>(random() % 700), k = 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(n));
    const Law law{random(), random(), 1, 32, 1};
    std::vector<int64_t> kept(static_cast<std::size_t>(3 * k)), slices(kept);
    units(kept.data(), n, k, 3, law.seed, law.stream, false);
    units(slices.data(), n, k, 3, law.seed, law.stream, true);
    std::vector<int64_t> want, want_slices;
    for (int64_t g = 0; g < 3; ++g) {
      const auto word = [&](int64_t j) { return expected::random_bits(law, static_cast<uint64_t>(g * n + j)); };
      std::vector<int64_t> order(static_cast<std::size_t>(n)), slice;
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return word(a) > word(b); });
      std::sort(order.begin(), order.begin() + k);
      want.insert(want.end(), order.begin(), order.begin() + k);
      const uint64_t start = expected::random_bits(law, static_cast<uint64_t>(g)) * static_cast<uint64_t>(n) >> 32;
      for (int64_t j = 0; j < k; ++j) slice.push_back((static_cast<int64_t>(start) + j) % n);
      std::sort(slice.begin(), slice.end());
      want_slices.insert(want_slices.end(), slice.begin(), slice.end());
    }
    check(kept == want, "units: " + std::to_string(k) + " of " + std::to_string(n));
    check(slices == want_slices, "slices: " + std::to_string(k) + " of " + std::to_string(n));
  }
}

inline void test(Path path, const std::string& name, const Check& check) {
  std::mt19937_64 random(7);
  for (const Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::bf16})
    for (int turn = 0; turn < 300; ++turn) {
      const bool large = turn % 60 == 59;  // enough for several threads
      const int64_t height = large ? 300 : 1 + static_cast<int64_t>(random() % 9), width = large ? 333 : 1 + static_cast<int64_t>(random() % 40);
      const Case c{dtype, height, width, some_of(height, random), some_of(width, random), random() % 3 == 0, random() % 3 == 0};
      const std::string what = name + " submatrix of " + std::to_string(height) + " x " + std::to_string(width) + ", turn " + std::to_string(turn);
      one(c, path, 1 + turn % 4, random, what, check);
    }
  units_by_sorting(random, check);
}

}  // namespace submatrices
