/* Float weights on NEON (r32): a few pixels times eight filters of fused multiply-adds.
 *
 * NEON on 32-bit ARM flushes subnormal floats to zero; there alone float sums may miss such tiny values.
 */
#include <arm_neon.h>

#include "conv.h"

extern const struct edgelm_stages edgelm_stages_neon;

#if defined(__arm__) /* half as many registers */
enum { LANES = 8, PIXELS = 4 };
#define MULTIPLY_ADD(sum, w, a, lane) \
  vaddq_f32(sum, vmulq_lane_f32(w, (lane) < 2 ? vget_low_f32(a) : vget_high_f32(a), (lane) % 2))
#else
enum { LANES = 8, PIXELS = 6 };
#define MULTIPLY_ADD(sum, w, a, lane) vfmaq_laneq_f32(sum, w, a, lane)
#endif

#define EACH(p) _Pragma("GCC unroll 6") for (size_t p = 0; p < PIXELS; ++p)

/* One of four steps: the weights of a level times that level of each pixel. */
#define STEP(lane)                                                                                       \
  {                                                                                                      \
    const float32x4_t w_low = vld1q_f32(w + LANES * (lane)), w_high = vld1q_f32(w + LANES * (lane) + 4); \
    EACH(p) {                                                                                            \
      low[p] = MULTIPLY_ADD(low[p], w_low, a[p], lane);                                                  \
      high[p] = MULTIPLY_ADD(high[p], w_high, a[p], lane);                                               \
    }                                                                                                    \
  }

static void tile(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
                 uint32_t* sums, size_t stride) {
  const float* w = (const float*)(const void*)panel;
  float32x4_t low[PIXELS], high[PIXELS], a[PIXELS];
  EACH(p) low[p] = high[p] = vdupq_n_f32(0.0f);
  for (size_t run = 0; run < conv->runs; ++run) {
    const float* x[PIXELS];
    EACH(p) x[p] = (const float*)(const void*)(runs[run] + offsets[p]);
    size_t at = 0;
    for (; at + 4 <= conv->steps; at += 4, w += 4 * LANES) {
      EACH(p) a[p] = vld1q_f32(x[p] + at);
      STEP(0) STEP(1) STEP(2) STEP(3)
    }
    for (; at < conv->steps; ++at, w += LANES) {
      EACH(p) a[p] = vdupq_n_f32(x[p][at]);
      STEP(0)
    }
  }
  EACH(p) {
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
  conv->panel_bytes = conv->runs * conv->steps * LANES * sizeof(float);
}

static void pack_floats(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  float* floats = (float*)(void*)out;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o)
    for (size_t k = 0; k < taps * C; ++k)
      floats[k * LANES + o % LANES] = edgelm_real_weight(conv, weights, o, k / C, k % C);
}

const edgelm_kernel edgelm_r32_neon = {
    .element = 32, .macs_per_us = 6000, .lay_out = lay_out, .pack = pack_floats, .stages = &edgelm_stages_neon};
