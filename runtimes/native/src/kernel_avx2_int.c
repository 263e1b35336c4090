/* Real int8 weights on AVX2 (r8): pairs of int16, since bytes would overflow; six pixels times sixteen filters. */
#include <immintrin.h>
#include <string.h>

#include "conv.h"

enum { LANES = 16, PIXELS = 6 };
extern const struct edgelm_stages edgelm_stages_avx2;

static inline __m256i load(const void* p) { return _mm256_loadu_si256(p); }
static inline void store(void* p, __m256i v) { _mm256_storeu_si256(p, v); }

static inline __m256i broadcast(const uint8_t* p) {
  int32_t word;
  memcpy(&word, p, sizeof word);
  return _mm256_set1_epi32(word);
}

/* A step is two levels; a last odd one has a weight of zero beside it. */

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

static void pack_pairs(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o)
    for (size_t run = 0; run < conv->runs; ++run)
      for (size_t k = 0; k < conv->run_taps * C; ++k)
        out[((run * conv->steps + k / 2) * LANES + o % LANES) * 2 + k % 2] =
            (uint8_t)edgelm_weight(conv, weights, o, run * conv->run_taps + k / C, k % C);
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

const edgelm_kernel edgelm_r8_avx2 = {.element = 8,
                                      .offset = 128,
                                      .macs_per_us = 90000,
                                      .lay_out = lay_out_pairs,
                                      .pack = pack_pairs,
                                      .build = widen,
                                      .expand = expand_pairs,
                                      .stages = &edgelm_stages_avx2};
