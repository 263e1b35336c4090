/* The steps around the tiles for SSE4.1. */
#include <smmintrin.h>

#define STAGES edgelm_stages_sse
#define OWN_TRANSPOSE
#define OWN_SIGNS
#define OWN_THRESHOLDS
#define OWN_LEVELS
#include <string.h>

#include "stages.h"

static inline void transpose_square(const float* from, size_t from_stride, float* to, size_t to_stride) {
  __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + from_stride);
  __m128 c = _mm_loadu_ps(from + 2 * from_stride), d = _mm_loadu_ps(from + 3 * from_stride);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(to, a);
  _mm_storeu_ps(to + to_stride, b);
  _mm_storeu_ps(to + 2 * to_stride, c);
  _mm_storeu_ps(to + 3 * to_stride, d);
}

enum { SQUARE = 4 };
#include "transpose.inc"

/* One bit for each of sixteen masks of 32 bits. */
static inline unsigned bits_of(__m128i a, __m128i b, __m128i c, __m128i d) {
  return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d)));
}

/* Up to sixteen bits at channel `at`; those from n on are cut off. */
static inline void put(uint8_t* row, size_t at, size_t n, unsigned bits) {
  if (n - at < 16) bits &= (1u << (n - at)) - 1;
  row[at / 8] = (uint8_t)bits;
  if (n - at > 8) row[at / 8 + 1] = (uint8_t)(bits >> 8);
}

static inline __m128i below(const int32_t* sums, const int32_t* at, size_t i) {
  return _mm_cmplt_epi32(_mm_loadu_si128((const void*)(sums + 4 * i)), _mm_loadu_si128((const void*)(at + 4 * i)));
}

static void thresholds(const int32_t* sums, size_t stride, const edgelm_thresholds* t, size_t n, size_t count,
                       uint8_t* out, size_t step) {
  const int32_t* at = t->at;
  for (size_t c = 0; c < n; c += 16, sums += 16, at += 16) {
    for (size_t i = 0; i < count; ++i) {
      const int32_t* s = sums + i * stride;
      put(out + i * step, c, n,
          t->flip[c / 16] ^ bits_of(below(s, at, 0), below(s, at, 1), below(s, at, 2), below(s, at, 3)));
    }
  }
}

/* The affine's operands of sixteen channels. */
typedef struct block {
  float scale[16], bias[16];
} block;

static inline block block_of(const edgelm_quantizer* q, size_t at, size_t n) {
  block b = {{0}, {0}};
  memcpy(b.scale, q->scale + at, edgelm_min(16, n - at) * sizeof *b.scale);
  memcpy(b.bias, q->bias + at, edgelm_min(16, n - at) * sizeof *b.bias);
  return b;
}

/* Sixteen values of a row that has `some` left: the row itself, or a copy of its end. */
static inline const float* sixteen(const float* row, size_t some, float* room) {
  return some >= 16 ? row : memcpy(room, row, some * sizeof *row);
}

static inline __m128 affine4(const float* y, const block* b, size_t i) {
  return _mm_add_ps(_mm_mul_ps(_mm_loadu_ps(y + 4 * i), _mm_loadu_ps(b->scale + 4 * i)), _mm_loadu_ps(b->bias + 4 * i));
}

static inline __m128i negative4(const float* y, const block* b, size_t i, const edgelm_quantizer* q) {
  const __m128 zero = _mm_setzero_ps();
  __m128 v = affine4(y, b, i);
  if (q->relu) v = _mm_andnot_ps(_mm_cmplt_ps(v, zero), v);
  return _mm_castps_si128(q->sign_zero < 0 ? _mm_cmpngt_ps(v, zero) : _mm_cmplt_ps(v, zero));
}

static void signs(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                  size_t step) {
  const edgelm_quantizer local = *q;
  for (size_t at = 0; at < n; at += 16, y += 16) {
    const block b = block_of(&local, at, n);
    float room[16] = {0};
    for (size_t i = 0; i < count; ++i) {
      const float* x = sixteen(y + i * stride, n - at, room);
      put(out + i * step, at, n,
          bits_of(negative4(x, &b, 0, &local), negative4(x, &b, 1, &local), negative4(x, &b, 2, &local),
                  negative4(x, &b, 3, &local)));
    }
  }
}

/* A ReLU is in `low` already; what is no number becomes 0. */
static inline __m128i level4(const float* y, const block* b, size_t i, const edgelm_quantizer* q) {
  __m128 v = _mm_mul_ps(affine4(y, b, i), _mm_set1_ps(q->steps));
  v = _mm_and_ps(v, _mm_cmpord_ps(v, v));
  v = _mm_min_ps(_mm_max_ps(v, _mm_set1_ps(q->low)), _mm_set1_ps(q->high));
  return _mm_add_epi32(_mm_cvtps_epi32(v), _mm_set1_epi32(q->offset));
}

static inline __m128i level8(const float* y, const block* b, size_t i, const edgelm_quantizer* q) {
  return _mm_packs_epi32(level4(y, b, i, q), level4(y, b, i + 1, q));
}

static inline void store(uint8_t* out, const void* sixteen, size_t bytes, size_t whole) {
  if (bytes >= whole)
    memcpy(out, sixteen, whole);
  else
    memcpy(out, sixteen, bytes);
}

static void levels8(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                    size_t step) {
  const edgelm_quantizer local = *q;
  const __m128i byte = _mm_set1_epi16(255);
  for (size_t at = 0; at < n; at += 16, y += 16) {
    const block b = block_of(&local, at, n);
    float room[16] = {0};
    for (size_t i = 0; i < count; ++i) {
      const float* x = sixteen(y + i * stride, n - at, room);
      const __m128i low = _mm_and_si128(level8(x, &b, 0, &local), byte);
      const __m128i high = _mm_and_si128(level8(x, &b, 2, &local), byte);
      const __m128i bytes = _mm_packus_epi16(low, high);
      store(out + i * step + at, &bytes, n - at, 16);
    }
  }
}

static void levels16(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                     size_t step) {
  const edgelm_quantizer local = *q;
  for (size_t at = 0; at < n; at += 16, y += 16) {
    const block b = block_of(&local, at, n);
    float room[16] = {0};
    for (size_t i = 0; i < count; ++i) {
      const float* x = sixteen(y + i * stride, n - at, room);
      const __m128i words[2] = {level8(x, &b, 0, &local), level8(x, &b, 2, &local)};
      store(out + i * step + 2 * at, words, 2 * (n - at), 32);
    }
  }
}

#include "stages.inc"
