// Stands in for the compiler's header when csrc/tiles_avx512.cpp is compiled for a CPU without AVX-512: SIMDe's functions
// under Intel's names, and the five that SIMDe 0.7 lacks.
#pragma once
#undef __AVX512F__  // given on the command line, so that the file is not empty; SIMDe must not believe it
#undef __BMI2__
#if defined(__x86_64__)
#include_next <immintrin.h>
#endif
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>

#include <cstdint>
#include <cstdlib>

#undef _mm512_stream_si512
#undef _mm512_cvtph_ps
#undef _mm512_cvtps_ph
#undef _mm512_cvtepi32_epi8
#undef _pdep_u32
#define _mm512_stream_si512 emulated_stream_si512
#define _mm512_cvtph_ps emulated_cvtph_ps
#define _mm512_cvtps_ph emulated_cvtps_ph
#define _mm512_cvtepi32_epi8 emulated_cvtepi32_epi8
#define _pdep_u32 emulated_pdep_u32

static inline void emulated_stream_si512(void* to, simde__m512i v) {
  if (reinterpret_cast<uintptr_t>(to) % 64 != 0) std::abort();  // the instruction faults
  simde_mm512_storeu_si512(to, v);
}

static inline simde__m512 emulated_cvtph_ps(simde__m256i v) {
  float wide[16];
  simde_mm256_storeu_ps(wide, simde_mm256_cvtph_ps(simde_mm256_extracti128_si256(v, 0)));
  simde_mm256_storeu_ps(wide + 8, simde_mm256_cvtph_ps(simde_mm256_extracti128_si256(v, 1)));
  return simde_mm512_loadu_ps(wide);
}

static inline simde__m256i emulated_cvtps_ph(simde__m512 v, int rounding) {
  if (rounding != SIMDE_MM_FROUND_TO_NEAREST_INT) std::abort();
  float wide[16];
  simde_mm512_storeu_ps(wide, v);
  return simde_mm256_set_m128i(simde_mm256_cvtps_ph(simde_mm256_loadu_ps(wide + 8), SIMDE_MM_FROUND_TO_NEAREST_INT),
                               simde_mm256_cvtps_ph(simde_mm256_loadu_ps(wide), SIMDE_MM_FROUND_TO_NEAREST_INT));
}

static inline simde__m128i emulated_cvtepi32_epi8(simde__m512i v) {
  int32_t wide[16];
  int8_t narrow[16];
  simde_mm512_storeu_si512(wide, v);
  for (int i = 0; i < 16; ++i) narrow[i] = static_cast<int8_t>(wide[i]);
  return simde_mm_loadu_si128(reinterpret_cast<const simde__m128i*>(narrow));
}

static inline uint32_t emulated_pdep_u32(uint32_t bits, uint32_t places) {
  uint32_t result = 0;
  for (; places != 0; places &= places - 1, bits >>= 1)
    if (bits & 1) result |= places & (~places + 1);
  return result;
}
