// Tensors that are not one run of memory and of mask: transposed ones, channels last, shared axes, windows across rows.
#include <algorithm>
#include <array>
#include <vector>

#include "dropout.hpp"
#include "element.hpp"
#include "parallel.hpp"

namespace thinned {
namespace {

constexpr int64_t kBlock = 16384;  // elements of one piece of work

int64_t count(const std::vector<Axis>& axes) {
  int64_t n = 1;
  for (const Axis& a : axes) n *= a.size;
  return n;
}

// Drops axes of size 1 and joins neighbours that one step describes in x, y and the mask alike.
std::vector<Axis> joined(const std::vector<Axis>& axes) {
  std::vector<Axis> result;
  for (const Axis& a : axes) {
    if (a.size == 1) continue;
    if (!result.empty()) {
      Axis& outer = result.back();
      if (outer.x == a.x * a.size && outer.y == a.y * a.size && outer.mask == a.mask * static_cast<uint64_t>(a.size)) {
        outer = {outer.size * a.size, a.x, a.y, a.mask};
        continue;
      }
    }
    result.push_back(a);
  }
  if (result.empty()) result.push_back({1, 1, 1, 1});
  return result;
}

// Whether the mask's indices of the elements, in row-major order, are one run.
bool one_run(const std::vector<Axis>& axes) {
  uint64_t stride = 1;
  for (auto a = axes.rbegin(); a != axes.rend(); ++a) {
    if (a->mask != stride) return false;
    stride *= static_cast<uint64_t>(a->size);
  }
  return true;
}

// A position in a grid of axes: its index along each, and its offsets.
struct Cursor {
  const std::vector<Axis>& axes;
  std::array<int64_t, 64> index{};
  int64_t x = 0, y = 0;
  uint64_t mask = 0;

