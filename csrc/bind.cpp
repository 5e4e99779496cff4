// The extension module: addresses and numbers in, at most numbers out. Checking the arguments is the caller's part.
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "dropout.hpp"
#include "gaussian.hpp"
#include "keys.hpp"
#include "memory.hpp"
#include "replacement.hpp"
#include "submatrix.hpp"

namespace nb = nanobind;
using namespace thinned;

namespace {

constexpr int64_t kReleaseGil = 4096;  // below this many elements, handing the GIL over costs more than the work

void contiguous(uintptr_t x, uintptr_t y, uint64_t start, int64_t n, int dtype, uint64_t seed, uint64_t stream,
                uint32_t threshold, int bits, double scale, double shift, double fill, int threads, int path, bool fresh) {
  const auto work = [&] {
    dropout(reinterpret_cast<const void*>(x), reinterpret_cast<void*>(y), start, n, static_cast<Dtype>(dtype),
            {seed, stream, threshold, bits, scale, shift, fill}, {threads, static_cast<Path>(path), fresh});
  };
  if (n < kReleaseGil) return work();
  nb::gil_scoped_release released;
  work();
}

void strided(uintptr_t x, uintptr_t y, const std::vector<int64_t>& shape, const std::vector<int64_t>& x_strides,
             const std::vector<int64_t>& y_strides, const std::vector<uint64_t>& mask_strides, uint64_t start, int dtype,
             uint64_t seed, uint64_t stream, uint32_t threshold, int bits, double scale, double shift, double fill, int threads,
             int path, bool fresh) {
  std::vector<Axis> axes;
  for (std::size_t d = 0; d < shape.size(); ++d) axes.push_back({shape[d], x_strides[d], y_strides[d], mask_strides[d]});
  nb::gil_scoped_release released;
  dropout_strided(reinterpret_cast<const void*>(x), reinterpret_cast<void*>(y), std::move(axes), start,
                  static_cast<Dtype>(dtype), {seed, stream, threshold, bits, scale, shift, fill}, {threads, static_cast<Path>(path), fresh});
}

void noisy(uintptr_t x, uintptr_t y, uint64_t start, int64_t n, int dtype, uint64_t seed, uint64_t stream, double deviation,
           int noise, int threads, int path) {
  nb::gil_scoped_release released;
  gaussian(reinterpret_cast<const void*>(x), reinterpret_cast<void*>(y), start, n, static_cast<Dtype>(dtype),
           {seed, stream, deviation, static_cast<Noise>(noise)}, {threads, static_cast<Path>(path), false});
}

void each(uintptr_t x, uintptr_t y, uint64_t start, int64_t n, int64_t count, uintptr_t seeds, int dtype, uint64_t stream,
          uint32_t threshold, int bits, double scale, int threads, int path) {
  nb::gil_scoped_release released;
  dropout_each(reinterpret_cast<const void*>(x), reinterpret_cast<void*>(y), start, n, count,
               reinterpret_cast<const uint64_t*>(seeds), static_cast<Dtype>(dtype), {0, stream, threshold, bits, scale, 0, 0},
               {threads, static_cast<Path>(path), false});
}

std::vector<int> paths() {
  std::vector<int> result;
  for (const Path path : available_paths()) result.push_back(static_cast<int>(path));
  return result;
}

// Addresses of the indices of rows and columns (0 is all of them), length of a row, numbers of rows and of columns.
using Place = std::tuple<uintptr_t, uintptr_t, int64_t, int64_t, int64_t>;

Submatrix submatrix(const Place& place) {
  const auto [rows, columns, width, row_count, column_count] = place;
  const auto index = [](uintptr_t address) { return reinterpret_cast<const int64_t*>(address); };
  return {width, {index(rows), row_count}, {index(columns), column_count}};
}

void* at(uintptr_t address) { return reinterpret_cast<void*>(address); }

// What Python says of jobs: dtype, addresses, place and, where there are any, the numbers of the step.
using BlockJob = std::tuple<int, uintptr_t, uintptr_t, Place>;
using SgdJob = std::tuple<int, uintptr_t, uintptr_t, uintptr_t, Place, std::tuple<double, double, double, double, bool, bool>>;
using AdamJob = std::tuple<int, uintptr_t, std::tuple<uintptr_t, uintptr_t, uintptr_t>, uintptr_t, Place,
                           std::tuple<double, double, double, double, double, double, double, bool, bool>>;

Job job_of(const SgdJob& said) {
  const auto& [dtype, parameter, momentum, gradient, place, numbers] = said;
  const auto step = std::apply([](auto... n) { return SgdStep{n...}; }, numbers);
  return sgd(static_cast<Dtype>(dtype), at(parameter), at(momentum), at(gradient), submatrix(place), step);
}

Job job_of(const AdamJob& said) {
  const auto& [dtype, parameter, moments, gradient, place, numbers] = said;
  const auto [first, second, largest] = moments;
  const auto step = std::apply([](auto... n) { return AdamStep{n...}; }, numbers);
  return adam(static_cast<Dtype>(dtype), at(parameter), at(first), at(second), at(largest), at(gradient), submatrix(place), step);
}

template <class Said, class Make>
void carry_out_all(const std::vector<Said>& said, const Make& make, int threads, int path) {
  std::vector<Job> jobs;
  int64_t elements = 0;
  for (const Said& one : said) {
    jobs.push_back(make(one));
    elements += jobs.back().where.rows.count * jobs.back().where.columns.count;
  }
  if (elements < kReleaseGil) return carry_out(jobs, threads, static_cast<Path>(path));
  nb::gil_scoped_release released;
  carry_out(jobs, threads, static_cast<Path>(path));
}

void bind_submatrix(nb::module_& m) {
  m.def("gather", [](const std::vector<BlockJob>& said, int threads, int path) {
    const auto make = [](const BlockJob& one) {
      const auto& [dtype, matrix, block, place] = one;
      return gather(static_cast<Dtype>(dtype), at(matrix), at(block), submatrix(place));
    };
    carry_out_all(said, make, threads, path);
  });
  m.def("scatter_add", [](const std::vector<BlockJob>& said, int threads, int path) {
    const auto make = [](const BlockJob& one) {
      const auto& [dtype, matrix, block, place] = one;
      return scatter_add(static_cast<Dtype>(dtype), at(matrix), at(block), submatrix(place));
    };
    carry_out_all(said, make, threads, path);
  });
  const auto update = [](const auto& one) { return job_of(one); };
  m.def("sgd", [=](const std::vector<SgdJob>& said, int threads, int path) { carry_out_all(said, update, threads, path); });
  m.def("adam", [=](const std::vector<AdamJob>& said, int threads, int path) { carry_out_all(said, update, threads, path); });
  m.def("ask_for_huge_pages", [](uintptr_t address, int64_t bytes) { ask_for_huge_pages(at(address), bytes); });
  m.def("units", [](uintptr_t kept, int64_t n, int64_t k, int64_t groups, uint64_t seed, uint64_t stream, bool slices) {
    units(reinterpret_cast<int64_t*>(kept), n, k, groups, seed, stream, slices);
  });
}

void bind_replacement(nb::module_& m) {
  m.attr("SEGMENT_BLOCK") = kSegmentBlock;
  m.def("count_segments", [](uintptr_t lengths, uintptr_t out, uintptr_t starts, int length_size, int64_t count,
                               int64_t items, uint64_t start, uint64_t seed, uint64_t stream, uint32_t threshold,
                               int bits, int threads, int path) {
    nb::gil_scoped_release released;
    return count_segments({at(lengths), length_size, count, items}, at(out), static_cast<int64_t*>(at(starts)), start,
                          {seed, stream, threshold, bits, 1.0}, {threads, static_cast<Path>(path), false});
  });
  m.def("replace_segments", [](uintptr_t values, uintptr_t lengths, uintptr_t starts, uintptr_t out, int64_t total,
                                 int64_t id, int size, int length_size, int64_t count, int64_t items, uint64_t start,
                                 uint64_t seed, uint64_t stream, uint32_t threshold, int bits, int threads, int path) {
    nb::gil_scoped_release released;
    replace_segments({at(lengths), length_size, count, items}, at(values), at(out), total,
                     static_cast<int64_t*>(at(starts)), {id, size}, start, {seed, stream, threshold, bits, 1.0},
                     {threads, static_cast<Path>(path), true});
  });
  m.def("replace_items", [](uintptr_t x, uintptr_t y, int64_t n, int64_t id, int size, uint64_t start, uint64_t seed,
                              uint64_t stream, uint32_t threshold, int bits, int threads, int path) {
    nb::gil_scoped_release released;
    replace_items(at(x), at(y), n, {id, size}, start, {seed, stream, threshold, bits, 1.0},
                  {threads, static_cast<Path>(path), true});
  });
}

}  // namespace

NB_MODULE(_cpu, m) {
  m.def("dropout", &contiguous);
  m.def("dropout_strided", &strided);
  m.def("dropout_each", &each);
  m.def("gaussian", &noisy);
  m.def("available_paths", &paths);
  m.def("site_seeds", &site_seeds);
  bind_submatrix(m);
  bind_replacement(m);
}
