/* Whole numbers on AVX2: sixteen-bit pairs (i16, r8) and bytes (i8), six or four pixels times sixteen filters. */
#include <immintrin.h>
#include <string.h>

#include "conv.h"

enum { LANES = 16, PIXELS = 6, BYTE_PIXELS = 4 };
extern const struct edgelm_stages edgelm_stages_avx2;

static inline __m256i load(const void* p) { return _mm256_loadu_si256(p); }
static inline void store(void* p, __m256i v) { _mm256_storeu_si256(p, v); }

static inline __m256i broadcast(const uint8_t* p) {
  int32_t word;
  memcpy(&word, p, sizeof word);
  return _mm256_set1_epi32(word);
}

/* ---- pairs of int16; a step is two levels, a last odd one has a weight of zero beside it ---- */

static void tile_pairs(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,
                       const uint8_t* panel, uint32_t* sums, size_t stride) {
  __m256i low[PIXELS], high[PIXELS];
#pragma GCC unroll 6
  for (size_t p = 0; p < PIXELS; ++p) low[p] = high[p] = _mm256_setzero_si256();
  for (size_t run = 0; run < conv->runs; ++run) {
    const uint8_t* x[PIXELS];
#pragma GCC unroll 6
    for (size_t p = 0; p < PIXELS; ++p) x[p] = runs[run] + offsets[p];
    for (size_t at = 0; at < conv->steps; ++at, panel += 4 * LANES) {
      const __m256i w_low = load(panel), w_high = load(panel + 32);
#pragma GCC unroll 6
      for (size_t p = 0; p < PIXELS; ++p) {
        const __m256i a = broadcast(x[p] + 4 * at);
        low[p] = _mm256_add_epi32(low[p], _mm256_madd_epi16(a, w_low));
        high[p] = _mm256_add_epi32(high[p], _mm256_madd_epi16(a, w_high));
      }
    }
  }
#pragma GCC unroll 6
  for (size_t p = 0; p < PIXELS; ++p) {
    store(sums + p * stride, low[p]);
    store(sums + p * stride + 8, high[p]);
  }
}

static void lay_out_pairs(edgelm_conv* conv) {
  const size_t run = conv->run_taps * conv->attrs.in_channels;
  conv->pixel_bytes = 2 * (size_t)conv->attrs.in_channels;
  conv->steps = (run + 1) / 2;
  conv->lanes = LANES;
  conv->pixels = PIXELS;
  conv->tile = tile_pairs;
  /* int8 for each weight; scratch holds int16. */
  conv->panel_bytes = conv->runs * conv->steps * 2 * LANES;
  conv->expanded_bytes = 2 * conv->panel_bytes;
}

/* Weights as bytes, `group` of a run beside each other in each lane. */
static void pack_groups(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out,
                        size_t group) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o)
    for (size_t run = 0; run < conv->runs; ++run)
      for (size_t k = 0; k < conv->run_taps * C; ++k)
        out[((run * conv->steps + k / group) * LANES + o % LANES) * group + k % group] =
            (uint8_t)edgelm_weight(conv, weights, o, run * conv->run_taps + k / C, k % C);
}

static void pack_pairs(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  pack_groups(conv, weights, panel, out, 2);
}

static void expand_pairs(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out) {
  for (size_t i = 0; i < conv->panel_bytes; i += 16)
    store(out + 2 * i, _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(const void*)(panel + i))));
}

/* Bytes of a pixel become int16 without their offset. */
static void widen(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  const size_t C = conv->attrs.in_channels;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* from = levels + i * stride;
    int16_t* to = (int16_t*)(void*)(out + i * conv->pixel_bytes);
    for (size_t c = 0; c < C; ++c) to[c] = (int16_t)(from[c] - conv->offset);
  }
}

/* ---- bytes: level + offset times -1, 0 or +1, added up in int16 ---- */

enum { FLUSH = 32767 / 510 }; /* steps until a sum of pairs may overflow */

