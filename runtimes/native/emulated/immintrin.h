/* AVX-512 on a machine without it: SIMDe's portable functions under the intrinsics' own names, and those that it lacks.
 *
 * For builds with -DEDGELM_EMULATE_AVX512=ON, which check the kernels' results where the instructions cannot run.
 */
#ifndef EDGELM_EMULATED_IMMINTRIN_H
#define EDGELM_EMULATED_IMMINTRIN_H

#include_next <immintrin.h>
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <stdint.h>
#include <string.h>

/* Barriers for the optimizer name registers that emulated vectors do not have. */
#define __asm__(...)

typedef uint16_t edgelm_mask16;
#define __mmask16 edgelm_mask16

static inline __m512 emulated_maskz_loadu_ps(edgelm_mask16 mask, const float* p) {
  float values[16] = {0};
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1) values[i] = p[i];
  return _mm512_loadu_ps(values);
}
#define _mm512_maskz_loadu_ps emulated_maskz_loadu_ps

static inline edgelm_mask16 emulated_cmp_ps(__m512 a, __m512 b, int predicate) {
  float x[16], y[16];
  edgelm_mask16 mask = 0;
  _mm512_storeu_ps(x, a);
  _mm512_storeu_ps(y, b);
  for (int i = 0; i < 16; ++i) {
    const int yes = predicate == _CMP_LT_OQ ? x[i] < y[i] : predicate == _CMP_NGT_UQ ? !(x[i] > y[i]) : x[i] == x[i] && y[i] == y[i];
    mask |= (edgelm_mask16)(yes << i);
  }
  return mask;
}
#undef _mm512_cmp_ps_mask
#define _mm512_cmp_ps_mask emulated_cmp_ps
#define _mm512_mask_cmp_ps_mask(mask, a, b, predicate) ((edgelm_mask16)((mask) & emulated_cmp_ps(a, b, predicate)))

static inline edgelm_mask16 emulated_cmplt_epi32(__m512i a, __m512i b) {
  int32_t x[16], y[16];
  edgelm_mask16 mask = 0;
  _mm512_storeu_si512(x, a);
  _mm512_storeu_si512(y, b);
  for (int i = 0; i < 16; ++i) mask |= (edgelm_mask16)((x[i] < y[i]) << i);
  return mask;
}
#undef _mm512_cmplt_epi32_mask
#define _mm512_cmplt_epi32_mask emulated_cmplt_epi32

static inline __m512i emulated_maskz_cvtps_epi32(edgelm_mask16 mask, __m512 a) {
  float x[16];
  int32_t y[16];
  _mm512_storeu_ps(x, a);
  for (int i = 0; i < 16; ++i) y[i] = mask >> i & 1 ? _mm_cvtss_si32(_mm_set_ss(x[i])) : 0;
  return _mm512_loadu_si512(y);
}
#undef _mm512_maskz_cvtps_epi32
#define _mm512_maskz_cvtps_epi32 emulated_maskz_cvtps_epi32

static inline void emulated_store8(void* p, edgelm_mask16 mask, __m512i a) {
  int32_t x[16];
  _mm512_storeu_si512(x, a);
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1) ((uint8_t*)p)[i] = (uint8_t)x[i];
}
#define _mm512_mask_cvtepi32_storeu_epi8 emulated_store8

static inline void emulated_store16(void* p, edgelm_mask16 mask, __m512i a) {
  int32_t x[16];
  _mm512_storeu_si512(x, a);
  for (int i = 0; i < 16; ++i) {
    const uint16_t word = (uint16_t)x[i];
    if (mask >> i & 1) memcpy((uint8_t*)p + 2 * i, &word, sizeof word);
  }
}
#define _mm512_mask_cvtepi32_storeu_epi16 emulated_store16

static inline __m256i emulated_cvtepi32_epi16(__m512i a) {
  int32_t x[16];
  int16_t y[16];
  _mm512_storeu_si512(x, a);
  for (int i = 0; i < 16; ++i) y[i] = (int16_t)x[i];
  return _mm256_loadu_si256((const __m256i*)(const void*)y);
}
#undef _mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi16 emulated_cvtepi32_epi16

static inline void emulated_mask_storeu_ps(void* p, edgelm_mask16 mask, __m512 a) {
  float x[16];
  _mm512_storeu_ps(x, a);
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1) memcpy((uint8_t*)p + 4 * i, &x[i], 4);
}
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps emulated_mask_storeu_ps

static inline __m512i emulated_srai_epi32(__m512i a, unsigned count) {
  int32_t x[16];
  _mm512_storeu_si512(x, a);
  for (int i = 0; i < 16; ++i) x[i] >>= count;
  return _mm512_loadu_si512(x);
}
#undef _mm512_srai_epi32
#define _mm512_srai_epi32 emulated_srai_epi32

static inline __m512i emulated_cvtps_epi32(__m512 a) { return emulated_maskz_cvtps_epi32(0xffff, a); }
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32 emulated_cvtps_epi32

static inline __m512i emulated_maskz_sub_epi16(uint32_t mask, __m512i a, __m512i b) {
  uint16_t x[32], y[32];
  _mm512_storeu_si512(x, a);
  _mm512_storeu_si512(y, b);
  for (int i = 0; i < 32; ++i) x[i] = mask >> i & 1 ? (uint16_t)(x[i] - y[i]) : 0;
  return _mm512_loadu_si512(x);
}
#undef _mm512_maskz_sub_epi16
#define _mm512_maskz_sub_epi16 emulated_maskz_sub_epi16

static inline void emulated_mask_storeu_epi8(void* p, uint64_t mask, __m512i a) {
  uint8_t x[64];
  _mm512_storeu_si512(x, a);
  for (int i = 0; i < 64; ++i)
    if (mask >> i & 1) ((uint8_t*)p)[i] = x[i];
}
#undef _mm512_mask_storeu_epi8
#define _mm512_mask_storeu_epi8 emulated_mask_storeu_epi8

static inline void emulated_mask_storeu_epi16(void* p, uint32_t mask, __m512i a) {
  uint16_t x[32];
  _mm512_storeu_si512(x, a);
  for (int i = 0; i < 32; ++i)
    if (mask >> i & 1) memcpy((uint8_t*)p + 2 * i, &x[i], 2);
}
#undef _mm512_mask_storeu_epi16
#define _mm512_mask_storeu_epi16 emulated_mask_storeu_epi16

static inline uint32_t emulated_cmplt_epi16_mask(__m512i a, __m512i b) {
  int16_t x[32], y[32];
  uint32_t mask = 0;
  _mm512_storeu_si512(x, a);
  _mm512_storeu_si512(y, b);
  for (int i = 0; i < 32; ++i) mask |= (uint32_t)(x[i] < y[i]) << i;
  return mask;
}
#undef _mm512_cmplt_epi16_mask
#define _mm512_cmplt_epi16_mask emulated_cmplt_epi16_mask

#endif
