/* Floats on AVX2: six pixels times sixteen filters of fused multiply-adds. Low-bit weights stay bits in memory and
 * become floats in scratch at each run. */
#include <immintrin.h>

#include "conv.h"

enum { LANES = 16, PIXELS = 6 };
extern const struct edgelm_stages edgelm_stages_avx2;

static void tile(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
                 uint32_t* sums, size_t stride) {
  const float* w = (const float*)(const void*)panel;
  __m256 low[PIXELS], high[PIXELS];
#pragma GCC unroll 6
  for (size_t p = 0; p < PIXELS; ++p) low[p] = high[p] = _mm256_setzero_ps();
  for (size_t run = 0; run < conv->runs; ++run) {
    const float* x[PIXELS];
#pragma GCC unroll 6
    for (size_t p = 0; p < PIXELS; ++p) x[p] = (const float*)(const void*)(runs[run] + offsets[p]);
    for (size_t at = 0; at < conv->steps; ++at, w += LANES) {
      const __m256 w_low = _mm256_loadu_ps(w), w_high = _mm256_loadu_ps(w + 8);
#pragma GCC unroll 6
      for (size_t p = 0; p < PIXELS; ++p) {
        const __m256 a = _mm256_broadcast_ss(x[p] + at);
        low[p] = _mm256_fmadd_ps(a, w_low, low[p]);
        high[p] = _mm256_fmadd_ps(a, w_high, high[p]);
      }
    }
  }
#pragma GCC unroll 6
  for (size_t p = 0; p < PIXELS; ++p) {
    _mm256_storeu_ps((float*)(void*)(sums + p * stride), low[p]);
    _mm256_storeu_ps((float*)(void*)(sums + p * stride + 8), high[p]);
  }
}

static void lay_out(edgelm_conv* conv) {
  const size_t C = conv->attrs.in_channels;
  conv->pixel_bytes = C * sizeof(float);
  conv->steps = conv->run_taps * C;
  conv->lanes = LANES;
  conv->pixels = PIXELS;
  conv->tile = tile;
  const size_t words = conv->runs * conv->steps * LANES;
  conv->panel_bytes = conv->kind == EDGELM_R32 ? words * sizeof(float) : words / 8 * conv->planes;
  conv->expanded_bytes = conv->kind == EDGELM_R32 ? 0 : words * sizeof(float);
}

/* For each weight of a filter a bit of its lane: the sign, and with two planes whether it is not zero. */
static void pack_bits(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  uint16_t* words = (uint16_t*)(void*)out;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o) {
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t value = edgelm_weight(conv, weights, o, tap, c);
        uint16_t* word = words + (tap * C + c) * conv->planes;
        word[0] |= (uint16_t)((value < 0) << o % LANES);
        if (conv->planes == 2) word[1] |= (uint16_t)((value != 0) << o % LANES);
      }
    }
  }
}

static void pack_floats(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  float* floats = (float*)(void*)out;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o)
    for (size_t tap = 0; tap < taps; ++tap)
      for (size_t c = 0; c < C; ++c)
        floats[(tap * C + c) * LANES + o % LANES] = edgelm_real_weight(conv, weights, o, tap, c);
}

/* Eight bits of a word from `shift` on, each at the top of a lane. */
static inline __m256i tops(uint32_t word, __m256i shifts) {
  return _mm256_sllv_epi32(_mm256_set1_epi32((int)word), shifts);
}

static void expand(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out) {
  const __m256i first = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
  const __m256i second = _mm256_setr_epi32(23, 22, 21, 20, 19, 18, 17, 16);
  const __m256i top = _mm256_set1_epi32(INT32_MIN), one = _mm256_castps_si256(_mm256_set1_ps(1.0f));
  const uint16_t* words = (const uint16_t*)(const void*)panel;
  __m256i* to = (__m256i*)(void*)out;
  for (size_t at = 0; at < conv->runs * conv->steps; ++at, words += conv->planes, to += 2) {
    const uint32_t sign = words[0], mask = conv->planes == 2 ? words[1] : 0xffff;
    const __m256i low = _mm256_or_si256(one, _mm256_and_si256(tops(sign, first), top));
    const __m256i high = _mm256_or_si256(one, _mm256_and_si256(tops(sign, second), top));
    _mm256_storeu_si256(to, _mm256_and_si256(low, _mm256_srai_epi32(tops(mask, first), 31)));
    _mm256_storeu_si256(to + 1, _mm256_and_si256(high, _mm256_srai_epi32(tops(mask, second), 31)));
  }
}

const edgelm_kernel edgelm_f32_avx2 = {.element = 32,
                                       .macs_per_us = 45000,
                                       .lay_out = lay_out,
                                       .pack = pack_bits,
                                       .expand = expand,
                                       .stages = &edgelm_stages_avx2};
const edgelm_kernel edgelm_r32_avx2 = {
    .element = 32, .macs_per_us = 45000, .lay_out = lay_out, .pack = pack_floats, .stages = &edgelm_stages_avx2};
