/* Floats on NEON: six pixels times eight filters of fused multiply-adds. Low-bit weights stay bits in memory and become
 * floats in scratch at each run. */
#include <arm_neon.h>

#include "conv.h"

enum { LANES = 8, PIXELS = 6 };
extern const struct edgelm_stages edgelm_stages_neon;

static inline float32x4_t multiply_add(float32x4_t sum, float32x4_t w, float a) {
#if defined(__aarch64__)
  return vfmaq_n_f32(sum, w, a);
#else
  return vaddq_f32(sum, vmulq_n_f32(w, a));
#endif
}

static void tile(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
                 uint32_t* sums, size_t stride) {
  const float* w = (const float*)(const void*)panel;
  float32x4_t low[PIXELS], high[PIXELS];
#pragma GCC unroll 6
  for (size_t p = 0; p < PIXELS; ++p) low[p] = high[p] = vdupq_n_f32(0.0f);
  for (size_t run = 0; run < conv->runs; ++run) {
    for (size_t at = 0; at < conv->steps; ++at, w += LANES) {
      const float32x4_t w_low = vld1q_f32(w), w_high = vld1q_f32(w + 4);
#pragma GCC unroll 6
      for (size_t p = 0; p < PIXELS; ++p) {
        const float a = ((const float*)(const void*)(runs[run] + offsets[p]))[at];
        low[p] = multiply_add(low[p], w_low, a);
        high[p] = multiply_add(high[p], w_high, a);
      }
    }
  }
#pragma GCC unroll 6
  for (size_t p = 0; p < PIXELS; ++p) {
    vst1q_f32((float*)(void*)(sums + p * stride), low[p]);
    vst1q_f32((float*)(void*)(sums + p * stride + 4), high[p]);
  }
}

static void lay_out(edgelm_conv* conv) {
  const size_t C = conv->attrs.in_channels;
  conv->pixel_bytes = C * sizeof(float);
  conv->steps = conv->run_taps * C;
  conv->lanes = LANES;
  conv->pixels = PIXELS;
  conv->tile = tile;
  const size_t steps = conv->runs * conv->steps;
  conv->panel_bytes = conv->kind == EDGELM_R32 ? steps * LANES * sizeof(float) : steps * conv->planes;
  conv->expanded_bytes = conv->kind == EDGELM_R32 ? 0 : steps * LANES * sizeof(float);
}

static void pack_floats(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  float* floats = (float*)(void*)out;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o)
    for (size_t k = 0; k < taps * C; ++k)
      floats[k * LANES + o % LANES] = edgelm_real_weight(conv, weights, o, k / C, k % C);
}

/* A byte of signs for the eight filters, and with two planes one that tells which weights are not zero. */
static void pack_bits(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, planes = conv->planes;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o) {
    for (size_t k = 0; k < taps * C; ++k) {
      const int32_t w = edgelm_weight(conv, weights, o, k / C, k % C);
      out[k * planes] |= (uint8_t)((w < 0) << o % LANES);
      if (planes == 2) out[k * planes + 1] |= (uint8_t)((w != 0) << o % LANES);
    }
  }
}

static void expand(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out) {
  float* floats = (float*)(void*)out;
  const size_t planes = conv->planes;
  for (size_t k = 0; k < conv->runs * conv->steps; ++k) {
    const unsigned sign = panel[k * planes], mask = planes == 2 ? panel[k * planes + 1] : 255;
    for (size_t lane = 0; lane < LANES; ++lane)
      floats[k * LANES + lane] = (float)((int32_t)(mask >> lane & 1) * (1 - 2 * (int32_t)(sign >> lane & 1)));
  }
}

const edgelm_kernel edgelm_f32_neon = {.element = 32,
                                       .macs_per_us = 6000,
                                       .lay_out = lay_out,
                                       .pack = pack_bits,
                                       .expand = expand,
                                       .stages = &edgelm_stages_neon};
const edgelm_kernel edgelm_r32_neon = {
    .element = 32, .macs_per_us = 6000, .lay_out = lay_out, .pack = pack_floats, .stages = &edgelm_stages_neon};
