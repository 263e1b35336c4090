/* The steps around the tiles for NEON. Floats on 32-bit ARM stay plain loops: its vectors flush subnormal numbers to
 * zero, which would change signs. */
#include <arm_neon.h>

#define STAGES edgelm_stages_neon
#define OWN_TRANSPOSE
#define OWN_THRESHOLDS
#define OWN_THRESHOLDS16
#if !defined(__arm__)
#define OWN_OUTPUTS
#define OWN_SIGNS
#define OWN_LEVELS
#endif
#include <string.h>

#include "stages.h"

static inline void transpose_square(const float* from, size_t from_stride, float* to, size_t to_stride) {
  const float32x4x2_t a = vzipq_f32(vld1q_f32(from), vld1q_f32(from + 2 * from_stride));
  const float32x4x2_t b = vzipq_f32(vld1q_f32(from + from_stride), vld1q_f32(from + 3 * from_stride));
  for (size_t i = 0; i < 2; ++i) {
    const float32x4x2_t columns = vzipq_f32(a.val[i], b.val[i]);
    vst1q_f32(to + 2 * i * to_stride, columns.val[0]);
    vst1q_f32(to + (2 * i + 1) * to_stride, columns.val[1]);
  }
}

enum { SQUARE = 4 };
#include "transpose.inc"

/* One bit for each of sixteen masks of 32 bits. */
static inline unsigned bits_of(uint32x4_t a, uint32x4_t b, uint32x4_t c, uint32x4_t d) {
  static const uint8_t places[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x8_t low = vmovn_u16(vcombine_u16(vmovn_u32(a), vmovn_u32(b)));
  const uint8x8_t high = vmovn_u16(vcombine_u16(vmovn_u32(c), vmovn_u32(d)));
  const uint8x8_t place = vld1_u8(places);
  const uint8x8_t pairs = vpadd_u8(vand_u8(low, place), vand_u8(high, place));
  const uint8x8_t fours = vpadd_u8(pairs, pairs);
  return vget_lane_u16(vreinterpret_u16_u8(vpadd_u8(fours, fours)), 0);
}

/* Up to sixteen bits at channel `at`; those from n on are cut off. */
static inline void put(uint8_t* row, size_t at, size_t n, unsigned bits) {
  if (n - at < 16) bits &= (1u << (n - at)) - 1;
  row[at / 8] = (uint8_t)bits;
  if (n - at > 8) row[at / 8 + 1] = (uint8_t)(bits >> 8);
}

static void thresholds(const int32_t* sums, size_t stride, const edgelm_thresholds* t, size_t n, size_t count,
                       uint8_t* out, size_t step) {
  const int32_t* limits = t->at;
  for (size_t at = 0; at < n; at += 16, sums += 16, limits += 16) {
    const int32x4_t a = vld1q_s32(limits), b = vld1q_s32(limits + 4), c = vld1q_s32(limits + 8),
                    d = vld1q_s32(limits + 12);
    const unsigned flip = t->flip[at / 16];
    for (size_t i = 0; i < count; ++i) {
      const int32_t* s = sums + i * stride;
      put(out + i * step, at, n,
          flip ^ bits_of(vcltq_s32(vld1q_s32(s), a), vcltq_s32(vld1q_s32(s + 4), b), vcltq_s32(vld1q_s32(s + 8), c),
                         vcltq_s32(vld1q_s32(s + 12), d)));
    }
  }
}

static inline uint8x8_t negative8(const int16_t* sums, const int16_t* limits) {
  return vmovn_u16(vcltq_s16(vld1q_s16(sums), vld1q_s16(limits)));
}

/* One bit for each of 32 masks of 8 bits. */
static inline uint32_t bits32_of(const uint8x8_t* masks) {
  static const uint8_t places[8] = {1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x8_t place = vld1_u8(places);
  const uint8x8_t low = vpadd_u8(vand_u8(masks[0], place), vand_u8(masks[1], place));
  const uint8x8_t high = vpadd_u8(vand_u8(masks[2], place), vand_u8(masks[3], place));
  const uint8x8_t fours = vpadd_u8(low, high);
  return vget_lane_u32(vreinterpret_u32_u8(vpadd_u8(fours, fours)), 0);
}

static void thresholds16(const int16_t* sums, size_t stride, const edgelm_thresholds* t, size_t n, size_t count,
                         uint8_t* out, size_t step) {
  const int16_t* limits = t->at;
  size_t at = 0;
  for (; at + 32 <= n; at += 32, sums += 32, limits += 32) {
    const uint32_t flip = t->flip[at / 16] | (uint32_t)t->flip[at / 16 + 1] << 16;
    for (size_t i = 0; i < count; ++i) {
      const int16_t* s = sums + i * stride;
      uint8x8_t masks[4];
      for (size_t k = 0; k < 4; ++k) masks[k] = negative8(s + 8 * k, limits + 8 * k);
      const uint32_t bits = flip ^ bits32_of(masks);
      memcpy(out + i * step + at / 8, &bits, sizeof bits);
    }
  }
  for (; at < n; at += 16, sums += 16, limits += 16) {
    for (size_t i = 0; i < count; ++i) {
      const int16_t* s = sums + i * stride;
      const uint8x8_t masks[4] = {negative8(s, limits), negative8(s + 8, limits + 8)};
      put(out + i * step, at, n, t->flip[at / 16] ^ bits32_of(masks));
    }
  }
}

#if !defined(__arm__)
/* An affine of sixteen channels. */
typedef struct block {
  float32x4_t scale[4], bias[4];
} block;

static inline block block_of(const float* scale, const float* bias, size_t at, size_t n) {
  float room[2][16] = {{0}, {0}};
  memcpy(room[0], scale + at, edgelm_min(16, n - at) * sizeof *scale);
  memcpy(room[1], bias + at, edgelm_min(16, n - at) * sizeof *bias);
  block b;
  for (size_t i = 0; i < 4; ++i) {
    b.scale[i] = vld1q_f32(room[0] + 4 * i);
    b.bias[i] = vld1q_f32(room[1] + 4 * i);
  }
  return b;
}

static inline float32x4_t affine4(float32x4_t v, const block* b, size_t i) {
  return vaddq_f32(vmulq_f32(v, b->scale[i]), b->bias[i]);
}

/* ReLU, which keeps what is no number and, unlike a maximum, the sign of zero. */
static inline float32x4_t cut(float32x4_t v, const int relu) {
  const uint32x4_t below = vcltq_f32(v, vdupq_n_f32(0.0f));
  return relu ? vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), below)) : v;
}

