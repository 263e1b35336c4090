/* Few levels on AVX-512 (i6): sums of four channels by table, in bytes.
 *
 * Bytes hold 0..M. A table is 64 bytes: sixteen entries for each of four groups of four channels, entry s the sum of
 * (bit i of s ? M - a : a). An index byte is group * 16 + s, so that one permutation looks up sixteen products of
 * sixteen filters, and a dot product with ones adds the four groups. While two entries fit a byte two steps share that
 * product. A total is the sum of w * a, M for each weight of -1 and the offset's share: constants of the filter.
 */
#include "lut_avx512.h"

enum { GROUPED = 16, PAIR_MOST = 31 }; /* channels of a table; M up to which two entries fit a byte */

typedef __m512i i6_sums;
static inline i6_sums i6_first(const uint8_t* p) { return load(p); }
static inline i6_sums i6_one(i6_sums sums, __m512i t, __m512i v) {
  return _mm512_dpbusd_epi32(sums, _mm512_permutexvar_epi8(v, t), _mm512_set1_epi8(1));
}
static inline i6_sums i6_two(i6_sums sums, __m512i t, __m512i v, __m512i u, __m512i w) {
  const __m512i both = _mm512_add_epi8(_mm512_permutexvar_epi8(v, t), _mm512_permutexvar_epi8(w, u));
  return _mm512_dpbusd_epi32(sums, both, _mm512_set1_epi8(1));
}
#define i6_last(sums, planes) ((planes) == 2 ? _mm512_srai_epi32(sums, 1) : (sums))

LUT_TILES(i6, 1, 0)
LUT_TILES(i6, 1, 1)
LUT_TILES(i6, 2, 0)

static size_t tables(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + GROUPED - 1) / GROUPED; }

static void lay_out(edgelm_conv* conv) {
  conv->pixel_bytes = tables(conv) * 64;
  conv->steps = conv->run_taps * tables(conv);
  if (conv->planes == 2)
    LUT_CHOOSE(conv, i6, 2, 0);
  else if (conv->high - conv->low <= PAIR_MOST)
    LUT_CHOOSE(conv, i6, 1, 1);
  else
    LUT_CHOOSE(conv, i6, 1, 0);
  conv->panel_bytes = lut_panel_bytes(conv);
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w, planes = conv->planes;
  const int32_t M = conv->high - conv->low;
  int32_t* init = (int32_t*)(void*)out;
  uint8_t* indices = out + lanes * sizeof *init;
  for (size_t i = 0; i < lut_rows(conv) * lanes * 4; ++i) indices[i] = (uint8_t)(i % 4 * 16);
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t w = edgelm_weight(conv, weights, o, tap, c);
        for (size_t plane = 0; plane < planes; ++plane) {
          const size_t row = (tap * tables(conv) + c / GROUPED) * planes + plane;
          const int minus = lut_minus(w, (int32_t)plane);
          indices[(row * lanes + o % lanes) * 4 + c % GROUPED / 4] |= (uint8_t)(minus << c % 4);
          init[o % lanes] -= minus * M + conv->offset * (1 - 2 * minus);
        }
      }
    }
  }
}

/* The numbers 0..63 as bytes, and what each lane of the permutations below takes. */
typedef struct order {
  __m512i first, second; /* pair p, choice s: channel 2 p (or M less it), channel 2 p + 1 (or M less it) */
  __m512i low, high;     /* group g, entry s: choice s % 4 of pair 2 g, choice s / 4 of pair 2 g + 1 */
} order;

static inline order make_order(void) {
  const __m512i start =
      _mm512_setr_epi32(0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c, 0x13121110, 0x17161514, 0x1b1a1918, 0x1f1e1d1c,
                        0x23222120, 0x27262524, 0x2b2a2928, 0x2f2e2d2c, 0x33323130, 0x37363534, 0x3b3a3938, 0x3f3e3d3c);
  const __m512i one = _mm512_set1_epi8(1), three = _mm512_set1_epi8(3);
  const __m512i quarter = _mm512_and_si512(_mm512_srli_epi16(start, 2), _mm512_set1_epi8(15));
  const __m512i half = _mm512_and_si512(_mm512_srli_epi16(start, 1), one);
  const __m512i channel = _mm512_add_epi8(quarter, quarter);
  const __m512i pair = _mm512_and_si512(_mm512_srli_epi16(start, 1), _mm512_set1_epi8(24)); /* 8 g: pair 2 g */
  order o;
  o.first = _mm512_or_si512(channel, _mm512_slli_epi16(_mm512_and_si512(start, one), 6));
  o.second = _mm512_or_si512(_mm512_or_si512(channel, one), _mm512_slli_epi16(half, 6));
  o.low = _mm512_or_si512(pair, _mm512_and_si512(start, three));
  o.high = _mm512_or_si512(_mm512_or_si512(pair, _mm512_set1_epi8(4)), _mm512_and_si512(quarter, three));
  return o;
}

static inline void store_table(uint8_t* out, __m512i low, __m512i high, __m512i pairs) {
  _mm512_storeu_si512(out, _mm512_add_epi8(_mm512_permutexvar_epi8(low, pairs), _mm512_permutexvar_epi8(high, pairs)));
}

/* Sixty-four channels at a time, thirty-two of them make the pairs of two tables. */
static void build(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  const order o = make_order();
  const __m512i M = _mm512_set1_epi8((char)(conv->high - conv->low)), next = _mm512_set1_epi8(32);
  const __m512i first = _mm512_add_epi8(o.first, next), second = _mm512_add_epi8(o.second, next);
  const __m512i low = _mm512_add_epi8(o.low, next), high = _mm512_add_epi8(o.high, next);
  const size_t all = tables(conv);
  for (size_t i = 0; i < count; ++i, levels += stride) {
    for (size_t done = 0; done < all; done += 4) {
      _mm_prefetch((const char*)levels + count * stride + done * GROUPED, _MM_HINT_T0); /* of the next chunk */
      const __m512i a = load(levels + done * GROUPED), reversed = _mm512_sub_epi8(M, a);
      const __m512i some = _mm512_add_epi8(_mm512_permutex2var_epi8(a, o.first, reversed),
                                           _mm512_permutex2var_epi8(a, o.second, reversed));
      const __m512i others =
          _mm512_add_epi8(_mm512_permutex2var_epi8(a, first, reversed), _mm512_permutex2var_epi8(a, second, reversed));
      const size_t left = all - done;
      store_table(out, o.low, o.high, some);
      if (left > 1) store_table(out + 64, low, high, some);
      if (left > 2) store_table(out + 128, o.low, o.high, others);
      if (left > 3) store_table(out + 192, low, high, others);
      out += 64 * edgelm_min(left, 4);
    }
  }
}

const edgelm_kernel edgelm_i6_avx512 = {.element = 8,
                                        .offset = -1,
                                        .macs_per_us = 900000,
                                        .lay_out = lay_out,
                                        .pack = pack,
                                        .build = build,
                                        .stages = &edgelm_stages_avx512};
