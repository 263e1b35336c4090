/* What the sign kernels (b1) of ARM share: the layout of words and panels, and the shapes of tiles.
 *
 * A vector holds a word of 32 channels for each of four filters. Weights lie in (runs, steps, planes, lanes) order of
 * such words; with two planes a word of signs is followed by one of masks.
 */
#ifndef EDGELM_BITS_NEON_H
#define EDGELM_BITS_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "conv.h"

enum { VECTOR = 4 /* filters */ };

#define EACH(i, n) _Pragma("GCC unroll 32") for (size_t i = 0; i < (n); ++i)

static inline uint32x4_t words_at(const uint8_t* p, size_t vector) {
  return vreinterpretq_u32_u8(vld1q_u8(p + 16 * vector));
}

static inline uint32x4_t broadcast(const uint8_t* p) {
  uint32_t word;
  memcpy(&word, p, sizeof word);
  return vdupq_n_u32(word);
}

static inline uint8x16_t count_bits(uint32x4_t x) { return vcntq_u8(vreinterpretq_u8_u32(x)); }

/* Sums of eight filters at element `at`, in 16 bits where `bits` says so: they fit wherever a row of filters is short.
 */
static inline void store_sums(uint32_t* sums, size_t at, int16x8_t values, const int32_t bits) {
  if (bits == 16) {
    vst1q_s16((int16_t*)sums + at, values);
  } else {
    vst1q_s32((int32_t*)sums + at, vmovl_s16(vget_low_s16(values)));
    vst1q_s32((int32_t*)sums + at + 4, vmovl_s16(vget_high_s16(values)));
  }
}

static inline int32_t products(const edgelm_conv* conv) {
  return conv->attrs.kernel_h * conv->attrs.kernel_w * conv->attrs.in_channels;
}

/* Whether sums fit sixteen bits. */
static inline int sums_fit(const edgelm_conv* conv) { return products(conv) < INT16_MAX; }

static size_t words(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + 31) / 32; }

/* P pixels times B vectors. */
typedef struct shape {
  int32_t pixels, vectors;
  edgelm_tile* tile;
} shape;

/* The first of the shapes unless the second one computes fewer lanes beyond the last filter. */
static void lay_out_bits(edgelm_conv* conv, const shape shapes[2]) {
  const size_t O = conv->attrs.out_channels;
  const shape* s =
      shapes + (edgelm_up(O, shapes[1].vectors * VECTOR) < edgelm_up(O, shapes[0].vectors * VECTOR) ? 1 : 0);
  conv->pixel_bytes = words(conv) * conv->planes * sizeof(uint32_t);
  conv->steps = conv->run_taps * words(conv);
  conv->lanes = s->vectors * VECTOR;
  conv->pixels = s->pixels;
  conv->tile = s->tile;
  if (sums_fit(conv)) conv->sum_bits = 16;
  conv->panel_bytes = conv->runs * conv->steps * conv->planes * conv->lanes * sizeof(uint32_t);
}

static void pack_bits(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t w = edgelm_weight(conv, weights, o, tap, c);
        uint32_t* word = (uint32_t*)(void*)out + (tap * words(conv) + c / 32) * conv->planes * lanes + o % lanes;
        word[0] |= (uint32_t)(w < 0) << c % 32;
        if (conv->planes == 2) word[lanes] |= (uint32_t)(w != 0) << c % 32;
      }
    }
  }
}

#endif
