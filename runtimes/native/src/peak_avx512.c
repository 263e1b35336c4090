/* Peaks of the AVX-512 kernels. */
#include <immintrin.h>

#include "peak.h"

#define PIN(v) __asm__ volatile("" : "+v"(v))

#define SIGNS(s) s = _mm512_add_epi32(s, _mm512_popcnt_epi32(_mm512_xor_si512(a, b)))
#define ONES8 _mm512_set1_epi8(1)
#define ONES16 _mm512_set1_epi16(1)
#define LOOK8(t) _mm512_permutexvar_epi8(b, t)
#define LOOK16(t) _mm512_permutexvar_epi16(b, t)
/* Two tables for each, as where two entries fit their bytes. */
#define TABLES6(s) s = _mm512_dpbusd_epi32(s, _mm512_add_epi8(LOOK8(a), LOOK8(c)), ONES8)
#define TABLES8(s)                                                        \
  s = _mm512_dpbusd_epi32(s, _mm512_add_epi8(LOOK8(a), LOOK8(c)), ONES8); \
  PIN(a);                                                                 \
  PIN(c);                                                                 \
  s = _mm512_dpbusd_epi32(s, _mm512_add_epi8(LOOK8(a), LOOK8(c)), ONES8)
#define TABLES16(s) s = _mm512_dpwssd_epi32(s, _mm512_add_epi16(LOOK16(a), LOOK16(c)), ONES16)
#define INT8(s) s = _mm512_dpbusd_epi32(s, a, b)
#define LOOK_FLOAT(t) _mm512_permutexvar_ps(_mm512_castps_si512(b), t)
#define TABLES_FLOAT(s) s = _mm512_fmadd_ps(_mm512_add_ps(LOOK_FLOAT(a), LOOK_FLOAT(c)), _mm512_set1_ps(1.0f), s)
#define FLOATS(s) s = _mm512_fmadd_ps(a, b, s)

EDGELM_PEAK_LOOP(b1, __m512i, _mm512_setzero_si512(), 16 * 32, SIGNS)
EDGELM_PEAK_LOOP(i6, __m512i, _mm512_setzero_si512(), 2 * 16 * 16, TABLES6)
EDGELM_PEAK_LOOP(i8, __m512i, _mm512_setzero_si512(), 2 * 16 * 16, TABLES8)
EDGELM_PEAK_LOOP(i16, __m512i, _mm512_setzero_si512(), 2 * 16 * 8, TABLES16)
EDGELM_PEAK_LOOP(r8, __m512i, _mm512_setzero_si512(), 16 * 4, INT8)
EDGELM_PEAK_LOOP(f32, __m512, _mm512_setzero_ps(), 2 * 16 * 4, TABLES_FLOAT)
EDGELM_PEAK_LOOP(r32, __m512, _mm512_setzero_ps(), 16, FLOATS)

const edgelm_peaks edgelm_peaks_avx512 = {{[EDGELM_B1] = b1,
                                           [EDGELM_I6] = i6,
                                           [EDGELM_I8] = i8,
                                           [EDGELM_I16] = i16,
                                           [EDGELM_R8] = r8,
                                           [EDGELM_F32] = f32,
                                           [EDGELM_R32] = r32}};
