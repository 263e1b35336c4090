/* Int8 weights on NEON (r8): products of two levels with each of four filters in sixteen bits, which are added in
 * pairs. Two such products and two more fit sixteen bits unless all are (-128)^2.
 */
#define GROUP 2
#define STEPS_AT_ONCE 4
#include "bytes_neon.h"

extern const struct edgelm_stages edgelm_stages_neon;

static inline int8x8_t weights_at(const uint8_t* p, size_t vector) {
  return vreinterpret_s8_u8(vld1_u8(p + 8 * vector));
}

static inline uint16x4_t levels_at(const uint8_t* x, size_t at, uint8x8_t flip) {
  return vreinterpret_u16_u8(veor_u8(vld1_u8(x + 2 * at), flip));
}

#define PAIR(a, lane) vreinterpret_s8_u16(vdup_lane_u16(a, lane))

/* One of four steps: the weights of two levels times those levels of each pixel. */
#define STEP(P, B, LANE)                                                                \
  {                                                                                     \
    int8x8_t w[B];                                                                      \
    EACH(b, B) w[b] = weights_at(panel, LANE * B + b);                                  \
    EACH(p, P) {                                                                        \
      const int8x8_t two = PAIR(a[p], LANE);                                            \
      EACH(b, B) total[p * B + b] = vpadalq_s16(total[p * B + b], vmull_s8(w[b], two)); \
    }                                                                                   \
  }

/* Two of four, added before they are widened. */
#define STEPS(P, B, LANE)                                                     \
  {                                                                           \
    int8x8_t w[B], v[B];                                                      \
    EACH(b, B) w[b] = weights_at(panel, (LANE) * B + b);                      \
    EACH(b, B) v[b] = weights_at(panel, (LANE + 1) * B + b);                  \
    EACH(p, P) {                                                              \
      const int8x8_t two = PAIR(a[p], LANE), next = PAIR(a[p], LANE + 1);     \
      EACH(b, B) {                                                            \
        const int16x8_t products = vmlal_s8(vmull_s8(w[b], two), v[b], next); \
        total[p * B + b] = vpadalq_s16(total[p * B + b], products);           \
      }                                                                       \
    }                                                                         \
  }

#define TILE(NAME, P, B, FOUR)                                                                                \
  static void NAME##_##P##x##B(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,   \
                               const uint8_t* panel, uint32_t* sums, size_t stride) {                         \
    const uint8x8_t flip = vdup_n_u8(flip_of(conv));                                                          \
    int32x4_t total[P * B];                                                                                   \
    EACH(b, B) total[b] = vreinterpretq_s32_u8(vld1q_u8(panel + 16 * b));                                     \
    EACH(p, P) EACH(b, B) total[p * B + b] = total[b];                                                        \
    panel += 16 * B;                                                                                          \
    for (size_t run = 0; run < conv->runs; ++run) {                                                           \
      const uint8_t* x[P];                                                                                    \
      uint16x4_t a[P];                                                                                        \
      EACH(p, P) x[p] = runs[run] + offsets[p];                                                               \
      for (size_t at = 0; at < conv->steps; at += 4, panel += 32 * B) {                                       \
        EACH(p, P) a[p] = levels_at(x[p], at, flip);                                                          \
        FOUR(P, B)                                                                                            \
      }                                                                                                       \
    }                                                                                                         \
    EACH(p, P) EACH(b, B) vst1q_u32(sums + p * stride + b * VECTOR, vreinterpretq_u32_s32(total[p * B + b])); \
  }
#define SINGLY(P, B) STEP(P, B, 0) STEP(P, B, 1) STEP(P, B, 2) STEP(P, B, 3)
#define PAIRED(P, B) STEPS(P, B, 0) STEPS(P, B, 2)

TILE(any, 2, 4, SINGLY)
TILE(any, 4, 2, SINGLY)
TILE(small, 2, 4, PAIRED)
TILE(small, 4, 2, PAIRED)

static void lay_out(edgelm_conv* conv) {
  static const shape any[2] = {{2, 4, any_2x4}, {4, 2, any_4x2}};
  static const shape small[2] = {{2, 4, small_2x4}, {4, 2, small_4x2}};
  lay_out_bytes(conv, conv->high > 127 && !conv->even ? any : small);
}

const edgelm_kernel edgelm_r8_neon = {
    .element = 8, .offset = 0, .macs_per_us = 10000, .lay_out = lay_out, .pack = pack, .stages = &edgelm_stages_neon};
