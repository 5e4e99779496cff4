// Whole tiles with AVX2 and F16C: 8 counters a group.
#include "mask.hpp"

#if defined(__AVX2__) && defined(__F16C__)
#include <immintrin.h>

namespace thinned {
namespace {

struct Vec {
  using Wide = __m256i;
  using Packed = __m256i;
  using Keep = __m256i;  // 32-bit lanes of all ones or all zeros
  static constexpr int kGroup = 8;

  static Wide wide(uint64_t v) { return _mm256_set1_epi64x(static_cast<long long>(v)); }
  static Packed packed(uint32_t v) { return _mm256_set1_epi32(static_cast<int>(v)); }
  static Wide load(const uint64_t* v) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(v)); }
  static Wide add(Wide a, Wide b) { return _mm256_add_epi64(a, b); }
  static Wide multiply(Wide a, Wide b) { return _mm256_mul_epu32(a, b); }
  static Wide down(Wide a) { return _mm256_srli_epi64(a, 32); }
  static __m256i exclusive(__m256i a, __m256i b) { return _mm256_xor_si256(a, b); }
  static __m256i exclusive(__m256i a, __m256i b, __m256i c) { return exclusive(exclusive(a, b), c); }
  static Packed pack_low(Wide a, Wide b) { return pack<0x88>(a, b); }
  static Packed pack_high(Wide a, Wide b) { return pack<0xDD>(a, b); }
  static void fence() { _mm_sfence(); }

  // Keep masks of two groups, from a byte for each element: groups one after the other, or even and odd elements.
  static Keep all() { return packed(~0u); }
  template <bool interleaved>
  static void decisions(const uint8_t* keep, Keep* a, Keep* b) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(keep));
    if (interleaved) {
      *a = positive(_mm256_cvtepu16_epi32(_mm_and_si128(bytes, _mm_set1_epi16(0xff))));
      *b = positive(_mm256_cvtepu16_epi32(_mm_srli_epi16(bytes, 8)));
    } else {
      *a = positive(_mm256_cvtepu8_epi32(bytes));
      *b = positive(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)));
    }
  }

  // 16 bits: u > t - 1, where both are small enough to be compared as signed. 32 bits: max(u, t) == u.
  static Packed threshold(uint32_t t, int bits) { return packed(bits == 16 ? t - 1 : t); }
  static Keep keep_low(Packed w, Packed t) { return _mm256_cmpgt_epi32(_mm256_and_si256(w, packed(0xffff)), t); }
  static Keep keep_high(Packed w, Packed t) { return _mm256_cmpgt_epi32(_mm256_srli_epi32(w, 16), t); }
  static Keep keep_all(Packed w, Packed t) { return _mm256_cmpeq_epi32(_mm256_max_epu32(w, t), w); }

 private:
  static Keep positive(__m256i v) { return _mm256_cmpgt_epi32(v, _mm256_setzero_si256()); }
  template <int order>
  static Packed pack(Wide a, Wide b) {
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), order));
  }
};

}  // namespace
}  // namespace thinned

#include "tiles_vector.hpp"

