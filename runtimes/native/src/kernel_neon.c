/* Kernels for ARM with NEON, 64 and 32 bit: a panel is 8 output channels, two vectors of four 32-bit lanes.
 *
 * A product of a float and a weight is exact, so that a fused multiply-add rounds as the reference does. NEON on 32-bit
 * ARM flushes subnormal floats to zero, there alone f32 sums may miss such tiny values.
 */
#define LANES 8

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

static inline void transpose4(const uint32_t* from, size_t from_stride, uint32_t* to, size_t to_stride) {
  const uint32x4x2_t a = vtrnq_u32(vld1q_u32(from), vld1q_u32(from + from_stride));
  const uint32x4x2_t b = vtrnq_u32(vld1q_u32(from + 2 * from_stride), vld1q_u32(from + 3 * from_stride));
  vst1q_u32(to, vcombine_u32(vget_low_u32(a.val[0]), vget_low_u32(b.val[0])));
  vst1q_u32(to + to_stride, vcombine_u32(vget_low_u32(a.val[1]), vget_low_u32(b.val[1])));
  vst1q_u32(to + 2 * to_stride, vcombine_u32(vget_high_u32(a.val[0]), vget_high_u32(b.val[0])));
  vst1q_u32(to + 3 * to_stride, vcombine_u32(vget_high_u32(a.val[1]), vget_high_u32(b.val[1])));
}

static void transpose(const uint32_t* from, size_t from_stride, uint32_t* to, size_t to_stride, size_t rows,
                      size_t columns) {
  const size_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  for (size_t row = 0; row < whole_rows; row += 4)
    for (size_t column = 0; column < whole_columns; column += 4)
      transpose4(from + row * from_stride + column, from_stride, to + column * to_stride + row, to_stride);
  for (size_t column = 0; column < columns; ++column)
    for (size_t row = column < whole_columns ? whole_rows : 0; row < rows; ++row)
      to[column * to_stride + row] = from[row * from_stride + column];
}

static uint32_t gather_bits(const uint32_t* words) {
  const int32_t first[4] = {0, 1, 2, 3};
  int32x4_t shift = vld1q_s32(first);
  uint32x4_t bits = vdupq_n_u32(0);
  for (size_t j = 0; j < 32; j += 4, shift = vaddq_s32(shift, vdupq_n_s32(4)))
    bits = vorrq_u32(bits, vshlq_u32(vld1q_u32(words + j), shift));
  const uint32x2_t half = vorr_u32(vget_low_u32(bits), vget_high_u32(bits));
  return vget_lane_u32(half, 0) | vget_lane_u32(half, 1);
}

#include "stages.h"

enum { F32_PIXELS = 6, INT_PIXELS = 4 };
_Static_assert(EDGELM_CHUNK % F32_PIXELS == 0 && EDGELM_CHUNK % INT_PIXELS == 0, "a chunk is whole tiles");

static inline float32x4_t multiply_add(float32x4_t sum, float32x4_t w, float a) {
#if defined(__aarch64__)
  return vfmaq_n_f32(sum, w, a);
#else
  return vaddq_f32(sum, vmulq_n_f32(w, a));
#endif
}

static void tile_f32(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows, size_t steps,
                     int32_t taps, uint32_t* sums) {
  (void)taps;
  float32x4_t low[F32_PIXELS], high[F32_PIXELS];
#pragma GCC unroll 6
  for (size_t p = 0; p < F32_PIXELS; ++p) low[p] = high[p] = vdupq_n_f32(0.0f);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t at = row * row_words, end = at + steps; at < end; ++at, weights += LANES) {
      const float32x4_t w_low = vreinterpretq_f32_u32(vld1q_u32(weights));
      const float32x4_t w_high = vreinterpretq_f32_u32(vld1q_u32(weights + 4));
#pragma GCC unroll 6
      for (size_t p = 0; p < F32_PIXELS; ++p) {
        const float a = float_of(pixel[p][at]);
        low[p] = multiply_add(low[p], w_low, a);
        high[p] = multiply_add(high[p], w_high, a);
      }
    }
  }
#pragma GCC unroll 6
  for (size_t p = 0; p < F32_PIXELS; ++p) {
    vst1q_u32(sums + p * LANES, vreinterpretq_u32_f32(low[p]));
    vst1q_u32(sums + p * LANES + 4, vreinterpretq_u32_f32(high[p]));
  }
}

static inline int8x16_t bytes_of(uint32x4_t words) { return vreinterpretq_s8_u32(words); }

/* sum (4 lanes) += the four int16 products that each lane has gathered in two vectors. */
static inline void add_products(uint32_t* sum, int16x8_t first, int16x8_t second) {
  const int32x4_t a = vpaddlq_s16(first), b = vpaddlq_s16(second);
  const int32x4_t total = vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)),  //
                                       vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
  vst1q_u32(sum, vaddq_u32(vld1q_u32(sum), vreinterpretq_u32_s32(total)));
}

