// Tensors that are not one run of memory and of mask: transposed ones, channels last, shared axes, windows across rows.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "dropout.hpp"
#include "element.hpp"
#include "memory.hpp"
#include "parallel.hpp"

namespace thinned {
namespace {

constexpr int64_t kBlock = 16384;   // elements of one piece of work
constexpr int64_t kShortest = 16;   // elements of a run that is worth a call
constexpr int64_t kLongest = 2048;  // decisions that are laid out for several rows at a time

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

// One element of another layout than a run, and what a dropped one becomes; runs are the vectorised kernels' part.
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

template <class T>
void fill(T* y, int64_t n, T value) {
  const T zero{};
  const bool zeros = std::memcmp(&value, &zero, sizeof(T)) == 0;
  if (zeros) std::memset(static_cast<void*>(y), 0, static_cast<std::size_t>(n) * sizeof(T));
  else std::fill(y, y + n, value);
}

// Whether each decision is for one row of elements that lie next to each other, and the rows one behind the other.
bool whole_rows(const std::vector<Axis>& axes) {
  if (axes.size() != 2) return false;
  const Axis &rows = axes[0], &row = axes[1];
  return rows.mask == 1 && rows.x == row.size && rows.y == row.size && row.mask == 0 && row.x == 1 && row.y == 1;
}

// Elements [first, last) of such rows: neighbours with the same decision are one run, however many rows they are.
template <class T>
void select_rows(const T* from, T* to, const uint8_t* keep, int64_t width, int64_t first, int64_t last, const Law& law,
                 Run run, T dropped) {
  const int64_t end = (last + width - 1) / width;
  for (int64_t row = first / width; first < last;) {
    const uint8_t decision = keep[row];
    const void* other = std::memchr(keep + row, !decision, static_cast<std::size_t>(end - row));
    row = other ? static_cast<const uint8_t*>(other) - keep : end;
    const int64_t stop = std::min(last, row * width);
    if (decision) run(from + first, to + first, nullptr, stop - first, law);
    else fill(to + first, stop - first, dropped);
    first = stop;
  }
}

// Whether rows of elements that lie one behind the other share a short row of decisions, as channels last do.
bool repeated_rows(const std::vector<Axis>& axes) {
  if (axes.size() < 2) return false;
  const Axis &rows = axes[axes.size() - 2], &row = axes.back();
  const bool dense = rows.x == row.size && rows.y == row.size && row.x == 1 && row.y == 1;
  return dense && rows.mask == 0 && row.mask == 1 && row.size <= kLongest;
}

// Elements [first, last) of such a grid: the decisions are laid out for some rows at a time, and those rows are one run.
template <class T>
void select_repeated(const T* from, T* to, const uint8_t* keep, std::vector<Axis> axes, int64_t first, int64_t last,
                     const Law& law, Run run) {
  const int64_t width = axes.back().size, span = kLongest / width * width;
  axes.pop_back();
  axes.back() = {axes.back().size * width, 1, 1, 0};
  std::array<uint8_t, kLongest> decisions;
  Cursor at(axes, first);
  while (first < last) {
    const int64_t n = std::min(last - first, at.left()), begin = at.index[axes.size() - 1] % width;
    const int64_t end = std::max(width, std::min(begin + n, span));
    std::memcpy(decisions.data(), keep + at.mask, static_cast<std::size_t>(width));
    for (int64_t filled = width; filled < end; filled *= 2)
      std::memcpy(decisions.data() + filled, decisions.data(), static_cast<std::size_t>(std::min(filled, end - filled)));
    for (int64_t done = 0, start = begin, count; done < n; done += count, start = 0) {
      count = std::min(n - done, span - start);
      run(from + at.x + done, to + at.y + done, decisions.data() + start, count, law);
    }
    at.advance(n);
    first += n;
  }
}

// Elements [first, last) of the grid in row-major order; keep is indexed by the axes' mask strides, less `origin`.
template <class T, class Kind = Scale<T>>
void select(const void* from, void* to, const uint8_t* keep, uint64_t origin, const std::vector<Axis>& axes,
            int64_t first, int64_t last, const Law& law, Run run) {
  const Kind kind(law);
  if (whole_rows(axes))
    return select_rows(static_cast<const T*>(from), static_cast<T*>(to), keep, axes[1].size, first, last, law, run,
                       kind.dropped());
  if (repeated_rows(axes))
    return select_repeated(static_cast<const T*>(from), static_cast<T*>(to), keep, axes, first, last, law, run);
  const Axis& a = axes.back();
  const int64_t k = static_cast<int64_t>(a.mask);
  Cursor at(axes, first);
  while (first < last) {
    const int64_t n = std::min(last - first, at.left());
    const T* x = static_cast<const T*>(from) + at.x;
    T* y = static_cast<T*>(to) + at.y;
    const uint8_t* bytes = keep + (at.mask - origin);
    if (a.x == 1 && a.y == 1 && k <= 1 && n >= kShortest) {
      if (k == 1) run(x, y, bytes, n, law);
      else if (*bytes) run(x, y, nullptr, n, law);
      else fill(y, n, kind.dropped());
    } else {
      for (int64_t i = 0; i < n; ++i) {
        const T kept = kind.kept(x[i * a.x]);
        y[i * a.y] = bytes[i * k] ? kept : kind.dropped();
      }
    }
    at.advance(n);
    first += n;
  }
}

using Select = void (*)(const void*, void*, const uint8_t*, uint64_t, const std::vector<Axis>&, int64_t, int64_t,
                        const Law&, Run);

Select select_for(Dtype dtype, bool moving) {
  static const Select entries[kDtypes] = {select<float>,          select<double>,          select<F16>, select<BF16>,
                                          select<Complex<float>>, select<Complex<double>>, nullptr};
  static const Select moved[kDtypes] = {select<float, Affine<float>>, select<double, Affine<double>>,
                                        select<F16, Affine<F16>>, select<BF16, Affine<BF16>>};
  return (moving ? moved : entries)[static_cast<int>(dtype)];
}

Run run_for(Dtype dtype, bool moving, Path path) {
  const auto table = [&]() -> const Run* {
    if (moving) return path == Path::portable ? portable_affine_runs() : avx2_affine_runs();
    return path == Path::portable ? portable_runs() : path == Path::avx2 ? avx2_runs() : avx512_runs();
  };
  return table()[static_cast<int>(dtype)];
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
  if (how.fresh) ask_for_huge_pages(y, n * static_cast<int64_t>(element_size(dtype)));
  const Select select = select_for(dtype, law.affine());
  const Run run = run_for(dtype, law.affine(), how.path);
  if (one_run(axes)) {
    const How alone{1, how.path, false};
    blocks(n, how.threads, [&](int64_t first, int64_t last) {
      uint8_t keep[kBlock];
      dropout(keep, keep, start + static_cast<uint64_t>(first), last - first, Dtype::keep, law, alone);
      select(x, y, keep, static_cast<uint64_t>(first), axes, first, last, law, run);
    });
    return;
  }
  const std::vector<uint8_t> keep = compact(axes, start, law, how);
  std::stable_sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.y > b.y; });  // memory order
  axes = joined(axes);
  blocks(n, how.threads, [&](int64_t first, int64_t last) {
    select(x, y, keep.data(), 0, axes, first, last, law, run);
  });
}

}  // namespace thinned
