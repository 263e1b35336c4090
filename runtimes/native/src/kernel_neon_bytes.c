/* Int8 weights on NEON (r8): four pixels times eight filters. Bytes are widened to levels of sixteen bits, one a step.
 */
#include <arm_neon.h>
#include <string.h>

#include "conv.h"

enum { LANES = 8, PIXELS = 4 };
extern const struct edgelm_stages edgelm_stages_neon;

#define EACH(p) _Pragma("GCC unroll 4") for (size_t p = 0; p < PIXELS; ++p)

/* One of four steps: the weights of a level times that level of each pixel. */
#define STEP(lane)                                                                     \
  {                                                                                    \
    const int16x8_t w = vmovl_s8(vreinterpret_s8_u8(vld1_u8(panel + LANES * (lane)))); \
    EACH(p) {                                                                          \
      low[p] = vmlal_lane_s16(low[p], vget_low_s16(w), a[p], lane);                    \
      high[p] = vmlal_lane_s16(high[p], vget_high_s16(w), a[p], lane);                 \
    }                                                                                  \
  }

static void tile(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
                 uint32_t* sums, size_t stride) {
  int32x4_t low[PIXELS], high[PIXELS];
  int16x4_t a[PIXELS];
  EACH(p) low[p] = high[p] = vdupq_n_s32(0);
  for (size_t run = 0; run < conv->runs; ++run) {
    const int16_t* x[PIXELS];
    EACH(p) x[p] = (const int16_t*)(const void*)(runs[run] + offsets[p]);
    size_t at = 0;
    for (; at + 4 <= conv->steps; at += 4, panel += 4 * LANES) {
      EACH(p) a[p] = vld1_s16(x[p] + at);
      STEP(0) STEP(1) STEP(2) STEP(3)
    }
    for (; at < conv->steps; ++at, panel += LANES) {
      EACH(p) a[p] = vdup_n_s16(x[p][at]);
      STEP(0)
    }
  }
  EACH(p) {
    vst1q_u32(sums + p * stride, vreinterpretq_u32_s32(low[p]));
    vst1q_u32(sums + p * stride + 4, vreinterpretq_u32_s32(high[p]));
  }
}

static void lay_out(edgelm_conv* conv) {
  conv->pixel_bytes = 2 * (size_t)conv->attrs.in_channels;
  conv->steps = conv->run_taps * conv->attrs.in_channels;
  conv->lanes = LANES;
  conv->pixels = PIXELS;
  conv->panel_bytes = conv->runs * conv->steps * LANES;
  conv->tile = tile;
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o)
    for (size_t k = 0; k < taps * C; ++k)
      out[k * LANES + o % LANES] = (uint8_t)edgelm_weight(conv, weights, o, k / C, k % C);
}

static void widen(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  for (size_t i = 0; i < count; ++i) {
    int16_t* to = (int16_t*)(void*)(out + i * conv->pixel_bytes);
    for (int32_t c = 0; c < conv->attrs.in_channels; ++c) to[c] = (int16_t)(levels[i * stride + c] - conv->offset);
  }
}

const edgelm_kernel edgelm_r8_neon = {.element = 8,
                                      .gathers = 1,
                                      .offset = 128,
                                      .macs_per_us = 6000,
                                      .lay_out = lay_out,
                                      .pack = pack,
                                      .build = widen,
                                      .stages = &edgelm_stages_neon};
