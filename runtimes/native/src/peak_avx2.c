/* Peaks of the AVX2 kernels. */
#include <immintrin.h>

#include "peak.h"

#define PIN(v) __asm__ volatile("" : "+x"(v))

#define LOOK(t) _mm256_shuffle_epi8(t, b)
#define SIGNS(s) s = _mm256_add_epi8(s, LOOK(a))
/* Two tables of bytes, added up as words whose upper bytes count on their own, too: here as often in one sum. */
#define TABLES6(s)                                  \
  __m256i v##s = _mm256_add_epi8(LOOK(a), LOOK(c)); \
  s = _mm256_add_epi16(s, v##s);                    \
  s = _mm256_add_epi16(s, _mm256_srli_epi16(v##s, 8))
#define INT16(s) s = _mm256_add_epi32(s, _mm256_madd_epi16(a, b))
#define FLOATS(s) s = _mm256_fmadd_ps(a, b, s)
/* Tables of sums lie in memory: what an addition takes from there is loaded anew each time. */
static const float entry[8] __attribute__((aligned(32)));
#define TABLES_FLOAT(s) __asm__ volatile("vaddps %1, %0, %0" : "+x"(s) : "m"(entry))
#define TABLES8(s) __asm__ volatile("vpaddw %1, %0, %0" : "+x"(s) : "m"(entry))

EDGELM_PEAK_LOOP(b1, __m256i, _mm256_setzero_si256(), 32 * 4, SIGNS)
EDGELM_PEAK_LOOP(i6, __m256i, _mm256_setzero_si256(), 2 * 32 * 4, TABLES6)
EDGELM_PEAK_LOOP(i8, __m256i, _mm256_setzero_si256(), 16 * 4, TABLES8)
EDGELM_PEAK_LOOP(r8, __m256i, _mm256_setzero_si256(), 8 * 2, INT16)
EDGELM_PEAK_LOOP(f32, __m256, _mm256_setzero_ps(), 8 * 4, TABLES_FLOAT)
EDGELM_PEAK_LOOP(r32, __m256, _mm256_setzero_ps(), 8, FLOATS)

/* The kernel for many levels flushes so often that no loop of this kind tells its peak. */
const edgelm_peaks edgelm_peaks_avx2 = {
    {[EDGELM_B1] = b1, [EDGELM_I6] = i6, [EDGELM_I8] = i8, [EDGELM_R8] = r8, [EDGELM_F32] = f32, [EDGELM_R32] = r32}};
