/* Kernels for ARM with NEON, 64 and 32 bit: a panel is 8 output channels, two vectors of four 32-bit sums.
 *
 * Weights lie in (runs, steps, planes, lanes) order; a step is a word of 32 signs, four bytes, or one level or float.
 * NEON on 32-bit ARM flushes subnormal floats to zero; there alone float sums may miss such tiny values.
 */
#include <arm_neon.h>
#include <string.h>

#include "conv.h"

enum { LANES = 8, PIXELS = 4, INIT = LANES * sizeof(int32_t) };
extern const struct edgelm_stages edgelm_stages_neon;

static inline uint32x4_t words_at(const uint8_t* p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }

static inline uint32x4_t broadcast(const uint8_t* p) {
  uint32_t word;
  memcpy(&word, p, sizeof word);
  return vdupq_n_u32(word);
}

/* ---- signs ---- */

enum { B1_FLUSH = 255 / 8 }; /* steps until a byte of counts may overflow */

static inline uint8x16_t count_bits(uint32x4_t x) { return vcntq_u8(vreinterpretq_u8_u32(x)); }

/* sum (4 lanes) += factor times the four bytes of each lane. */
static inline void add_bytes(uint32_t* sum, uint8x16_t bytes, int32_t factor) {
  const uint32x4_t total = vpaddlq_u16(vpaddlq_u8(bytes));
  vst1q_u32(sum, vmlaq_n_u32(vld1q_u32(sum), total, (uint32_t)factor));
}

static void tile_b1(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
                    uint32_t* sums, size_t stride) {
  const uint32_t products = (uint32_t)(conv->attrs.kernel_h * conv->attrs.kernel_w * conv->attrs.in_channels);
  for (size_t p = 0; p < PIXELS; ++p)
    for (size_t lane = 0; lane < LANES; ++lane) sums[p * stride + lane] = products;
  for (size_t run = 0; run < conv->runs; ++run) {
    for (size_t at = 0; at < conv->steps;) {
      const size_t stop = edgelm_min(conv->steps, at + B1_FLUSH);
      uint8x16_t low[PIXELS], high[PIXELS];
#pragma GCC unroll 4
      for (size_t p = 0; p < PIXELS; ++p) low[p] = high[p] = vdupq_n_u8(0);
      for (; at < stop; ++at, panel += 4 * LANES) {
        const uint32x4_t w_low = words_at(panel), w_high = words_at(panel + 16);
#pragma GCC unroll 4
        for (size_t p = 0; p < PIXELS; ++p) {
          const uint32x4_t a = broadcast(runs[run] + offsets[p] + 4 * at);
          low[p] = vaddq_u8(low[p], count_bits(veorq_u32(a, w_low)));
          high[p] = vaddq_u8(high[p], count_bits(veorq_u32(a, w_high)));
        }
      }
#pragma GCC unroll 4
      for (size_t p = 0; p < PIXELS; ++p) {
        add_bytes(sums + p * stride, low[p], -2);
        add_bytes(sums + p * stride + 4, high[p], -2);
      }
    }
  }
}

static void tile_masked(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,
                        const uint8_t* panel, uint32_t* sums, size_t stride) {
  for (size_t p = 0; p < PIXELS; ++p) memset(sums + p * stride, 0, LANES * sizeof *sums);
  for (size_t run = 0; run < conv->runs; ++run) {
    for (size_t at = 0; at < conv->steps; ++at, panel += 8 * LANES) {
      for (size_t half = 0; half < 2; ++half) {
        const uint32x4_t sign = words_at(panel + 16 * half), mask = words_at(panel + 4 * LANES + 16 * half);
#pragma GCC unroll 4
        for (size_t p = 0; p < PIXELS; ++p) {
          const uint8_t* x = runs[run] + offsets[p] + 8 * at;
          const uint32x4_t both = vandq_u32(broadcast(x + 4), mask);
          add_bytes(sums + p * stride + 4 * half, count_bits(both), 1);
          add_bytes(sums + p * stride + 4 * half, count_bits(vandq_u32(veorq_u32(broadcast(x), sign), both)), -2);
        }
      }
    }
  }
}

static size_t words(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + 31) / 32; }

static void lay_out_b1(edgelm_conv* conv) {
  conv->pixel_bytes = words(conv) * conv->planes * sizeof(uint32_t);
  conv->steps = conv->run_taps * words(conv);
  conv->lanes = LANES;
  conv->pixels = PIXELS;
  conv->panel_bytes = conv->runs * conv->steps * conv->planes * LANES * sizeof(uint32_t);
  conv->tile = conv->planes == 2 ? tile_masked : tile_b1;
}

static void pack_b1(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o) {
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t w = edgelm_weight(conv, weights, o, tap, c);
        uint32_t* word = (uint32_t*)(void*)out + (tap * words(conv) + c / 32) * conv->planes * LANES + o % LANES;
        word[0] |= (uint32_t)(w < 0) << c % 32;
        if (conv->planes == 2) word[LANES] |= (uint32_t)(w != 0) << c % 32;
      }
    }
  }
}

/* ---- bytes: levels of -128..127, or of 0..255 less 128, which `init` makes up for ---- */

enum { I8_FLUSH = 32767 / 128 }; /* steps until an int16 of products may overflow */

