// Whole tiles with AVX-512F: 16 counters a group.
#include "mask.hpp"

#if defined(__AVX512F__) && defined(__BMI2__)
#include <immintrin.h>

namespace thinned {
namespace {

struct Vec {
  using Wide = __m512i;
  using Packed = __m512i;
  using Keep = __mmask16;
  static constexpr int kGroup = 16;

  static Wide wide(uint64_t v) { return _mm512_set1_epi64(static_cast<long long>(v)); }
  static Packed packed(uint32_t v) { return _mm512_set1_epi32(static_cast<int>(v)); }
  static Wide load(const uint64_t* v) { return _mm512_load_si512(v); }
  static Wide add(Wide a, Wide b) { return _mm512_add_epi64(a, b); }
  static Wide multiply(Wide a, Wide b) { return _mm512_mul_epu32(a, b); }
  static Wide down(Wide a) { return _mm512_srli_epi64(a, 32); }
  static __m512i exclusive(__m512i a, __m512i b) { return _mm512_xor_si512(a, b); }
  static __m512i exclusive(__m512i a, __m512i b, __m512i c) { return _mm512_ternarylogic_epi32(a, b, c, 0x96); }
  static Packed pack_low(Wide a, Wide b) { return pack<0x88>(a, b); }
  static Packed pack_high(Wide a, Wide b) { return pack<0xDD>(a, b); }
  static void fence() { _mm_sfence(); }

  // Keep masks of two groups, from a byte for each element: groups one after the other, or even and odd elements.
  static Keep all() { return 0xffff; }
  template <bool interleaved>
  static void decisions(const uint8_t* keep, Keep* a, Keep* b) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keep));
    if (interleaved) {
      const __m512i pairs = _mm512_cvtepu16_epi32(bytes);
      *a = _mm512_test_epi32_mask(pairs, packed(0xff));
      *b = _mm512_test_epi32_mask(pairs, packed(0xff00));
    } else {
      *a = positive(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(bytes)));
      *b = positive(_mm512_cvtepu8_epi32(_mm256_extracti128_si256(bytes, 1)));
    }
  }

  static Packed threshold(uint32_t t, int) { return packed(t); }
  static Keep keep_low(Packed w, Packed t) {
    return _mm512_cmpge_epu32_mask(_mm512_and_si512(w, packed(0xffff)), t);
  }
  static Keep keep_high(Packed w, Packed t) { return _mm512_cmpge_epu32_mask(_mm512_srli_epi32(w, 16), t); }
  static Keep keep_all(Packed w, Packed t) { return _mm512_cmpge_epu32_mask(w, t); }

 private:
  static Keep positive(__m512i v) { return _mm512_test_epi32_mask(v, v); }
  template <int order>
  static Packed pack(Wide a, Wide b) {
    return _mm512_castps_si512(_mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), order));
  }
};

}  // namespace
}  // namespace thinned

#include "tiles_vector.hpp"