  Cursor(const std::vector<Axis>& a, int64_t at) : axes(a) {
    for (std::size_t d = axes.size(); d-- > 0; at /= axes[d].size) move(d, at % axes[d].size);
  }
  void move(std::size_t d, int64_t steps) {
    index[d] += steps;
    x += steps * axes[d].x;
    y += steps * axes[d].y;
    mask += static_cast<uint64_t>(steps) * axes[d].mask;
  }
  int64_t left() const { return axes.back().size - index[axes.size() - 1]; }
  void advance(int64_t steps) {  // at most left()
    std::size_t d = axes.size() - 1;
    move(d, steps);
    while (d > 0 && index[d] == axes[d].size) {
      move(d, -axes[d].size);
      move(--d, 1);
    }
  }
};

template <class T>
struct Scale {
  double scale;
  explicit Scale(const Law& law) : scale(law.scale) {}
  T kept(T v) const { return scaled(v, scale); }
  T dropped() const { return T{}; }
};

template <class T>
struct Affine {
  double scale, shift;
  T fill;
  explicit Affine(const Law& law) : scale(law.scale), shift(law.shift), fill(rounded<T>(law.fill)) {}
  T kept(T v) const { return affine(v, scale, shift); }
  T dropped() const { return fill; }
};

template <class T, class Select>
inline T pick(T v, const Select select, uint8_t keep) {
  const T s = select.kept(v);
  return keep ? s : select.dropped();
}

template <class T, class Select>
void run(const T* x, T* y, const uint8_t* keep, int64_t n, const Axis& a, const Select select) {
  const int64_t k = static_cast<int64_t>(a.mask);
  if (a.x == 1 && a.y == 1 && k == 1) {
    for (int64_t i = 0; i < n; ++i) y[i] = pick(x[i], select, keep[i]);
  } else if (a.x == 1 && a.y == 1 && k == 0) {
    if (*keep) for (int64_t i = 0; i < n; ++i) y[i] = select.kept(x[i]);
    else std::fill(y, y + n, select.dropped());
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * a.y] = pick(x[i * a.x], select, keep[i * k]);
  }
}

// Elements [first, last) of the grid in row-major order; keep is indexed by the axes' mask strides, less `origin`.
template <class T, class Select = Scale<T>>
void select(const void* x, void* y, const uint8_t* keep, uint64_t origin, const std::vector<Axis>& axes, int64_t first,
            int64_t last, const Law& law) {
  const Select how(law);
  Cursor at(axes, first);
  while (first < last) {
    const int64_t n = std::min(last - first, at.left());
    run(static_cast<const T*>(x) + at.x, static_cast<T*>(y) + at.y, keep + (at.mask - origin), n, axes.back(), how);
    at.advance(n);
    first += n;
  }
}

using Select = void (*)(const void*, void*, const uint8_t*, uint64_t, const std::vector<Axis>&, int64_t, int64_t, const Law&);

Select select_for(Dtype dtype, bool moving) {
  static const Select entries[kDtypes] = {select<float>,          select<double>,          select<F16>, select<BF16>,
                                          select<Complex<float>>, select<Complex<double>>, nullptr};
  static const Select moved[kDtypes] = {select<float, Affine<float>>, select<double, Affine<double>>,
                                        select<F16, Affine<F16>>, select<BF16, Affine<BF16>>};
  return (moving ? moved : entries)[static_cast<int>(dtype)];
}

template <class Work>
void blocks(int64_t n, int threads, const Work& work) {
  parallel((n + kBlock - 1) / kBlock, threads, [&](int64_t b) { work(b * kBlock, std::min(n, (b + 1) * kBlock)); });
}

// The keep bytes of the whole mask at hand, row-major; rewrites the mask strides of `axes` to point into them.
std::vector<uint8_t> compact(std::vector<Axis>& axes, uint64_t start, const Law& law, const How& how) {
  std::vector<Axis> own;  // the mask's own axes; `y` becomes the place in the compact bytes
  int64_t stride = 1;
  for (auto a = axes.rbegin(); a != axes.rend(); ++a) {
    if (a->mask == 0) continue;
    own.insert(own.begin(), {a->size, 0, stride, a->mask});
    a->mask = static_cast<uint64_t>(stride);
    stride *= a->size;
  }
  own = joined(own);
  const int64_t width = own.back().mask == 1 ? own.back().size : 1;
  std::vector<uint8_t> bytes(static_cast<std::size_t>(stride));
  const How alone{1, how.path, false};
  const auto row = [&](int64_t r) {
    const Cursor at(own, r * width);
    uint8_t* to = bytes.data() + at.y;
    dropout(to, to, start + at.mask, width, Dtype::keep, law, alone);
  };
  const int64_t rows = stride / width;
  if (rows == 1) dropout(bytes.data(), bytes.data(), start, width, Dtype::keep, law, {how.threads, how.path, false});
  else parallel(rows, width * rows < kBlock ? 1 : how.threads, row);
  return bytes;
}

}  // namespace

void dropout_strided(const void* x, void* y, std::vector<Axis> axes, uint64_t start, Dtype dtype, const Law& law,
                     const How& how) {
  const int64_t n = count(axes);
  if (n == 0) return;
  axes = joined(axes);
  if (axes.size() == 1 && axes[0].x == 1 && axes[0].y == 1 && axes[0].mask == 1)
    return dropout(x, y, start, n, dtype, law, how);
  const Select select = select_for(dtype, law.affine());
  if (one_run(axes)) {
    const How alone{1, how.path, false};
    blocks(n, how.threads, [&](int64_t first, int64_t last) {
      uint8_t keep[kBlock];
      dropout(keep, keep, start + static_cast<uint64_t>(first), last - first, Dtype::keep, law, alone);
      select(x, y, keep, static_cast<uint64_t>(first), axes, first, last, law);
    });
    return;
  }
  const std::vector<uint8_t> keep = compact(axes, start, law, how);
  std::stable_sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.y > b.y; });  // memory order
  axes = joined(axes);
  blocks(n, how.threads, [&](int64_t first, int64_t last) {
    select(x, y, keep.data(), 0, axes, first, last, law);
  });
}

}  // namespace thinned
