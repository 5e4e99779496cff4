// The extension module: addresses and numbers in, nothing out. Checking the arguments is the caller's part.
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "dropout.hpp"
#include "gaussian.hpp"
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

template <class Work>
void released(const Submatrix& s, const Work& work) {
  if (s.rows.count * s.columns.count < kReleaseGil) return work();
  nb::gil_scoped_release unlocked;
  work();
}

void* at(uintptr_t address) { return reinterpret_cast<void*>(address); }
Launch launch(int dtype, int threads, int path) { return {static_cast<Dtype>(dtype), threads, static_cast<Path>(path)}; }

void bind_submatrix(nb::module_& m) {
  m.def("gather", [](uintptr_t matrix, uintptr_t block, const Place& place, int dtype, int threads, int path) {
    const Submatrix s = submatrix(place);
    released(s, [&] { gather(at(matrix), at(block), s, launch(dtype, threads, path)); });
  });
  m.def("scatter_add", [](uintptr_t matrix, uintptr_t block, const Place& place, int dtype, int threads, int path) {
    const Submatrix s = submatrix(place);
    released(s, [&] { scatter_add(at(matrix), at(block), s, launch(dtype, threads, path)); });
  });
  m.def("sgd", [](uintptr_t parameter, uintptr_t momentum, uintptr_t gradient, const Place& place,
                  const std::tuple<double, double, double, double, bool, bool>& numbers, int dtype, int threads, int path) {
    const Submatrix s = submatrix(place);
    const auto step = std::apply([](auto... n) { return SgdStep{n...}; }, numbers);
    released(s, [&] { sgd(at(parameter), at(momentum), at(gradient), s, step, launch(dtype, threads, path)); });
  });
  m.def("adam", [](uintptr_t parameter, const std::tuple<uintptr_t, uintptr_t, uintptr_t>& moments, uintptr_t gradient,
                   const Place& place, const std::tuple<double, double, double, double, double, double, double, bool, bool>& numbers,
                   int dtype, int threads, int path) {
    const Submatrix s = submatrix(place);
    const auto step = std::apply([](auto... n) { return AdamStep{n...}; }, numbers);
    void *const first = at(std::get<0>(moments)), *const second = at(std::get<1>(moments)), *const largest = at(std::get<2>(moments));
    released(s, [&] { adam(at(parameter), first, second, largest, at(gradient), s, step, launch(dtype, threads, path)); });
  });
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
  bind_submatrix(m);
  bind_replacement(m);
}
