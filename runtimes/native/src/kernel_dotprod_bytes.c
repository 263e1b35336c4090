/* Bytes on ARMv8.2: four products of each of four filters in one instruction. Low-bit weights (i8) become int8, the
 * rest is as with real int8 weights (r8). */
#define GROUP 4
#define STEPS_AT_ONCE 1
#include "bytes_neon.h"

extern const struct edgelm_stages edgelm_stages_neon;

static inline int8x16_t weights_at(const uint8_t* p, size_t vector) {
  return vreinterpretq_s8_u8(vld1q_u8(p + 16 * vector));
}

static inline int8x16_t levels(uint8x16_t bytes, uint8x16_t flip) { return vreinterpretq_s8_u8(veorq_u8(bytes, flip)); }

/* One of four steps. */
#define STEP(P, B, LANE)                                                          \
  {EACH(b, B){const int8x16_t w = weights_at(panel, LANE * B + b);                \
  EACH(p, P) total[p * B + b] = vdotq_laneq_s32(total[p * B + b], w, a[p], LANE); \
  }                                                                               \
  }

/* P pixels times B vectors of filters, four steps at a time while there are as many. */
#define TILE(P, B)                                                                                            \
  static void tile_##P##x##B(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,     \
                             const uint8_t* panel, uint32_t* sums, size_t stride) {                           \
    const uint8x16_t flip = vdupq_n_u8(flip_of(conv));                                                        \
    int32x4_t total[P * B];                                                                                   \
    EACH(b, B) total[b] = vreinterpretq_s32_s8(weights_at(panel, b));                                         \
    EACH(p, P) EACH(b, B) total[p * B + b] = total[b];                                                        \
    panel += 16 * B;                                                                                          \
    for (size_t run = 0; run < conv->runs; ++run) {                                                           \
      const uint8_t* x[P];                                                                                    \
      int8x16_t a[P];                                                                                         \
      EACH(p, P) x[p] = runs[run] + offsets[p];                                                               \
      size_t at = 0;                                                                                          \
      for (; at + 4 <= conv->steps; at += 4, panel += 64 * B) {                                               \
        EACH(p, P) a[p] = levels(vld1q_u8(x[p] + 4 * at), flip);                                              \
        STEP(P, B, 0) STEP(P, B, 1) STEP(P, B, 2) STEP(P, B, 3)                                               \
      }                                                                                                       \
      if (at == conv->steps) continue;                                                                        \
      EACH(p, P) a[p] = levels(vld1q_u8(x[p] + 4 * at), flip);                                                \
      STEP(P, B, 0)                                                                                           \
      if (conv->steps - at > 1) STEP(P, B, 1)                                                                 \
      if (conv->steps - at > 2) STEP(P, B, 2)                                                                 \
      panel += 16 * B * (conv->steps - at);                                                                   \
    }                                                                                                         \
    EACH(p, P) EACH(b, B) vst1q_u32(sums + p * stride + b * VECTOR, vreinterpretq_u32_s32(total[p * B + b])); \
  }

TILE(2, 8)
TILE(8, 2)

static void lay_out(edgelm_conv* conv) {
  static const shape shapes[2] = {{2, 8, tile_2x8}, {8, 2, tile_8x2}};
  lay_out_bytes(conv, shapes);
}

const edgelm_kernel edgelm_i8_dotprod = {.element = 8,
                                         .offset = 0,
                                         .macs_per_us = 50000,
                                         .lay_out = lay_out,
                                         .pack = pack,
                                         .wide = 1,
                                         .stages = &edgelm_stages_neon};
const edgelm_kernel edgelm_r8_dotprod = {
    .element = 8, .offset = 0, .macs_per_us = 50000, .lay_out = lay_out, .pack = pack, .stages = &edgelm_stages_neon};
