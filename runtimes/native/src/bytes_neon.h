/* What the byte kernels of ARM share: images and panels of bytes, GROUP of them a step, a multiple of STEPS_AT_ONCE
 * steps a run (both of which the file defines before).
 *
 * Weights lie in (runs, steps, lanes, GROUP) order behind `init`, the sums' first values. Levels are bytes with a sign;
 * those of 0..255 have their top bits flipped on the way, which takes 128 off, and `init` makes up for it.
 */
#ifndef EDGELM_BYTES_NEON_H
#define EDGELM_BYTES_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "conv.h"

#define EACH(i, n) _Pragma("GCC unroll 32") for (size_t i = 0; i < (n); ++i)

enum { VECTOR = 4 /* filters */ };

static inline uint8_t flip_of(const edgelm_conv* conv) { return conv->high > 127 ? 128 : 0; }

/* P pixels times B vectors. */
typedef struct shape {
  int32_t pixels, vectors;
  edgelm_tile* tile;
} shape;

/* The first of the shapes unless the second one computes fewer lanes beyond the last filter. */
static void lay_out_bytes(edgelm_conv* conv, const shape shapes[2]) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  const int second = edgelm_up(O, shapes[1].vectors * VECTOR) < edgelm_up(O, shapes[0].vectors * VECTOR);
  const shape* s = shapes + second;
  conv->pixel_bytes = C;
  conv->steps = edgelm_up((conv->run_taps * C + GROUP - 1) / GROUP, STEPS_AT_ONCE);
  conv->lanes = s->vectors * VECTOR;
  conv->pixels = s->pixels;
  conv->tile = s->tile;
  conv->panel_bytes = conv->lanes * (sizeof(int32_t) + conv->runs * conv->steps * GROUP);
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const int32_t added = conv->offset - flip_of(conv); /* to a level, before it is multiplied */
  int32_t* init = (int32_t*)(void*)out;
  out += lanes * sizeof *init;
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    for (size_t run = 0; run < conv->runs; ++run) {
      for (size_t k = 0; k < conv->run_taps * C; ++k) {
        const int32_t w = edgelm_weight(conv, weights, o, run * conv->run_taps + k / C, k % C);
        out[((run * conv->steps + k / GROUP) * lanes + o % lanes) * GROUP + k % GROUP] = (uint8_t)w;
        init[o % lanes] -= added * w;
      }
    }
  }
}

#endif
