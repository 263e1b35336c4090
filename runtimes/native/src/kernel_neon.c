/* Kernels for ARM with NEON, 64 and 32 bit: a panel is 8 output channels, two vectors of four 32-bit sums.
 *
 * Weights lie in (runs, steps, planes, lanes) order; a step is a word of 32 signs, four bytes, or one level or float.
 * NEON on 32-bit ARM flushes subnormal floats to zero; there alone float sums may miss such tiny values.
 */
#include <arm_neon.h>
#include <string.h>

#include "conv.h"

enum { LANES = 8, PIXELS = 4 };
extern const struct edgelm_stages edgelm_stages_neon;

/* ---- int8 weights: bytes widened to levels of sixteen bits, one a step ---- */

static void tile_r8(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
                    uint32_t* sums, size_t stride) {
  int32x4_t low[PIXELS], high[PIXELS];
#pragma GCC unroll 4
  for (size_t p = 0; p < PIXELS; ++p) low[p] = high[p] = vdupq_n_s32(0);
  for (size_t run = 0; run < conv->runs; ++run) {
    for (size_t at = 0; at < conv->steps; ++at, panel += LANES) {
      const int16x8_t w = vmovl_s8(vreinterpret_s8_u8(vld1_u8(panel)));
#pragma GCC unroll 4
      for (size_t p = 0; p < PIXELS; ++p) {
        int16_t a;
        memcpy(&a, runs[run] + offsets[p] + 2 * at, sizeof a);
        low[p] = vmlal_n_s16(low[p], vget_low_s16(w), a);
        high[p] = vmlal_n_s16(high[p], vget_high_s16(w), a);
      }
    }
  }
#pragma GCC unroll 4
  for (size_t p = 0; p < PIXELS; ++p) {
    vst1q_u32(sums + p * stride, vreinterpretq_u32_s32(low[p]));
    vst1q_u32(sums + p * stride + 4, vreinterpretq_u32_s32(high[p]));
  }
}

static void lay_out_r8(edgelm_conv* conv) {
  conv->pixel_bytes = 2 * (size_t)conv->attrs.in_channels;
  conv->steps = conv->run_taps * conv->attrs.in_channels;
  conv->lanes = LANES;
  conv->pixels = PIXELS;
  conv->panel_bytes = conv->runs * conv->steps * LANES;
  conv->tile = tile_r8;
}

static void pack_r8(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
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
                                      .lay_out = lay_out_r8,
                                      .pack = pack_r8,
                                      .build = widen,
                                      .stages = &edgelm_stages_neon};
