/* The steps around the tiles for AVX2. */
#include "transpose_avx2.h"

#define STAGES edgelm_stages_avx2
#define OWN_TRANSPOSE
#define OWN_SIGNS
#define OWN_THRESHOLDS
#define OWN_LEVELS
#include <string.h>

#include "stages.h"

/* Bits of up to eight lanes; those from `n` on are cut off. */
static inline void put(uint8_t* row, size_t at, size_t n, int mask) {
  row[at / 8] = (uint8_t)(n - at >= 8 ? mask : mask & ((1 << (n - at)) - 1));
}

static void signs(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                  size_t step) {
  const __m256 zero = _mm256_setzero_ps();
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (size_t at = 0; at < n; at += 8) {
    /* Rows have room beyond n, the affine's operands need not. */
    const __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)edgelm_min(8, n - at)), lane);
    const __m256 scale = _mm256_maskload_ps(q->scale + at, inside), bias = _mm256_maskload_ps(q->bias + at, inside);
    for (size_t i = 0; i < count; ++i) {
      __m256 v = _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(y + i * stride + at), scale), bias);
      if (q->relu) v = _mm256_andnot_ps(_mm256_cmp_ps(v, zero, _CMP_LT_OQ), v);
      const __m256 negative =
          q->sign_zero < 0 ? _mm256_cmp_ps(v, zero, _CMP_NGT_UQ) : _mm256_cmp_ps(v, zero, _CMP_LT_OQ);
      put(out + i * step, at, n, _mm256_movemask_ps(negative));
    }
  }
}

static inline __m256i ints(const int32_t* p) { return _mm256_loadu_si256((const __m256i*)(const void*)p); }

/* 32 channels at once: packing keeps the halves of vectors apart, the permutation brings them together. */
static inline void thresholds32(const int32_t* sums, size_t stride, const int32_t* at, uint32_t flip, size_t count,
                                uint8_t* out, size_t step) {
  const __m256i a = ints(at), b = ints(at + 8), c = ints(at + 16), d = ints(at + 24);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (size_t i = 0; i < count; ++i, sums += stride) {
    const __m256i low = _mm256_packs_epi32(_mm256_cmpgt_epi32(a, ints(sums)), _mm256_cmpgt_epi32(b, ints(sums + 8)));
    const __m256i high =
        _mm256_packs_epi32(_mm256_cmpgt_epi32(c, ints(sums + 16)), _mm256_cmpgt_epi32(d, ints(sums + 24)));
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
    const uint32_t bits = (uint32_t)_mm256_movemask_epi8(bytes) ^ flip;
    memcpy(out + i * step, &bits, sizeof bits);
  }
}

static void thresholds(const int32_t* sums, size_t stride, const edgelm_thresholds* t, size_t n, size_t count,
                       uint8_t* out, size_t step) {
  size_t at = 0;
  for (; at + 32 <= n; at += 32) {
    uint32_t flip;
    memcpy(&flip, t->flip + at / 16, sizeof flip);
    thresholds32(sums + at, stride, (const int32_t*)t->at + at, flip, count, out + at / 8, step);
  }
  for (; at < n; at += 8) {
    const __m256i limit = ints((const int32_t*)t->at + at);
    const int flip = t->flip[at / 16] >> at % 16 & 0xff;
    for (size_t i = 0; i < count; ++i) {
      const __m256i below = _mm256_cmpgt_epi32(limit, ints(sums + i * stride + at));
      put(out + i * step, at, n, _mm256_movemask_ps(_mm256_castsi256_ps(below)) ^ flip);
    }
  }
}

typedef struct grid {
  __m256 steps, low, high;
  __m256i offset;
} grid;

static inline grid grid_of(const edgelm_quantizer* q) {
  return (grid){_mm256_set1_ps(q->steps), _mm256_set1_ps(q->low), _mm256_set1_ps(q->high),
                _mm256_set1_epi32(q->offset)};
}

/* A ReLU is in `low` already; what is no number becomes 0. */
static inline __m256i level8(const float* y, const float* scale, const float* bias, const grid* g) {
  const __m256 affine = _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(y), _mm256_loadu_ps(scale)), _mm256_loadu_ps(bias));
  __m256 v = _mm256_mul_ps(affine, g->steps);
  v = _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q));
  v = _mm256_min_ps(_mm256_max_ps(v, g->low), g->high);
  return _mm256_add_epi32(_mm256_cvtps_epi32(v), g->offset);
}

static inline int32_t level1(float x, float scale, float bias, const edgelm_quantizer* q) {
  float v = (x * scale + bias) * q->steps;
  v = v < q->low ? q->low : v > q->high ? q->high : v;
  return (v == v ? _mm_cvtss_si32(_mm_set_ss(v)) : 0) + q->offset;
}

/* Sixteen levels in eight 16-bit lanes of either half, in order. */
static inline __m256i levels_pair(const float* y, const edgelm_quantizer* q, size_t c, const grid* g) {
  const __m256i low = level8(y + c, q->scale + c, q->bias + c, g);
  const __m256i high = level8(y + c + 8, q->scale + c + 8, q->bias + c + 8, g);
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
}

static void levels8(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                    size_t step) {
  const grid g = grid_of(q);
  for (size_t i = 0; i < count; ++i) {
    const float* x = y + i * stride;
    size_t c = 0;
    for (; c + 16 <= n; c += 16) {
      const __m256i words = levels_pair(x, q, c, &g);
      const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
      _mm_storeu_si128((__m128i*)(void*)(out + i * step + c), bytes);
    }
    for (; c < n; ++c) out[i * step + c] = (uint8_t)level1(x[c], q->scale[c], q->bias[c], q);
  }
}

static void levels16(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                     size_t step) {
  const grid g = grid_of(q);
  for (size_t i = 0; i < count; ++i) {
    const float* x = y + i * stride;
    size_t c = 0;
    for (; c + 16 <= n; c += 16)
      _mm256_storeu_si256((__m256i*)(void*)(out + i * step + 2 * c), levels_pair(x, q, c, &g));
    for (; c < n; ++c) {
      const int16_t level = (int16_t)level1(x[c], q->scale[c], q->bias[c], q);
      memcpy(out + i * step + 2 * c, &level, sizeof level);
    }
  }
}

#include "stages.inc"