namespace thinned {
namespace {

template <bool streaming>
inline void store(void* y, __m256i v) {
  streaming ? _mm256_stream_si256(static_cast<__m256i*>(y), v) : _mm256_storeu_si256(static_cast<__m256i*>(y), v);
}
template <bool streaming>
inline void store(void* y, __m128i v) {
  streaming ? _mm_stream_si128(static_cast<__m128i*>(y), v) : _mm_storeu_si128(static_cast<__m128i*>(y), v);
}
inline __m256i and_ps(__m256i keep, __m256 v) { return _mm256_and_si256(keep, _mm256_castps_si256(v)); }
inline __m256i and_pd(__m256i keep, __m256d v) { return _mm256_and_si256(keep, _mm256_castpd_si256(v)); }
inline __m256i first_half(Vec::Keep keep) { return _mm256_cvtepi32_epi64(_mm256_castsi256_si128(keep)); }
inline __m256i second_half(Vec::Keep keep) { return _mm256_cvtepi32_epi64(_mm256_extracti128_si256(keep, 1)); }

// What becomes of eight single-precision numbers: times the scale or +0, as one AND ...
struct Scale {
  __m256 scale;
  explicit Scale(const Law& law) : scale(_mm256_set1_ps(static_cast<float>(law.scale))) {}
  __m256i operator()(__m256 v, Vec::Keep keep) const { return and_ps(keep, _mm256_mul_ps(v, scale)); }
};
// ... or also plus the shift, or the fill.
struct Affine {
  __m256 scale, shift, fill;
  explicit Affine(const Law& law)
      : scale(_mm256_set1_ps(static_cast<float>(law.scale))), shift(_mm256_set1_ps(static_cast<float>(law.shift))),
        fill(_mm256_set1_ps(static_cast<float>(law.fill))) {}
  __m256i operator()(__m256 v, Vec::Keep keep) const {
    const __m256 moved = _mm256_add_ps(_mm256_mul_ps(v, scale), shift);
    return _mm256_castps_si256(_mm256_blendv_ps(fill, moved, _mm256_castsi256_ps(keep)));
  }
};

template <class Select>
struct Float {
  using Value = float;
  static constexpr bool kInterleaved = false;
  Select select;
  explicit Float(const Law& law) : select(law) {}
  template <bool streaming>
  void apply(const float* x, float* y, Vec::Keep a, Vec::Keep b) const {
    store<streaming>(y, select(_mm256_loadu_ps(x), a));
    store<streaming>(y + 8, select(_mm256_loadu_ps(x + 8), b));
  }
};

struct Double {
  using Value = double;
  static constexpr bool kInterleaved = false;
  __m256d scale;
  explicit Double(const Law& law) : scale(_mm256_set1_pd(law.scale)) {}
  template <bool streaming>
  void four(const double* x, double* y, __m256i keep) const {
    store<streaming>(y, and_pd(keep, _mm256_mul_pd(_mm256_loadu_pd(x), scale)));
  }
  template <bool streaming>
  void apply(const double* x, double* y, Vec::Keep a, Vec::Keep b) const {
    four<streaming>(x, y, first_half(a));
    four<streaming>(x + 4, y + 4, second_half(a));
    four<streaming>(x + 8, y + 8, first_half(b));
    four<streaming>(x + 12, y + 12, second_half(b));
  }
};

struct ComplexFloat {
  struct Value { float re, im; };
  static constexpr bool kInterleaved = false;
  __m256 scale;
  explicit ComplexFloat(const Law& law) : scale(_mm256_set1_ps(static_cast<float>(law.scale))) {}
  template <bool streaming>
  void four(const Value* x, Value* y, __m256i keep) const {
    store<streaming>(y, and_ps(keep, _mm256_mul_ps(_mm256_loadu_ps(&x->re), scale)));
  }
  template <bool streaming>
  void apply(const Value* x, Value* y, Vec::Keep a, Vec::Keep b) const {
    four<streaming>(x, y, first_half(a));
    four<streaming>(x + 4, y + 4, second_half(a));
    four<streaming>(x + 8, y + 8, first_half(b));
    four<streaming>(x + 12, y + 12, second_half(b));
  }
};

struct ComplexDouble {
  struct Value { double re, im; };
  static constexpr bool kInterleaved = false;
  __m256d scale;
  explicit ComplexDouble(const Law& law) : scale(_mm256_set1_pd(law.scale)) {}
  template <bool streaming>
  void four(const Value* x, Value* y, __m256i keep) const {  // each 64-bit mask serves a real and an imaginary part
    const __m256i front = _mm256_permute4x64_epi64(keep, 0x50), back = _mm256_permute4x64_epi64(keep, 0xFA);
    store<streaming>(y, and_pd(front, _mm256_mul_pd(_mm256_loadu_pd(&x->re), scale)));
    store<streaming>(y + 2, and_pd(back, _mm256_mul_pd(_mm256_loadu_pd(&x[2].re), scale)));
  }
  template <bool streaming>
  void apply(const Value* x, Value* y, Vec::Keep a, Vec::Keep b) const {
    four<streaming>(x, y, first_half(a));
    four<streaming>(x + 4, y + 4, second_half(a));
    four<streaming>(x + 8, y + 8, first_half(b));
    four<streaming>(x + 12, y + 12, second_half(b));
  }
};

template <class Select>
struct Half {
  using Value = uint16_t;
  static constexpr bool kInterleaved = false;
  Select select;
  explicit Half(const Law& law) : select(law) {}
  template <bool streaming>
  void eight(const Value* x, Value* y, Vec::Keep keep) const {
    const __m256 wide = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
    const __m256 kept = _mm256_castsi256_ps(select(wide, keep));
    store<streaming>(y, _mm256_cvtps_ph(kept, _MM_FROUND_TO_NEAREST_INT));
  }
  template <bool streaming>
  void apply(const Value* x, Value* y, Vec::Keep a, Vec::Keep b) const {
    eight<streaming>(x, y, a);
    eight<streaming>(x + 8, y + 8, b);
  }
};

template <class Select>
struct Brain {  // bfloat16: the even elements are group a, the odd ones group b
  using Value = uint16_t;
  static constexpr bool kInterleaved = true;
  Select select;
  explicit Brain(const Law& law) : select(law) {}
  __m256i rounded(__m256i wide, Vec::Keep keep) const {  // to nearest even, in the upper 16 bits; see element.hpp for nan
    const __m256i v = select(_mm256_castsi256_ps(wide), keep);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(v, 16), Vec::packed(1));
    return _mm256_add_epi32(_mm256_add_epi32(v, Vec::packed(0x7fff)), odd);
  }
  template <bool streaming>
  void apply(const Value* x, Value* y, Vec::Keep a, Vec::Keep b) const {
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
    const __m256i even = rounded(_mm256_slli_epi32(both, 16), a);
    const __m256i odd = rounded(_mm256_and_si256(both, Vec::packed(0xffff0000)), b);
    store<streaming>(y, _mm256_blend_epi16(_mm256_srli_epi32(even, 16), odd, 0xAA));
  }
};

struct Byte {
  using Value = uint8_t;
  static constexpr bool kInterleaved = false;
  explicit Byte(const Law&) {}
  template <bool streaming>
  void apply(const Value*, Value* y, Vec::Keep a, Vec::Keep b) const {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    store<streaming>(y, _mm_and_si128(bytes, _mm_set1_epi8(1)));
  }
};

}  // namespace