/* sum (4 lanes) += the four int16 products that each lane has gathered in two vectors. */
static inline void add_products(uint32_t* sum, int16x8_t first, int16x8_t second) {
  const int32x4_t a = vpaddlq_s16(first), b = vpaddlq_s16(second);
  const int32x4_t total = vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)),  //
                                       vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
  vst1q_u32(sum, vaddq_u32(vld1q_u32(sum), vreinterpretq_u32_s32(total)));
}

static void tile_i8(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
                    uint32_t* sums, size_t stride) {
  const uint8x8_t flip = vdup_n_u8(conv->high > 127 ? 128 : 0);
  for (size_t p = 0; p < PIXELS; ++p) memcpy(sums + p * stride, panel, INIT);
  panel += INIT;
  for (size_t run = 0; run < conv->runs; ++run) {
    for (size_t at = 0; at < conv->steps;) {
      const size_t stop = edgelm_min(conv->steps, at + I8_FLUSH);
      int16x8_t total[PIXELS][4];
#pragma GCC unroll 4
      for (size_t p = 0; p < PIXELS; ++p) total[p][0] = total[p][1] = total[p][2] = total[p][3] = vdupq_n_s16(0);
      for (; at < stop; ++at, panel += 4 * LANES) {
        const int8x16_t w_low = vreinterpretq_s8_u32(words_at(panel));
        const int8x16_t w_high = vreinterpretq_s8_u32(words_at(panel + 16));
#pragma GCC unroll 4
        for (size_t p = 0; p < PIXELS; ++p) {
          const uint8x8_t bytes = vget_low_u8(vreinterpretq_u8_u32(broadcast(runs[run] + offsets[p] + 4 * at)));
          const int8x8_t a = vreinterpret_s8_u8(veor_u8(bytes, flip));
          total[p][0] = vmlal_s8(total[p][0], a, vget_low_s8(w_low));
          total[p][1] = vmlal_s8(total[p][1], a, vget_high_s8(w_low));
          total[p][2] = vmlal_s8(total[p][2], a, vget_low_s8(w_high));
          total[p][3] = vmlal_s8(total[p][3], a, vget_high_s8(w_high));
        }
      }
#pragma GCC unroll 4
      for (size_t p = 0; p < PIXELS; ++p) {
        add_products(sums + p * stride, total[p][0], total[p][1]);
        add_products(sums + p * stride + 4, total[p][2], total[p][3]);
      }
    }
  }
}

static void lay_out_i8(edgelm_conv* conv) {
  conv->pixel_bytes = conv->attrs.in_channels;
  conv->steps = (conv->run_taps * conv->attrs.in_channels + 3) / 4;
  conv->lanes = LANES;
  conv->pixels = PIXELS;
  conv->panel_bytes = INIT + conv->runs * conv->steps * 4 * LANES;
  conv->tile = tile_i8;
}

/* Weights as bytes, `group` of a run beside each other in each lane. */
static void pack_bytes(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out, size_t group,
                       int32_t* init) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o) {
    for (size_t run = 0; run < conv->runs; ++run) {
      for (size_t k = 0; k < conv->run_taps * C; ++k) {
        const int32_t w = edgelm_weight(conv, weights, o, run * conv->run_taps + k / C, k % C);
        out[((run * conv->steps + k / group) * LANES + o % LANES) * group + k % group] = (uint8_t)w;
        if (init) init[o % LANES] += 128 * w;
      }
    }
  }
}

static void pack_i8(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  pack_bytes(conv, weights, panel, out + INIT, 4, conv->high > 127 ? (int32_t*)(void*)out : NULL);
}

/* ---- levels of sixteen bits, one a step; r8 widens its bytes to them ---- */

static void tile_i16(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
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

static void lay_out_i16(edgelm_conv* conv) {
  conv->pixel_bytes = 2 * (size_t)conv->attrs.in_channels;
  conv->steps = conv->run_taps * conv->attrs.in_channels;
  conv->lanes = LANES;
  conv->pixels = PIXELS;
  conv->panel_bytes = conv->runs * conv->steps * LANES;
  conv->tile = tile_i16;
}

static void pack_i16(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  pack_bytes(conv, weights, panel, out, 1, NULL);
}

static void widen(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  for (size_t i = 0; i < count; ++i) {
    int16_t* to = (int16_t*)(void*)(out + i * conv->pixel_bytes);
    for (int32_t c = 0; c < conv->attrs.in_channels; ++c) to[c] = (int16_t)(levels[i * stride + c] - conv->offset);
  }
}

const edgelm_kernel edgelm_b1_neon = {
    .element = 1, .macs_per_us = 50000, .lay_out = lay_out_b1, .pack = pack_b1, .stages = &edgelm_stages_neon};
const edgelm_kernel edgelm_i8_neon = {.element = 8,
                                      .offset = 0,
                                      .macs_per_us = 12000,
                                      .lay_out = lay_out_i8,
                                      .pack = pack_i8,
                                      .stages = &edgelm_stages_neon};
const edgelm_kernel edgelm_i16_neon = {
    .element = 16, .macs_per_us = 6000, .lay_out = lay_out_i16, .pack = pack_i16, .stages = &edgelm_stages_neon};
const edgelm_kernel edgelm_r8_neon = {.element = 8,
                                      .offset = 128,
                                      .macs_per_us = 6000,
                                      .lay_out = lay_out_i16,
                                      .pack = pack_i16,
                                      .build = widen,
                                      .stages = &edgelm_stages_neon};
