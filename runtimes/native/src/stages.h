/* The steps around the tiles, on rows of channels: affines, quantizers, pooling. Plain loops, compiled once for each
 * instruction set by the file stages_*.c that includes stages.inc; scalar is the reference.
 *
 * n = channels of a row, count = rows, `stride` elements apart; rows are written to out, out + step bytes, ...
 */
#ifndef EDGELM_STAGES_H
#define EDGELM_STAGES_H

#include "conv.h"

/* From a float to a level: level = clip(round((x * scale + bias) * steps), low, high) + offset. */
typedef struct edgelm_quantizer {
  const float *scale, *bias; /* of the first channel of the row */
  int32_t relu;
  float steps, low, high;
  int32_t offset;
  int32_t sign_zero;
} edgelm_quantizer;

/* A sum is negative after output transform, input affine and sign where (sum < at[channel]) differs from the bit flip:
 * every step is monotone, so one whole number decides. `at` has as many bits as the sums. 16 channels a flip word. */
typedef struct edgelm_thresholds {
  const void* at;
  const uint16_t* flip;
} edgelm_thresholds;

/* What sums are. */
typedef enum edgelm_sum_kind { EDGELM_SUM_INT32, EDGELM_SUM_INT16, EDGELM_SUM_FLOAT } edgelm_sum_kind;

static inline edgelm_sum_kind edgelm_sums_of(const edgelm_conv* conv) {
  if (conv->kernel->element == 32) return EDGELM_SUM_FLOAT;
  return conv->sum_bits == 16 ? EDGELM_SUM_INT16 : EDGELM_SUM_INT32;
}

typedef struct edgelm_stages {
  /* to[column * to_stride + row] = from[row * from_stride + column]. */
  void (*transpose)(const float* from, size_t from_stride, float* to, size_t to_stride, size_t rows, size_t columns);
  /* out = x * scale + bias, then ReLU. */
  void (*affine)(const float* x, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, float* out,
                 size_t out_stride);
  /* y = sum * scale + bias, then ReLU. */
  void (*outputs)(const void* sums, size_t sums_stride, edgelm_sum_kind kind, const float* scale, const float* bias,
                  int32_t relu, size_t n, size_t count, float* y, size_t y_stride);
  /* out[i] = largest of the rows 2 i, 2 i + 1, 2 count + 2 i and 2 count + 2 i + 1. */
  void (*pool)(const float* y, size_t stride, size_t n, size_t count, float* out);
  /* sums -= what; one row. */
  void (*subtract)(void* sums, edgelm_sum_kind kind, const int32_t* what, size_t n);
  /* The sum that gives the largest output: the largest or, where scale < 0, the smallest of four. */
  void (*pool_sums)(const int32_t* sums, size_t stride, const float* scale, size_t n, size_t count, int32_t* out);
  void (*pool_sums16)(const int16_t* sums, size_t stride, const float* scale, size_t n, size_t count, int16_t* out);
  void (*levels8)(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                  size_t step);
  void (*levels16)(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                   size_t step);
  /* Bits, 1 for negative, least significant first, ceil(n / 8) bytes a row. */
  void (*signs)(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                size_t step);
  void (*thresholds)(const int32_t* sums, size_t stride, const edgelm_thresholds* t, size_t n, size_t count,
                     uint8_t* out, size_t step);
  void (*thresholds16)(const int16_t* sums, size_t stride, const edgelm_thresholds* t, size_t n, size_t count,
                       uint8_t* out, size_t step);
} edgelm_stages;

/* v = x * scale + bias as the reference rounds it, ReLU keeping NaN. */
static inline float edgelm_affine(float x, float scale, float bias, int32_t relu) {
  const float v = x * scale + bias;
  return relu && v < 0.0f ? 0.0f : v;
}

static inline int edgelm_negative(float v, int32_t sign_zero) { return sign_zero < 0 ? !(v > 0.0f) : v < 0.0f; }

#endif