const Tiles* avx2_tiles() {
  static const Tiles table[kDtypes] = {
      tiles<Float<Scale>>, tiles<Double>,        tiles<Half<Scale>>, tiles<Brain<Scale>>,
      tiles<ComplexFloat>, tiles<ComplexDouble>, tiles<Byte>};
  return table;
}

const Tiles* avx2_affine_tiles() {  // doubles gain nothing over the portable loop
  static const Tiles table[kDtypes] = {tiles<Float<Affine>>, portable_affine_tiles()[static_cast<int>(Dtype::f64)],
                                       tiles<Half<Affine>>, tiles<Brain<Affine>>};
  return table;
}

const Run* avx2_runs() {
  static const Run table[kDtypes] = {run<Float<Scale>>, run<Double>,       run<Half<Scale>>,
                                     run<Brain<Scale>>, run<ComplexFloat>, run<ComplexDouble>};
  return table;
}

const Run* avx2_affine_runs() {
  static const Run table[kDtypes] = {run<Float<Affine>>, portable_affine_runs()[static_cast<int>(Dtype::f64)],
                                     run<Half<Affine>>, run<Brain<Affine>>};
  return table;
}

}  // namespace thinned

#else

const thinned::Tiles* thinned::avx2_tiles() { return nullptr; }
const thinned::Tiles* thinned::avx2_affine_tiles() { return nullptr; }
const thinned::Run* thinned::avx2_runs() { return nullptr; }
const thinned::Run* thinned::avx2_affine_runs() { return nullptr; }

#endif
