/* int8 and float weights on AVX-512. */
#include "tile_avx512.h"

typedef __m512i r8_words;
typedef __m512i r8_sums;
enum { r8_planes = 1, r8_heads = 1 }; /* a head takes the levels' offset back */
static inline r8_words r8_weights(const uint8_t* p, size_t b, size_t B) {
  (void)B;
  return load(p, b);
}
static inline r8_words r8_levels(const uint8_t* p) { return broadcast(p); }
static inline r8_sums r8_first(const uint8_t* panel, size_t b) { return load(panel, b); }
static inline r8_sums r8_add(r8_sums sums, r8_words x, r8_words w) {
  sums = _mm512_dpbusd_epi32(sums, x, w);
  PIN(sums);
  return sums;
}
#define r8_last(sums) (sums)
#define r8_store(conv, P, B, total, sums, stride) STORE_WORDS(r8_last, P, B, total, sums, stride)

typedef __m512 r32_words;
typedef __m512 r32_sums;
enum { r32_planes = 1, r32_heads = 0 };
static inline r32_words r32_weights(const uint8_t* p, size_t b, size_t B) {
  (void)B;
  return _mm512_castsi512_ps(load(p, b));
}
static inline r32_words r32_levels(const uint8_t* p) { return _mm512_castsi512_ps(broadcast(p)); }
static inline r32_sums r32_first(const uint8_t* panel, size_t b) {
  (void)panel, (void)b;
  return _mm512_setzero_ps();
}
static inline r32_sums r32_add(r32_sums sums, r32_words x, r32_words w) {
  sums = _mm512_fmadd_ps(x, w, sums);
  PIN(sums);
  return sums;
}
#define r32_store(conv, P, B, total, sums, stride) STORE_WORDS(_mm512_castps_si512, P, B, total, sums, stride)

#define r8_sum_bytes(conv) sizeof(uint32_t)
#define r32_sum_bytes r8_sum_bytes

SHAPES(r8)
SHAPES(r32)

/* ---- int8 weights ---- */

static void lay_out_r8(edgelm_conv* conv) {
  conv->pixel_bytes = conv->attrs.in_channels;
  conv->steps = (conv->run_taps * conv->attrs.in_channels + 3) / 4;
  CHOOSE(conv, r8_shapes);
  conv->panel_bytes = weight_bytes(conv, 1) + conv->lanes * sizeof(int32_t);
}

static void pack_r8(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  int32_t* first = (int32_t*)(void*)out;
  uint8_t* to = out + lanes * sizeof(int32_t);
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    int32_t sum = 0;
    for (size_t run = 0; run < conv->runs; ++run) {
      for (size_t tap = 0, k = 0; tap < conv->run_taps; ++tap) {
        for (size_t c = 0; c < C; ++c, ++k) {
          const int32_t w = edgelm_weight(conv, weights, o, run * conv->run_taps + tap, c);
          to[((run * conv->steps + k / 4) * lanes + o % lanes) * 4 + k % 4] = (uint8_t)w;
          sum += w;
        }
      }
    }
    first[o % lanes] = -conv->offset * sum;
  }
}

/* ---- float weights ---- */

static void lay_out_r32(edgelm_conv* conv) {
  conv->pixel_bytes = (size_t)conv->attrs.in_channels * sizeof(float);
  conv->steps = conv->run_taps * conv->attrs.in_channels;
  CHOOSE(conv, r32_shapes);
  conv->panel_bytes = weight_bytes(conv, 1);
}

static void pack_r32(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    float* to = (float*)(void*)out + o % lanes;
    for (size_t tap = 0; tap < taps; ++tap)
      for (size_t c = 0; c < C; ++c, to += lanes) *to = edgelm_real_weight(conv, weights, o, tap, c);
  }
}

const edgelm_kernel edgelm_r8_avx512 = {.element = 8,
                                        .offset = 128,
                                        .macs_per_us = 180000,
                                        .lay_out = lay_out_r8,
                                        .pack = pack_r8,
                                        .stages = &edgelm_stages_avx512};
const edgelm_kernel edgelm_r32_avx512 = {
    .element = 32, .macs_per_us = 50000, .lay_out = lay_out_r32, .pack = pack_r32, .stages = &edgelm_stages_avx512};
