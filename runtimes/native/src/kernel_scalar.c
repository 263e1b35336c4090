/* The reference kernels, in plain C: one pixel times eight filters; every other kernel gives the same sums.
 *
 * Weights lie in (runs, steps, lanes) order. A step is one level, but for b1 a word of 32 sign bits (with two planes: a
 * word of signs and one of masks).
 */
#include <string.h>

#include "conv.h"

enum { LANES = 8 };
extern const struct edgelm_stages edgelm_stages_scalar;

static size_t words(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + 31) / 32; }

/* ---- bits */

static int32_t dot_b1(const uint8_t* x, const uint32_t* weights, size_t steps, size_t lane) {
  int32_t differ = 0;
  for (size_t s = 0; s < steps; ++s) {
    uint32_t word;
    memcpy(&word, x + 4 * s, sizeof word);
    differ += __builtin_popcount(word ^ weights[s * LANES + lane]);
  }
  return differ;
}

static void tile_b1(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
                    uint32_t* sums, size_t stride) {
  (void)stride;
  const edgelm_qconv_attrs* a = &conv->attrs;
  const uint32_t* weights = (const uint32_t*)(const void*)panel;
  for (size_t lane = 0; lane < LANES; ++lane) {
    int32_t differ = 0;
    for (size_t run = 0; run < conv->runs; ++run)
      differ += dot_b1(runs[run] + offsets[0], weights + run * conv->steps * LANES, conv->steps, lane);
    sums[lane] = (uint32_t)(a->kernel_h * a->kernel_w * a->in_channels - 2 * differ);
  }
}

static void tile_b1_masked(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,
                           const uint8_t* panel, uint32_t* sums, size_t stride) {
  (void)stride;
  const uint32_t* weights = (const uint32_t*)(const void*)panel;
  for (size_t lane = 0; lane < LANES; ++lane) {
    int32_t sum = 0;
    const uint32_t* w = weights + lane;
    for (size_t run = 0; run < conv->runs; ++run) {
      for (size_t s = 0; s < conv->steps; ++s, w += 2 * LANES) {
        uint32_t x[2];
        memcpy(x, runs[run] + offsets[0] + 8 * s, sizeof x);
        const uint32_t both = x[1] & w[LANES];
        sum += __builtin_popcount(both) - 2 * __builtin_popcount((x[0] ^ w[0]) & both);
      }
    }
    sums[lane] = (uint32_t)sum;
  }
}

static void lay_out_b1(edgelm_conv* conv) {
  conv->pixel_bytes = words(conv) * conv->planes * sizeof(uint32_t);
  conv->steps = conv->run_taps * words(conv);
  conv->lanes = LANES;
  conv->pixels = 1;
  conv->panel_bytes = conv->runs * conv->steps * conv->planes * LANES * sizeof(uint32_t);
  conv->tile = conv->planes == 2 ? tile_b1_masked : tile_b1;
}

static void pack_b1(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  uint32_t* words_out = (uint32_t*)(void*)out;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o) {
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t w = edgelm_weight(conv, weights, o, tap, c);
        uint32_t* word = words_out + (tap * words(conv) + c / 32) * conv->planes * LANES + o % LANES;
        word[0] |= (uint32_t)(w < 0) << c % 32;
        if (conv->planes == 2) word[LANES] |= (uint32_t)(w != 0) << c % 32;
      }
    }
  }
}

/* ---- whole numbers */

static int32_t level_at(const edgelm_conv* conv, const uint8_t* x, size_t index) {
  if (conv->kernel->element == 16) {
    int16_t level;
    memcpy(&level, x + 2 * index, sizeof level);
    return level;
  }
  return x[index] - conv->offset;
}

static void tile_int(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
                     uint32_t* sums, size_t stride) {
  (void)stride;
  for (size_t lane = 0; lane < LANES; ++lane) {
    int32_t sum = 0;
    const int8_t* w = (const int8_t*)panel + lane;
    for (size_t run = 0; run < conv->runs; ++run)
      for (size_t s = 0; s < conv->steps; ++s, w += LANES) sum += *w * level_at(conv, runs[run] + offsets[0], s);
    sums[lane] = (uint32_t)sum;
  }
}

static void lay_out_int(edgelm_conv* conv) {
  conv->pixel_bytes = (size_t)conv->attrs.in_channels * conv->kernel->element / 8;
  conv->steps = conv->run_taps * conv->attrs.in_channels;
  conv->lanes = LANES;
  conv->pixels = 1;
  conv->panel_bytes = conv->runs * conv->steps * LANES;
  conv->tile = tile_int;
}

static void pack_int(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o)
    for (size_t tap = 0; tap < taps; ++tap)
      for (size_t c = 0; c < C; ++c)
        out[(tap * C + c) * LANES + o % LANES] = (uint8_t)edgelm_weight(conv, weights, o, tap, c);
}

/* ---- floats */

static void tile_float(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,
                       const uint8_t* panel, uint32_t* sums, size_t stride) {
  (void)stride;
  const float* w = (const float*)(const void*)panel;
  float total[LANES] = {0};
  for (size_t run = 0; run < conv->runs; ++run) {
    const float* x = (const float*)(const void*)(runs[run] + offsets[0]);
    for (size_t s = 0; s < conv->steps; ++s, w += LANES)
      for (size_t lane = 0; lane < LANES; ++lane) total[lane] += x[s] * w[lane];
  }
  memcpy(sums, total, sizeof total);
}

static void lay_out_float(edgelm_conv* conv) {
  conv->pixel_bytes = (size_t)conv->attrs.in_channels * sizeof(float);
  conv->steps = conv->run_taps * conv->attrs.in_channels;
  conv->lanes = LANES;
  conv->pixels = 1;
  conv->panel_bytes = conv->runs * conv->steps * LANES * sizeof(float);
  conv->tile = tile_float;
}

static void pack_float(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  float* floats = (float*)(void*)out;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o)
    for (size_t tap = 0; tap < taps; ++tap)
      for (size_t c = 0; c < C; ++c)
        floats[(tap * C + c) * LANES + o % LANES] = conv->kind == EDGELM_R32
                                                        ? edgelm_real_weight(conv, weights, o, tap, c)
                                                        : (float)edgelm_weight(conv, weights, o, tap, c);
}

#define KERNEL(kind, bits, shape, rate)                                     \
  const edgelm_kernel edgelm_##kind##_scalar = {.element = bits,            \
                                                .offset = 128,              \
                                                .macs_per_us = rate,        \
                                                .lay_out = lay_out_##shape, \
                                                .pack = pack_##shape,       \
                                                .stages = &edgelm_stages_scalar}
KERNEL(b1, 1, b1, 5000);
KERNEL(i8, 8, int, 1000);
KERNEL(r8, 8, int, 1000);
KERNEL(i16, 16, int, 1000);
KERNEL(f32, 32, float, 2000);
KERNEL(r32, 32, float, 2000);
