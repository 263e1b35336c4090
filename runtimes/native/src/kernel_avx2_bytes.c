/* Bytes on AVX2 (i8): level + offset times -1, 0 or +1, added up in int16; six pixels times sixteen filters. */
#include <immintrin.h>
#include <string.h>

#include "conv.h"

enum {
  LANES = 16,
  PIXELS = 6,
  INIT = LANES * sizeof(int32_t),
  FLUSH = 32767 / 510 /* steps until int16 may overflow */
};
extern const struct edgelm_stages edgelm_stages_avx2;

static inline __m256i load(const void* p) { return _mm256_loadu_si256(p); }
static inline void store(void* p, __m256i v) { _mm256_storeu_si256(p, v); }

static inline __m256i broadcast(const uint8_t* p) {
  int32_t word;
  memcpy(&word, p, sizeof word);
  return _mm256_set1_epi32(word);
}
#define PIN(v) __asm__("" : "+x"(v))

static void tile(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
                 uint32_t* sums, size_t stride) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (size_t p = 0; p < PIXELS; ++p) memcpy(sums + p * stride, panel, INIT);
  panel += INIT;
  for (size_t run = 0; run < conv->runs; ++run) {
    const uint8_t* x[PIXELS];
#pragma GCC unroll 6
    for (size_t p = 0; p < PIXELS; ++p) x[p] = runs[run] + offsets[p];
    for (size_t at = 0; at < conv->steps;) {
      const size_t stop = edgelm_min(conv->steps, at + FLUSH);
      __m256i low[PIXELS], high[PIXELS];
#pragma GCC unroll 6
      for (size_t p = 0; p < PIXELS; ++p) low[p] = high[p] = _mm256_setzero_si256();
      for (; at < stop; ++at, panel += 4 * LANES) {
        __m256i w_low = load(panel), w_high = load(panel + 32);
        PIN(w_low);
        PIN(w_high);
#pragma GCC unroll 6
        for (size_t p = 0; p < PIXELS; ++p) {
          const __m256i a = broadcast(x[p] + 4 * at);
          low[p] = _mm256_add_epi16(low[p], _mm256_maddubs_epi16(a, w_low));
          high[p] = _mm256_add_epi16(high[p], _mm256_maddubs_epi16(a, w_high));
          PIN(low[p]);
          PIN(high[p]);
        }
      }
#pragma GCC unroll 6
      for (size_t p = 0; p < PIXELS; ++p) {
        uint32_t* sum = sums + p * stride;
        store(sum, _mm256_add_epi32(load(sum), _mm256_madd_epi16(low[p], ones)));
        store(sum + 8, _mm256_add_epi32(load(sum + 8), _mm256_madd_epi16(high[p], ones)));
      }
    }
  }
}

static void lay_out(edgelm_conv* conv) {
  const size_t run = conv->run_taps * conv->attrs.in_channels;
  conv->pixel_bytes = conv->attrs.in_channels;
  conv->steps = (run + 3) / 4;
  conv->lanes = LANES;
  conv->pixels = PIXELS;
  conv->tile = tile;
  conv->panel_bytes = INIT + conv->runs * conv->steps * 4 * LANES;
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  int32_t* init = (int32_t*)(void*)out;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o) {
    for (size_t run = 0; run < conv->runs; ++run) {
      for (size_t k = 0; k < conv->run_taps * C; ++k) {
        const int32_t w = edgelm_weight(conv, weights, o, run * conv->run_taps + k / C, k % C);
        out[INIT + ((run * conv->steps + k / 4) * LANES + o % LANES) * 4 + k % 4] = (uint8_t)w;
        init[o % LANES] -= conv->offset * w;
      }
    }
  }
}

const edgelm_kernel edgelm_i8_avx2 = {.element = 8,
                                      .offset = 128,
                                      .macs_per_us = 150000,
                                      .lay_out = lay_out,
                                      .pack = pack,
                                      .stages = &edgelm_stages_avx2};
