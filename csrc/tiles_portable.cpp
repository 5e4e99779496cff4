// Whole tiles in standard C++.
#include "element.hpp"
#include "mask.hpp"
#include "words.hpp"

namespace thinned {
namespace {

// keep is all ones or all zeros, so that "select" is one AND on the bits and never a product with inf or nan.
template <class T>
struct Scale {
  double scale;
  explicit Scale(const Law& law) : scale(law.scale) {}
  T operator()(T v, uint32_t keep) const {
    if constexpr (sizeof(T) == 4) return bits_of<T>(bits_of<uint32_t>(scaled(v, scale)) & keep);
    else if constexpr (sizeof(T) == 2) return {static_cast<uint16_t>(scaled(v, scale).bits & keep)};
    else return keep ? scaled(v, scale) : T{};
  }
};
template <>
inline double Scale<double>::operator()(double v, uint32_t keep) const {
  const int64_t wide = static_cast<int32_t>(keep);
  return bits_of<double>(bits_of<uint64_t>(v * scale) & static_cast<uint64_t>(wide));
}
template <>
inline uint8_t Scale<uint8_t>::operator()(uint8_t, uint32_t keep) const {
  return keep & 1;
}

template <class T>
struct Affine {
  double scale, shift;
  T fill;
  explicit Affine(const Law& law) : scale(law.scale), shift(law.shift), fill(rounded<T>(law.fill)) {}
  T operator()(T v, uint32_t keep) const {
    const T moved = affine(v, scale, shift);
    return keep ? moved : fill;
  }
};

inline uint32_t all_if(bool keep) { return keep ? ~0u : 0u; }

// The lower and the upper half of one word of each counter: two neighbouring planes.
template <class T, class Select>
inline void planes16(const T* x, T* y, const uint32_t (&word)[kLanes], uint32_t threshold, const Select& select) {
  const int32_t above = static_cast<int32_t>(threshold) - 1;  // small numbers: a signed comparison is one instruction
#pragma GCC ivdep                                             // x may be y, and then each element depends on itself alone
  for (int l = 0; l < kLanes; ++l) {
    y[l] = select(x[l], all_if(static_cast<int32_t>(word[l] & 0xffff) > above));
    y[l + kLanes] = select(x[l + kLanes], all_if(static_cast<int32_t>(word[l] >> 16) > above));
  }
}

template <class T, class Select>
inline void plane32(const T* x, T* y, const uint32_t (&word)[kLanes], uint32_t threshold, const Select& select) {
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) y[l] = select(x[l], all_if(word[l] >= threshold));
}

template <class T, class Select = Scale<T>>
void tiles(const void* from, void* to, uint64_t tile, int64_t count, const Law& law, bool) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  const Select select(law);
  alignas(64) uint32_t word[4][kLanes];
  Shared shared{};
  for (int64_t t = 0; t < count; ++t, ++tile, x += law.tile(), y += law.tile()) {
    const uint64_t b = tile * kLanes;
    if (t == 0 || low32(b) == 0) shared = share(law.seed, law.stream, high32(b));
    words(low32(b), shared, word[0], word[1], word[2], word[3]);
    for (int w = 0; w < 4; ++w) {
      if (law.bits == 16) planes16(x + 2 * w * kLanes, y + 2 * w * kLanes, word[w], law.threshold, select);
      else plane32(x + w * kLanes, y + w * kLanes, word[w], law.threshold, select);
    }
  }
}

template <class T, class Select = Scale<T>>
void run(const void* from, void* to, const uint8_t* keep, int64_t n, const Law& law) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  const Select select(law);
  if (!keep) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = select(x[i], ~0u);
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = select(x[i], all_if(keep[i]));
  }
}

}  // namespace

const Tiles* portable_tiles() {
  static const Tiles table[kDtypes] = {tiles<float>,          tiles<double>,          tiles<F16>,    tiles<BF16>,
                                       tiles<Complex<float>>, tiles<Complex<double>>, tiles<uint8_t>};
  return table;
}

const Tiles* portable_affine_tiles() {
  static const Tiles table[kDtypes] = {tiles<float, Affine<float>>, tiles<double, Affine<double>>,
                                       tiles<F16, Affine<F16>>,     tiles<BF16, Affine<BF16>>};
  return table;
}

const Run* portable_runs() {
  static const Run table[kDtypes] = {run<float>, run<double>, run<F16>, run<BF16>, run<Complex<float>>, run<Complex<double>>};
  return table;
}

const Run* portable_affine_runs() {
  static const Run table[kDtypes] = {run<float, Affine<float>>, run<double, Affine<double>>, run<F16, Affine<F16>>,
                                     run<BF16, Affine<BF16>>};
  return table;
}

}  // namespace thinned