static void tile_bytes(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,
                       const uint8_t* panel, uint32_t* sums, size_t stride) {
  const __m256i ones = _mm256_set1_epi16(1), init_low = load(panel), init_high = load(panel + 32);
  __m256i wide[2 * BYTE_PIXELS];
  for (size_t p = 0; p < BYTE_PIXELS; ++p) {
    wide[2 * p] = init_low;
    wide[2 * p + 1] = init_high;
  }
  panel += 64;
  for (size_t run = 0; run < conv->runs; ++run) {
    const uint8_t* x[BYTE_PIXELS];
#pragma GCC unroll 4
    for (size_t p = 0; p < BYTE_PIXELS; ++p) x[p] = runs[run] + offsets[p];
    for (size_t at = 0; at < conv->steps;) {
      const size_t stop = edgelm_min(conv->steps, at + FLUSH);
      __m256i low[BYTE_PIXELS], high[BYTE_PIXELS];
#pragma GCC unroll 4
      for (size_t p = 0; p < BYTE_PIXELS; ++p) low[p] = high[p] = _mm256_setzero_si256();
      for (; at < stop; ++at, panel += 4 * LANES) {
        const __m256i w_low = load(panel), w_high = load(panel + 32);
#pragma GCC unroll 4
        for (size_t p = 0; p < BYTE_PIXELS; ++p) {
          const __m256i a = broadcast(x[p] + 4 * at);
          low[p] = _mm256_add_epi16(low[p], _mm256_maddubs_epi16(a, w_low));
          high[p] = _mm256_add_epi16(high[p], _mm256_maddubs_epi16(a, w_high));
        }
      }
#pragma GCC unroll 4
      for (size_t p = 0; p < BYTE_PIXELS; ++p) {
        wide[2 * p] = _mm256_add_epi32(wide[2 * p], _mm256_madd_epi16(low[p], ones));
        wide[2 * p + 1] = _mm256_add_epi32(wide[2 * p + 1], _mm256_madd_epi16(high[p], ones));
      }
    }
  }
  for (size_t p = 0; p < BYTE_PIXELS; ++p) {
    store(sums + p * stride, wide[2 * p]);
    store(sums + p * stride + 8, wide[2 * p + 1]);
  }
}

static void lay_out_bytes(edgelm_conv* conv) {
  const size_t run = conv->run_taps * conv->attrs.in_channels;
  conv->pixel_bytes = conv->attrs.in_channels;
  conv->steps = (run + 3) / 4;
  conv->lanes = LANES;
  conv->pixels = BYTE_PIXELS;
  conv->tile = tile_bytes;
  conv->panel_bytes = 64 + conv->runs * conv->steps * 4 * LANES;
}

static void pack_bytes(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  pack_groups(conv, weights, panel, out + 64, 4);
  int32_t* init = (int32_t*)(void*)out;
  for (size_t i = 0; i < conv->panel_bytes - 64; ++i) init[i / 4 % LANES] -= conv->offset * (int8_t)out[64 + i];
}

const edgelm_kernel edgelm_i16_avx2 = {.element = 16, .gathers = 1, .macs_per_us = 90000, .lay_out = lay_out_pairs,
                                       .pack = pack_pairs, .expand = expand_pairs, .stages = &edgelm_stages_avx2};
const edgelm_kernel edgelm_r8_avx2 = {.element = 8, .gathers = 1, .offset = 128, .macs_per_us = 90000,
                                      .lay_out = lay_out_pairs, .pack = pack_pairs, .build = widen,
                                      .expand = expand_pairs, .stages = &edgelm_stages_avx2};
const edgelm_kernel edgelm_i8_avx2 = {.element = 8, .gathers = 0, .offset = 128, .macs_per_us = 130000,
                                      .lay_out = lay_out_bytes, .pack = pack_bytes, .stages = &edgelm_stages_avx2};