namespace thinned {
namespace {

template <bool streaming>
inline void store(void* y, __m512i v) {
  streaming ? _mm512_stream_si512(static_cast<__m512i*>(y), v) : _mm512_storeu_si512(y, v);
}
template <bool streaming>
inline void store(void* y, __m256i v) {
  streaming ? _mm256_stream_si256(static_cast<__m256i*>(y), v) : _mm256_storeu_si256(static_cast<__m256i*>(y), v);
}
inline __mmask8 first_half(Vec::Keep keep) { return static_cast<__mmask8>(keep); }
inline __mmask8 second_half(Vec::Keep keep) { return static_cast<__mmask8>(keep >> 8); }

struct Float {
  using Value = float;
  static constexpr bool kInterleaved = false;
  __m512 scale;
  explicit Float(const Law& law) : scale(_mm512_set1_ps(static_cast<float>(law.scale))) {}
  template <bool streaming>
  void sixteen(const float* x, float* y, Vec::Keep keep) const {
    store<streaming>(y, _mm512_castps_si512(_mm512_maskz_mul_ps(keep, _mm512_loadu_ps(x), scale)));
  }
  template <bool streaming>
  void apply(const float* x, float* y, Vec::Keep a, Vec::Keep b) const {
    sixteen<streaming>(x, y, a);
    sixteen<streaming>(x + 16, y + 16, b);
  }
};

struct Double {
  using Value = double;
  static constexpr bool kInterleaved = false;
  __m512d scale;
  explicit Double(const Law& law) : scale(_mm512_set1_pd(law.scale)) {}
  template <bool streaming>
  void eight(const double* x, double* y, __mmask8 keep) const {
    store<streaming>(y, _mm512_castpd_si512(_mm512_maskz_mul_pd(keep, _mm512_loadu_pd(x), scale)));
  }
  template <bool streaming>
  void apply(const double* x, double* y, Vec::Keep a, Vec::Keep b) const {
    eight<streaming>(x, y, first_half(a));
    eight<streaming>(x + 8, y + 8, second_half(a));
    eight<streaming>(x + 16, y + 16, first_half(b));
    eight<streaming>(x + 24, y + 24, second_half(b));
  }
};

struct ComplexFloat {
  struct Value { float re, im; };
  static constexpr bool kInterleaved = false;
  __m512 scale;
  explicit ComplexFloat(const Law& law) : scale(_mm512_set1_ps(static_cast<float>(law.scale))) {}
  template <bool streaming>
  void eight(const Value* x, Value* y, __mmask8 keep) const {
    const __m512i v = _mm512_castps_si512(_mm512_mul_ps(_mm512_loadu_ps(&x->re), scale));
    store<streaming>(y, _mm512_maskz_mov_epi64(keep, v));
  }
  template <bool streaming>
  void apply(const Value* x, Value* y, Vec::Keep a, Vec::Keep b) const {
    eight<streaming>(x, y, first_half(a));
    eight<streaming>(x + 8, y + 8, second_half(a));
    eight<streaming>(x + 16, y + 16, first_half(b));
    eight<streaming>(x + 24, y + 24, second_half(b));
  }
};

struct ComplexDouble {
  struct Value { double re, im; };
  static constexpr bool kInterleaved = false;
  __m512d scale;
  explicit ComplexDouble(const Law& law) : scale(_mm512_set1_pd(law.scale)) {}
  template <bool streaming>
  void four(const Value* x, Value* y, unsigned keep) const {  // each bit serves a real and an imaginary part
    const __mmask8 parts = static_cast<__mmask8>(3 * _pdep_u32(keep, 0x55));
    store<streaming>(y, _mm512_castpd_si512(_mm512_maskz_mul_pd(parts, _mm512_loadu_pd(&x->re), scale)));
  }
  template <bool streaming>
  void sixteen(const Value* x, Value* y, unsigned keep) const {
    for (int i = 0; i < 4; ++i) four<streaming>(x + 4 * i, y + 4 * i, (keep >> (4 * i)) & 15);
  }
  template <bool streaming>
  void apply(const Value* x, Value* y, Vec::Keep a, Vec::Keep b) const {
    sixteen<streaming>(x, y, a);
    sixteen<streaming>(x + 16, y + 16, b);
  }
};

struct Half {
  using Value = uint16_t;
  static constexpr bool kInterleaved = false;
  __m512 scale;
  explicit Half(const Law& law) : scale(_mm512_set1_ps(static_cast<float>(law.scale))) {}
  template <bool streaming>
  void sixteen(const Value* x, Value* y, Vec::Keep keep) const {
    const __m512 wide = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
    store<streaming>(y, _mm512_cvtps_ph(_mm512_maskz_mul_ps(keep, wide, scale), _MM_FROUND_TO_NEAREST_INT));
  }
  template <bool streaming>
  void apply(const Value* x, Value* y, Vec::Keep a, Vec::Keep b) const {
    sixteen<streaming>(x, y, a);
    sixteen<streaming>(x + 16, y + 16, b);
  }
};

struct Brain {  // bfloat16: the even elements are group a, the odd ones group b
  using Value = uint16_t;
  static constexpr bool kInterleaved = true;
  __m512 scale;
  explicit Brain(const Law& law) : scale(_mm512_set1_ps(static_cast<float>(law.scale))) {}
  __m512i rounded(__m512i wide, Vec::Keep keep) const {  // to nearest even, in the upper 16 bits; see element.hpp for nan
    const __m512i v = _mm512_castps_si512(_mm512_maskz_mul_ps(keep, _mm512_castsi512_ps(wide), scale));
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(v, 16), Vec::packed(1));
    return _mm512_add_epi32(_mm512_add_epi32(v, Vec::packed(0x7fff)), odd);
  }
  template <bool streaming>
  void apply(const Value* x, Value* y, Vec::Keep a, Vec::Keep b) const {
    const __m512i both = _mm512_loadu_si512(x), upper = Vec::packed(0xffff0000);
    const __m512i even = rounded(_mm512_slli_epi32(both, 16), a), odd = rounded(_mm512_and_si512(both, upper), b);
    store<streaming>(y, _mm512_or_si512(_mm512_srli_epi32(even, 16), _mm512_and_si512(odd, upper)));
  }
};

struct Byte {
  using Value = uint8_t;
  static constexpr bool kInterleaved = false;
  explicit Byte(const Law&) {}
  template <bool streaming>
  void apply(const Value*, Value* y, Vec::Keep a, Vec::Keep b) const {
    const __m128i first = _mm512_cvtepi32_epi8(_mm512_maskz_set1_epi32(a, 1));
    const __m128i second = _mm512_cvtepi32_epi8(_mm512_maskz_set1_epi32(b, 1));
    store<streaming>(y, _mm256_set_m128i(second, first));
  }
};

}  // namespace

const Tiles* avx512_tiles() {
  static const Tiles table[kDtypes] = {tiles<Float>,        tiles<Double>,        tiles<Half>, tiles<Brain>,
                                       tiles<ComplexFloat>, tiles<ComplexDouble>, tiles<Byte>};
  return table;
}

const Run* avx512_runs() {
  static const Run table[kDtypes] = {run<Float>, run<Double>, run<Half>, run<Brain>, run<ComplexFloat>, run<ComplexDouble>};
  return table;
}

}  // namespace thinned

#else

const thinned::Tiles* thinned::avx512_tiles() { return nullptr; }
const thinned::Run* thinned::avx512_runs() { return nullptr; }

#endif
