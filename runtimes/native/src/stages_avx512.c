/* The steps around the tiles for AVX-512. */
#include <string.h>

#include "stages.h"
#define transpose transpose_any
#include "transpose_avx2.h"
#undef transpose

#define STAGES edgelm_stages_avx512
#define OWN_TRANSPOSE
#define OWN_SIGNS
#define OWN_THRESHOLDS
#define OWN_THRESHOLDS16
#define OWN_LEVELS
#define OWN_AFFINE

/* Three planes, an image's colours: sixteen pixels in three registers. */
static void transpose(const float* from, size_t from_stride, float* to, size_t to_stride, size_t rows, size_t columns) {
  size_t done = 0;
  if (rows == 3 && to_stride == 3) {
    /* Lane i of the k-th register is colour (16 k + i) % 3 of pixel (16 k + i) / 3; from 16 on is the second operand.
     */
    const __m512i red_green[3] = {_mm512_setr_epi32(0, 16, 0, 1, 17, 0, 2, 18, 0, 3, 19, 0, 4, 20, 0, 5),
                                  _mm512_setr_epi32(21, 0, 6, 22, 0, 7, 23, 0, 8, 24, 0, 9, 25, 0, 10, 26),
                                  _mm512_setr_epi32(0, 11, 27, 0, 12, 28, 0, 13, 29, 0, 14, 30, 0, 15, 31, 0)};
    const __m512i blue[3] = {_mm512_setr_epi32(0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15),
                             _mm512_setr_epi32(0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15),
                             _mm512_setr_epi32(26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31)};
    for (; done + 16 <= columns; done += 16) {
      const __m512 r = _mm512_loadu_ps(from + done), g = _mm512_loadu_ps(from + from_stride + done);
      const __m512 b = _mm512_loadu_ps(from + 2 * from_stride + done);
      for (size_t k = 0; k < 3; ++k) {
        const __m512 two = _mm512_permutex2var_ps(r, red_green[k], g);
        _mm512_storeu_ps(to + 3 * done + 16 * k, _mm512_permutex2var_ps(two, blue[k], b));
      }
    }
  }
  transpose_any(from + done, from_stride, to + done * to_stride, to_stride, rows, columns - done);
}

static inline __mmask16 inside(size_t n, size_t at) {
  return n - at >= 16 ? 0xffff : (__mmask16)((1u << (n - at)) - 1);
}

/* Sixteen bits, or the one or two bytes that the row has left. */
static inline void put(uint8_t* row, size_t at, size_t n, uint16_t bits) {
  if (n - at > 8)
    memcpy(row + at / 8, &bits, sizeof bits);
  else
    row[at / 8] = (uint8_t)bits;
}

static inline __m512 affine16(const float* y, __m512 scale, __m512 bias) {
  return _mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(y), scale), bias);
}

/* Values come from maps that the level-2 cache does not hold, a few pixels at a time; the next pixels are fetched. */
static void affine(const float* x, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, float* out,
                   size_t out_stride) {
  const __m512 zero = _mm512_setzero_ps();
  const size_t ahead = count * stride;
  for (size_t at = 0; at < n; at += 16) {
    const size_t left = n - at;
    const __mmask16 some = inside(n, at), relu = q->relu ? 0xffff : 0;
    const __m512 scale = _mm512_loadu_ps(q->scale + at), bias = _mm512_loadu_ps(q->bias + at);
    const float* from = x + at;
    float* to = out + at;
    for (size_t i = 0; i < count; ++i, from += stride, to += out_stride) {
      _mm_prefetch((const char*)(from + ahead), _MM_HINT_T0);
      const __m512 v = affine16(from, scale, bias);
      const __m512 y = _mm512_mask_mov_ps(v, _mm512_mask_cmp_ps_mask(relu, v, zero, _CMP_LT_OQ), zero);
      if (left >= 16)
        _mm512_storeu_ps(to, y);
      else
        _mm512_mask_storeu_ps(to, some, y);
    }
  }
}

static void signs(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                  size_t step) {
  const __m512 zero = _mm512_setzero_ps();
  for (size_t at = 0; at < n; at += 16) {
    const __mmask16 some = inside(n, at);
    const __m512 scale = _mm512_maskz_loadu_ps(some, q->scale + at), bias = _mm512_maskz_loadu_ps(some, q->bias + at);
    for (size_t i = 0; i < count; ++i) {
      const __m512 v = affine16(y + i * stride + at, scale, bias);
      __mmask16 negative = _mm512_mask_cmp_ps_mask(some, v, zero, _CMP_LT_OQ);
      if (q->relu) negative = 0; /* what was negative is 0 now */
      if (q->sign_zero < 0) negative = _mm512_mask_cmp_ps_mask(some, v, zero, _CMP_NGT_UQ);
      put(out + i * step, at, n, negative);
    }
  }
}

static void thresholds(const int32_t* sums, size_t stride, const edgelm_thresholds* t, size_t n, size_t count,
                       uint8_t* out, size_t step) {
  for (size_t at = 0; at < n; at += 16) {
    const __m512i limit = _mm512_loadu_si512((const int32_t*)t->at + at);
    const uint16_t flip = t->flip[at / 16], some = inside(n, at);
    for (size_t i = 0; i < count; ++i) {
      const uint16_t below = _mm512_cmplt_epi32_mask(_mm512_loadu_si512(sums + i * stride + at), limit);
      put(out + i * step, at, n, (below ^ flip) & some);
    }
  }
}

