/* Int8 weights on NEON (r8): two products of each of four filters in sixteen bits, which are added in pairs. Two such
 * products would overflow sixteen bits if they were added before: (-128)^2 twice. */
#define GROUP 2
#include "bytes_neon.h"

extern const struct edgelm_stages edgelm_stages_neon;

static inline int8x8_t weights_at(const uint8_t* p, size_t vector) {
  return vreinterpret_s8_u8(vld1_u8(p + 8 * vector));
}

static inline int32x4_t multiply_add(int32x4_t sum, int8x8_t w, int8x8_t a) { return vpadalq_s16(sum, vmull_s8(w, a)); }

/* One of four steps: the weights of two levels times those levels of each pixel. */
#define STEP(P, B, LANE)                                                       \
  {                                                                            \
    int8x8_t w[B];                                                             \
    EACH(b, B) w[b] = weights_at(panel, LANE * B + b);                         \
    EACH(p, P) {                                                               \
      const int8x8_t two = vreinterpret_s8_u16(vdup_lane_u16(a[p], LANE));     \
      EACH(b, B) total[p * B + b] = multiply_add(total[p * B + b], w[b], two); \
    }                                                                          \
  }

#define TILE(P, B)                                                                                            \
  static void tile_##P##x##B(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,     \
                             const uint8_t* panel, uint32_t* sums, size_t stride) {                           \
    const uint8x8_t flip = vdup_n_u8(flip_of(conv));                                                          \
    int32x4_t total[P * B];                                                                                   \
    EACH(b, B) total[b] = vreinterpretq_s32_u8(vld1q_u8(panel + 16 * b));                                     \
    EACH(p, P) EACH(b, B) total[p * B + b] = total[b];                                                        \
    panel += 16 * B;                                                                                          \
    for (size_t run = 0; run < conv->runs; ++run) {                                                           \
      const uint8_t* x[P];                                                                                    \
      uint16x4_t a[P];                                                                                        \
      EACH(p, P) x[p] = runs[run] + offsets[p];                                                               \
      size_t at = 0;                                                                                          \
      for (; at + 4 <= conv->steps; at += 4, panel += 32 * B) {                                               \
        EACH(p, P) a[p] = vreinterpret_u16_u8(veor_u8(vld1_u8(x[p] + 2 * at), flip));                         \
        STEP(P, B, 0) STEP(P, B, 1) STEP(P, B, 2) STEP(P, B, 3)                                               \
      }                                                                                                       \
      if (at == conv->steps) continue;                                                                        \
      EACH(p, P) a[p] = vreinterpret_u16_u8(veor_u8(vld1_u8(x[p] + 2 * at), flip));                           \
      STEP(P, B, 0)                                                                                           \
      if (conv->steps - at > 1) STEP(P, B, 1)                                                                 \
      if (conv->steps - at > 2) STEP(P, B, 2)                                                                 \
      panel += 8 * B * (conv->steps - at);                                                                    \
    }                                                                                                         \
    EACH(p, P) EACH(b, B) vst1q_u32(sums + p * stride + b * VECTOR, vreinterpretq_u32_s32(total[p * B + b])); \
  }

TILE(2, 4)
TILE(4, 2)

static void lay_out(edgelm_conv* conv) {
  static const shape shapes[2] = {{2, 4, tile_2x4}, {4, 2, tile_4x2}};
  lay_out_bytes(conv, shapes);
}

const edgelm_kernel edgelm_r8_neon = {
    .element = 8, .offset = 0, .macs_per_us = 10000, .lay_out = lay_out, .pack = pack, .stages = &edgelm_stages_neon};