/* The rest of a row, which has less than sixteen channels, goes by a copy: loops over whole blocks call nothing, and so
 * keep their affine in registers. */
static inline const void* copy_of(const void* row, size_t some, size_t element, void* room) {
  return memcpy(room, row, some * element);
}

static inline float32x4_t sum4(const void* sums, const edgelm_sum_kind kind, size_t i) {
  if (kind == EDGELM_SUM_FLOAT) return vld1q_f32((const float*)sums + 4 * i);
  if (kind == EDGELM_SUM_INT32) return vcvtq_f32_s32(vld1q_s32((const int32_t*)sums + 4 * i));
  return vcvtq_f32_s32(vmovl_s16(vld1_s16((const int16_t*)sums + 4 * i)));
}

#define INLINE static inline __attribute__((always_inline))

INLINE void output(const void* sums, const edgelm_sum_kind kind, const block* b, const int relu, float* y) {
  for (size_t k = 0; k < 4; ++k) vst1q_f32(y + 4 * k, cut(affine4(sum4(sums, kind, k), b, k), relu));
}

INLINE void outputs_of(const uint8_t* sums, size_t sums_bytes, const edgelm_sum_kind kind, const block* b,
                       const int relu, size_t some, size_t count, float* y, size_t y_stride) {
  if (some >= 16) {
    const block local = *b;
    for (size_t i = 0; i < count; ++i, sums += sums_bytes, y += y_stride) output(sums, kind, &local, relu, y);
    return;
  }
  float from[16] = {0}, to[16];
  for (size_t i = 0; i < count; ++i, sums += sums_bytes, y += y_stride) {
    output(copy_of(sums, some, kind == EDGELM_SUM_INT16 ? 2 : 4, from), kind, b, relu, to);
    memcpy(y, to, some * sizeof *y);
  }
}

