/* Float activations with low-bit weights on AVX2 (f32). A permutation of floats is too slow here to be a table, but an
 * addition takes an operand from the level-1 cache for nothing. */
#include <immintrin.h>
#include <stdint.h>

typedef float value;
typedef __m256 vec;
#define WIDE 32
#define STEP 8
#define NARROW 0
enum { VALUES = 8, LOADED = 1 };

static inline vec load(const value* p) { return _mm256_loadu_ps(p); }
static inline void store(value* p, vec v) { _mm256_store_ps(p, v); }
static inline vec add(vec a, vec b) { return _mm256_add_ps(a, b); }
static inline vec subtract(vec a, vec b) { return _mm256_sub_ps(a, b); }
static inline vec negative(vec a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
static inline vec half(vec a) { return _mm256_mul_ps(a, _mm256_set1_ps(0.5f)); }

#include "sum_tables.inc"

extern const struct edgelm_stages edgelm_stages_avx2;

static inline void load_channels(const edgelm_conv* conv, const uint8_t* const* x, size_t group,
                                 vec out[LOADED][GROUPED]) {
  const size_t C = conv->attrs.in_channels, at = group * GROUPED * sizeof(value), some = C - group * GROUPED;
  __m256 row[4];
  if (some >= GROUPED) {
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i)
      row[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps((const float*)(const void*)(x[i] + at))),
                                    _mm_loadu_ps((const float*)(const void*)(x[i + 4] + at)), 1);
  } else {
    const __m128i mask = _mm_cmpgt_epi32(_mm_set1_epi32((int32_t)some), _mm_setr_epi32(0, 1, 2, 3));
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i)
      row[i] =
          _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_maskload_ps((const float*)(const void*)(x[i] + at), mask)),
                               _mm_maskload_ps((const float*)(const void*)(x[i + 4] + at), mask), 1);
  }
  const __m256 a = _mm256_unpacklo_ps(row[0], row[1]), b = _mm256_unpackhi_ps(row[0], row[1]);
  const __m256 c = _mm256_unpacklo_ps(row[2], row[3]), d = _mm256_unpackhi_ps(row[2], row[3]);
  out[0][0] = _mm256_shuffle_ps(a, c, 0x44);
  out[0][1] = _mm256_shuffle_ps(a, c, 0xee);
  out[0][2] = _mm256_shuffle_ps(b, d, 0x44);
  out[0][3] = _mm256_shuffle_ps(b, d, 0xee);
}

const edgelm_kernel edgelm_f32_avx2 = {.element = 32,
                                       .macs_per_us = 65000,
                                       .lay_out = lay_out,
                                       .pack = pack,
                                       .expand = expand,
                                       .stages = &edgelm_stages_avx2};
