// The extension module: addresses and numbers in, nothing out. Checking the arguments is the caller's part.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include "dropout.hpp"

namespace nb = nanobind;
using namespace thinned;

namespace {

constexpr int64_t kReleaseGil = 4096;  // below this many elements, handing the GIL over costs more than the work

void contiguous(uintptr_t x, uintptr_t y, uint64_t start, int64_t n, int dtype, uint64_t seed, uint64_t stream,
                uint32_t threshold, int bits, double scale, int threads, int path, bool fresh) {
  const auto work = [&] {
    dropout(reinterpret_cast<const void*>(x), reinterpret_cast<void*>(y), start, n, static_cast<Dtype>(dtype),
            {seed, stream, threshold, bits, scale}, {threads, static_cast<Path>(path), fresh});
  };
  if (n < kReleaseGil) return work();
  nb::gil_scoped_release released;
  work();
}

void strided(uintptr_t x, uintptr_t y, const std::vector<int64_t>& shape, const std::vector<int64_t>& x_strides,
             const std::vector<int64_t>& y_strides, const std::vector<uint64_t>& mask_strides, uint64_t start, int dtype,
             uint64_t seed, uint64_t stream, uint32_t threshold, int bits, double scale, int threads, int path, bool fresh) {
  std::vector<Axis> axes;
  for (std::size_t d = 0; d < shape.size(); ++d) axes.push_back({shape[d], x_strides[d], y_strides[d], mask_strides[d]});
  nb::gil_scoped_release released;
  dropout_strided(reinterpret_cast<const void*>(x), reinterpret_cast<void*>(y), std::move(axes), start,
                  static_cast<Dtype>(dtype), {seed, stream, threshold, bits, scale}, {threads, static_cast<Path>(path), fresh});
}

std::vector<int> paths() {
  std::vector<int> result;
  for (const Path path : available_paths()) result.push_back(static_cast<int>(path));
  return result;
}

}  // namespace

NB_MODULE(_cpu, m) {
  m.def("dropout", &contiguous);
  m.def("dropout_strided", &strided);
  m.def("available_paths", &paths);
}