/* Thirty-two channels of sixteen-bit sums make a word of the image. */
static void thresholds16(const int16_t* sums, size_t stride, const edgelm_thresholds* t, size_t n, size_t count,
                         uint8_t* out, size_t step) {
  for (size_t at = 0; at < n; at += 32) {
    const __m512i limit = _mm512_loadu_si512((const int16_t*)t->at + at);
    const size_t left = edgelm_min(n - at, 32);
    const uint32_t some = 0xffffffffu >> (32 - left);
    uint32_t flip;
    memcpy(&flip, t->flip + at / 16, sizeof flip);
    const int16_t* from = sums + at;
    uint8_t* to = out + at / 8;
    if (left == 32) {
      for (size_t i = 0; i < count; ++i, from += stride, to += step) {
        const uint32_t bits = _mm512_cmplt_epi16_mask(_mm512_loadu_si512(from), limit) ^ flip;
        memcpy(to, &bits, sizeof bits);
      }
      continue;
    }
    for (size_t i = 0; i < count; ++i, from += stride, to += step) {
      const uint32_t bits = (_mm512_cmplt_epi16_mask(_mm512_loadu_si512(from), limit) ^ flip) & some;
      memcpy(to, &bits, (left + 7) / 8);
    }
  }
}

typedef struct grid {
  __m512 steps, high;
  __m512i low, offset; /* sixteen bits each */
  int nan;             /* 1: what is no number is not below `low` */
} grid;

static inline grid grid_of(const edgelm_quantizer* q) {
  return (grid){_mm512_set1_ps(q->steps), _mm512_set1_ps(q->high), _mm512_set1_epi16((int16_t)q->low),
                _mm512_set1_epi16((int16_t)q->offset), q->low < 0.0f};
}

/* Sixteen levels that may still be too low. A minimum hands on its second operand where that is no number, which
 * becomes the lowest integer. */
static inline __m512i level16(const float* y, __m512 scale, __m512 bias, const grid* g) {
  const __m512 v = _mm512_min_ps(g->high, _mm512_mul_ps(affine16(y, scale, bias), g->steps));
  return g->nan ? _mm512_maskz_cvtps_epi32(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v) : _mm512_cvtps_epi32(v);
}

/* The affine of 32 channels; operands have room beyond the last channel. */
typedef struct affine32 {
  __m512 scale[2], bias[2];
} affine32;

static inline affine32 affine_of(const edgelm_quantizer* q, size_t at) {
  return (affine32){{_mm512_loadu_ps(q->scale + at), _mm512_loadu_ps(q->scale + at + 16)},
                    {_mm512_loadu_ps(q->bias + at), _mm512_loadu_ps(q->bias + at + 16)}};
}

/* 32 levels of sixteen bits; packing takes four of the first vector, four of the second, and so on. */
static inline __m512i level32(const float* y, const affine32* a, const grid* g) {
  const __m512i words =
      _mm512_packs_epi32(level16(y, a->scale[0], a->bias[0], g), level16(y + 16, a->scale[1], a->bias[1], g));
  return _mm512_add_epi16(_mm512_max_epi16(words, g->low), g->offset);
}

static void levels8(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                    size_t step) {
  const grid g = grid_of(q);
  /* Dwords of 64 packed bytes: 0 4 8 12 are the first sixteen channels, 1 5 9 13 the next ones, and so on. */
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (size_t at = 0; at < n; at += 64) {
    const affine32 a = affine_of(q, at), b = n - at > 32 ? affine_of(q, at + 32) : a;
    const float* from = y + at;
    uint8_t* to = out + at;
    const size_t left = n - at;
    const __mmask64 some = left >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
    for (size_t i = 0; i < count; ++i, from += stride, to += step) {
      const __m512i low = level32(from, &a, &g), high = left > 32 ? level32(from + 32, &b, &g) : low;
      const __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
      if (left >= 64)
        _mm512_storeu_si512(to, bytes);
      else if (left == 32)
        _mm256_storeu_si256((__m256i*)(void*)to, _mm512_castsi512_si256(bytes));
      else
        _mm512_mask_storeu_epi8(to, some, bytes);
    }
  }
}

static void levels16(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                     size_t step) {
  const grid g = grid_of(q);
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  for (size_t at = 0; at < n; at += 32) {
    const affine32 a = affine_of(q, at);
    const float* from = y + at;
    uint8_t* to = out + 2 * at;
    const size_t left = n - at;
    const __mmask32 some = left >= 32 ? ~(__mmask32)0 : ((__mmask32)1 << left) - 1;
    for (size_t i = 0; i < count; ++i, from += stride, to += step) {
      const __m512i words = _mm512_permutexvar_epi64(order, level32(from, &a, &g));
      if (left >= 32)
        _mm512_storeu_si512(to, words);
      else
        _mm512_mask_storeu_epi16(to, some, words);
    }
  }
}

#include "stages.inc"