static void tile_i8(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows, size_t steps,
                    int32_t taps, uint32_t* sums) {
  (void)taps;
  enum { FLUSH = 32767 / 127 }; /* steps until an int16 of products may overflow */
  memset(sums, 0, INT_PIXELS * LANES * sizeof *sums);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t at = row * row_words, end = at + steps; at < end;) {
      const size_t stop = edgelm_min(end, at + FLUSH);
      int16x8_t total[INT_PIXELS][4];
#pragma GCC unroll 4
      for (size_t p = 0; p < INT_PIXELS; ++p) total[p][0] = total[p][1] = total[p][2] = total[p][3] = vdupq_n_s16(0);
      for (; at < stop; ++at, weights += LANES) {
        const int8x16_t w_low = bytes_of(vld1q_u32(weights)), w_high = bytes_of(vld1q_u32(weights + 4));
#pragma GCC unroll 4
        for (size_t p = 0; p < INT_PIXELS; ++p) {
          const int8x8_t a = vreinterpret_s8_u32(vdup_n_u32(pixel[p][at]));
          total[p][0] = vmlal_s8(total[p][0], a, vget_low_s8(w_low));
          total[p][1] = vmlal_s8(total[p][1], a, vget_high_s8(w_low));
          total[p][2] = vmlal_s8(total[p][2], a, vget_low_s8(w_high));
          total[p][3] = vmlal_s8(total[p][3], a, vget_high_s8(w_high));
        }
      }
#pragma GCC unroll 4
      for (size_t p = 0; p < INT_PIXELS; ++p) {
        add_products(sums + p * LANES, total[p][0], total[p][1]);
        add_products(sums + p * LANES + 4, total[p][2], total[p][3]);
      }
    }
  }
}

static inline uint8x16_t count_bits(uint32x4_t x) { return vcntq_u8(vreinterpretq_u8_u32(x)); }

/* sum (4 lanes) += factor times the four bytes of each lane of `bytes`. */
static inline void add_bytes(uint32_t* sum, uint8x16_t bytes, int32_t factor) {
  const uint32x4_t total = vpaddlq_u16(vpaddlq_u8(bytes));
  vst1q_u32(sum, vmlaq_n_u32(vld1q_u32(sum), total, (uint32_t)factor));
}

enum { B1_FLUSH = 255 / 8 }; /* steps until a byte of counts may overflow */

static void tile_b1(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows, size_t steps,
                    int32_t taps, uint32_t* sums) {
  for (size_t i = 0; i < INT_PIXELS * LANES; ++i) sums[i] = (uint32_t)taps;
  for (size_t row = 0; row < rows; ++row) {
    for (size_t at = row * row_words, end = at + steps; at < end;) {
      const size_t stop = edgelm_min(end, at + B1_FLUSH);
      uint8x16_t low[INT_PIXELS], high[INT_PIXELS];
#pragma GCC unroll 4
      for (size_t p = 0; p < INT_PIXELS; ++p) low[p] = high[p] = vdupq_n_u8(0);
      for (; at < stop; ++at, weights += LANES) {
        const uint32x4_t w_low = vld1q_u32(weights), w_high = vld1q_u32(weights + 4);
#pragma GCC unroll 4
        for (size_t p = 0; p < INT_PIXELS; ++p) {
          const uint32x4_t a = vdupq_n_u32(pixel[p][at]);
          low[p] = vaddq_u8(low[p], count_bits(veorq_u32(a, w_low)));
          high[p] = vaddq_u8(high[p], count_bits(veorq_u32(a, w_high)));
        }
      }
#pragma GCC unroll 4
      for (size_t p = 0; p < INT_PIXELS; ++p) {
        add_bytes(sums + p * LANES, low[p], -2);
        add_bytes(sums + p * LANES + 4, high[p], -2);
      }
    }
  }
}

static void tile_b1_masked(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows,
                           size_t steps, int32_t taps, uint32_t* sums) {
  (void)taps;
  memset(sums, 0, INT_PIXELS * LANES * sizeof *sums);
  for (size_t half = 0; half < LANES; half += 4) {
    const uint32_t* w = weights + half;
    for (size_t row = 0; row < rows; ++row) {
      for (size_t at = row * row_words, end = at + 2 * steps; at < end;) {
        const size_t stop = edgelm_min(end, at + 2 * B1_FLUSH);
        uint8x16_t both[INT_PIXELS], differ[INT_PIXELS];
#pragma GCC unroll 4
        for (size_t p = 0; p < INT_PIXELS; ++p) both[p] = differ[p] = vdupq_n_u8(0);
        for (; at < stop; at += 2, w += 2 * LANES) {
          const uint32x4_t sign = vld1q_u32(w), mask = vld1q_u32(w + LANES);
#pragma GCC unroll 4
          for (size_t p = 0; p < INT_PIXELS; ++p) {
            const uint32x4_t valid = vandq_u32(vdupq_n_u32(pixel[p][at + 1]), mask);
            const uint32x4_t other = vandq_u32(veorq_u32(vdupq_n_u32(pixel[p][at]), sign), valid);
            both[p] = vaddq_u8(both[p], count_bits(valid));
            differ[p] = vaddq_u8(differ[p], count_bits(other));
          }
        }
#pragma GCC unroll 4
        for (size_t p = 0; p < INT_PIXELS; ++p) {
          add_bytes(sums + p * LANES + half, both[p], 1);
          add_bytes(sums + p * LANES + half, differ[p], -2);
        }
      }
    }
  }
}

const edgelm_kernel edgelm_f32_neon = {LANES, F32_PIXELS, tile_f32, NULL, expand_f32, prepare, finish};
const edgelm_kernel edgelm_i8_neon = {LANES, INT_PIXELS, tile_i8, NULL, expand_i8, prepare, finish};
const edgelm_kernel edgelm_b1_neon = {LANES, INT_PIXELS, tile_b1, tile_b1_masked, NULL, prepare, finish};
