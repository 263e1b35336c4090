/* Float activations with low-bit weights on AVX-512 (f32): sums of four channels by table.
 *
 * A table is 64 bytes: entry s is the sum of (bit i of s ? -x : x) of four channels. An index word of a filter is s, so
 * that one permutation looks up the products of four channels for sixteen filters; these and an addition replace four
 * fused multiply-adds. Absent channels are zeros and add nothing.
 */
#include "lut_avx512.h"

enum { GROUPED = 4 };

typedef __m512 f32_sums;
static inline __m512 lookup(__m512i t, __m512i v) { return _mm512_permutexvar_ps(v, _mm512_castsi512_ps(t)); }
static inline f32_sums f32_first(const uint8_t* p) { return _mm512_castsi512_ps(load(p)); }
static inline f32_sums f32_one(f32_sums sums, __m512i t, __m512i v) { return _mm512_add_ps(sums, lookup(t, v)); }
static inline f32_sums f32_two(f32_sums sums, __m512i t, __m512i v, __m512i u, __m512i w) {
  return _mm512_add_ps(sums, _mm512_add_ps(lookup(t, v), lookup(u, w)));
}
#define f32_last(sums, planes) _mm512_castps_si512((planes) == 2 ? _mm512_mul_ps(sums, _mm512_set1_ps(0.5f)) : (sums))

LUT_TILES(f32, 1, 1)
LUT_TILES(f32, 2, 0)

static size_t tables(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + GROUPED - 1) / GROUPED; }

static void lay_out(edgelm_conv* conv) {
  conv->pixel_bytes = tables(conv) * 64;
  conv->steps = conv->run_taps * tables(conv);
  if (conv->planes == 2)
    LUT_CHOOSE(conv, f32, 2, 0);
  else
    LUT_CHOOSE(conv, f32, 1, 1);
  conv->panel_bytes = lut_panel_bytes(conv);
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w, planes = conv->planes;
  uint32_t* indices = (uint32_t*)(void*)(out + lanes * sizeof(float)); /* first sums are zero */
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o)
    for (size_t tap = 0; tap < taps; ++tap)
      for (size_t c = 0; c < C; ++c)
        for (size_t plane = 0; plane < planes; ++plane)
          indices[((tap * tables(conv) + c / GROUPED) * planes + plane) * lanes + o % lanes] |=
              (uint32_t)lut_minus(edgelm_weight(conv, weights, o, tap, c), (int32_t)plane) << c % GROUPED;
}

/* Sixteen channels at a time; those from C on are zeros. */
static void build(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  /* Pair p, choice s: channel 2 p and channel 2 p + 1, or 16 lanes on less those. */
  const __m512i first = _mm512_setr_epi32(0, 16, 0, 16, 2, 18, 2, 18, 4, 20, 4, 20, 6, 22, 6, 22);
  const __m512i second = _mm512_setr_epi32(1, 1, 17, 17, 3, 3, 19, 19, 5, 5, 21, 21, 7, 7, 23, 23);
  /* Entry s: choice s % 4 of pair 0, choice s / 4 of pair 1. */
  const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
  const __m512i high = _mm512_setr_epi32(4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
  const __m512i next = _mm512_set1_epi32(8), sign = _mm512_set1_epi32(INT32_MIN);
  const size_t all = tables(conv);
  for (size_t i = 0; i < count; ++i, levels += stride) {
    for (size_t done = 0; done < all; done += 4) {
      const __m512i x = load(levels + done * GROUPED * sizeof(float));
      const __m512 a = _mm512_castsi512_ps(x), minus = _mm512_castsi512_ps(_mm512_xor_si512(x, sign));
      for (size_t half = 0; half < 2 && done + 2 * half < all; ++half) {
        const __m512i from = half ? next : _mm512_setzero_si512();
        const __m512 pairs = _mm512_add_ps(_mm512_permutex2var_ps(a, _mm512_add_epi32(first, from), minus),
                                           _mm512_permutex2var_ps(a, _mm512_add_epi32(second, from), minus));
        for (size_t k = 0; k < edgelm_min(2, all - done - 2 * half); ++k, out += 64) {
          const __m512i of = k ? next : _mm512_setzero_si512();
          _mm512_storeu_ps(out, _mm512_add_ps(_mm512_permutexvar_ps(_mm512_add_epi32(low, of), pairs),
                                              _mm512_permutexvar_ps(_mm512_add_epi32(high, of), pairs)));
        }
      }
    }
  }
}

const edgelm_kernel edgelm_f32_avx512 = {.element = 32,
                                         .macs_per_us = 200000,
                                         .lay_out = lay_out,
                                         .pack = pack,
                                         .build = build,
                                         .stages = &edgelm_stages_avx512};