static void outputs(const void* sums, size_t sums_stride, edgelm_sum_kind kind, const float* scale, const float* bias,
                    int32_t relu, size_t n, size_t count, float* y, size_t y_stride) {
  const size_t element = kind == EDGELM_SUM_INT16 ? 2 : 4, bytes = sums_stride * element;
  for (size_t at = 0; at < n; at += 16) {
    const block b = block_of(scale, bias, at, n);
    const uint8_t* from = (const uint8_t*)sums + at * element;
#define OUTPUTS(kind, relu) outputs_of(from, bytes, kind, &b, relu, n - at, count, y + at, y_stride)
    if (kind == EDGELM_SUM_FLOAT && relu)
      OUTPUTS(EDGELM_SUM_FLOAT, 1);
    else if (kind == EDGELM_SUM_FLOAT)
      OUTPUTS(EDGELM_SUM_FLOAT, 0);
    else if (kind == EDGELM_SUM_INT32 && relu)
      OUTPUTS(EDGELM_SUM_INT32, 1);
    else if (kind == EDGELM_SUM_INT32)
      OUTPUTS(EDGELM_SUM_INT32, 0);
    else if (relu)
      OUTPUTS(EDGELM_SUM_INT16, 1);
    else
      OUTPUTS(EDGELM_SUM_INT16, 0);
  }
}

static inline uint32x4_t negative4(const float* y, const block* b, size_t i, const edgelm_quantizer* q) {
  const float32x4_t zero = vdupq_n_f32(0.0f), v = cut(affine4(vld1q_f32(y + 4 * i), b, i), q->relu);
  return q->sign_zero < 0 ? vmvnq_u32(vcgtq_f32(v, zero)) : vcltq_f32(v, zero);
}

static void signs(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                  size_t step) {
  const edgelm_quantizer local = *q;
  for (size_t at = 0; at < n; at += 16, y += 16) {
    const block b = block_of(local.scale, local.bias, at, n);
    float room[16] = {0};
    for (size_t i = 0; i < count; ++i) {
      const float* x = n - at >= 16 ? y + i * stride : copy_of(y + i * stride, n - at, sizeof *y, room);
      put(out + i * step, at, n,
          bits_of(negative4(x, &b, 0, &local), negative4(x, &b, 1, &local), negative4(x, &b, 2, &local),
                  negative4(x, &b, 3, &local)));
    }
  }
}

/* The grid in words of sixteen bits: levels are cut off as whole numbers, which vectors do faster. */
typedef struct grid {
  float32x4_t steps;
  int16x8_t low, high, offset;
} grid;

static inline grid grid_of(const edgelm_quantizer* q) {
  return (grid){vdupq_n_f32(q->steps), vdupq_n_s16((int16_t)q->low), vdupq_n_s16((int16_t)q->high),
                vdupq_n_s16((int16_t)q->offset)};
}

/* The conversion rounds halves to even and makes 0 of what is no number; a ReLU is in `low` already. */
static inline int16x4_t level4(const float* y, const block* b, size_t i, const grid* g) {
  return vqmovn_s32(vcvtnq_s32_f32(vmulq_f32(affine4(vld1q_f32(y + 4 * i), b, i), g->steps)));
}

static inline int16x8_t level8(const float* y, const block* b, size_t i, const grid* g) {
  const int16x8_t level = vcombine_s16(level4(y, b, i, g), level4(y, b, i + 1, g));
  return vaddq_s16(vminq_s16(vmaxq_s16(level, g->low), g->high), g->offset);
}

/* Sixteen levels of `bytes` bytes each. */
INLINE void level16(const float* y, const block* b, const grid* g, const size_t bytes, uint8_t* out) {
  const int16x8_t low = level8(y, b, 0, g), high = level8(y, b, 2, g);
  if (bytes == 1) {
    vst1q_s8((int8_t*)out, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
  } else {
    vst1q_s8((int8_t*)out, vreinterpretq_s8_s16(low));
    vst1q_s8((int8_t*)out + 16, vreinterpretq_s8_s16(high));
  }
}

INLINE void levels(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                   size_t step, const size_t bytes) {
  const grid g = grid_of(q);
  for (size_t at = 0; at < n; at += 16, y += 16) {
    const block b = block_of(q->scale, q->bias, at, n);
    uint8_t* to = out + bytes * at;
    if (n - at >= 16) {
      for (size_t i = 0; i < count; ++i) level16(y + i * stride, &b, &g, bytes, to + i * step);
      continue;
    }
    float from[16] = {0};
    uint8_t room[32];
    for (size_t i = 0; i < count; ++i) {
      level16(copy_of(y + i * stride, n - at, sizeof *y, from), &b, &g, bytes, room);
      memcpy(to + i * step, room, bytes * (n - at));
    }
  }
}

static void levels8(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                    size_t step) {
  levels(y, stride, q, n, count, out, step, 1);
}

static void levels16(const float* y, size_t stride, const edgelm_quantizer* q, size_t n, size_t count, uint8_t* out,
                     size_t step) {
  levels(y, stride, q, n, count, out, step, 2);
}
#endif

#include "stages.inc"
