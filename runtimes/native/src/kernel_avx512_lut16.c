/* Whole numbers of up to fourteen bits on AVX-512 (i16): sums of four channels by table, in sixteen bits.
 *
 * a = level - low is 0..M. A table is 64 bytes: sixteen entries for each of two groups of four channels, entry s the
 * sum of (bit i of s ? M - a : a), less 2 M, so that it lies in -2 M .. 2 M. An index word is group * 16 + s: one
 * permutation looks up eight products of sixteen filters, and a dot product with ones adds the two groups. While the
 * sum of two entries fits sixteen bits two steps share that product. What is not w * level in a total is a constant of
 * the filter.
 */
#include "lut_avx512.h"

enum { GROUPED = 8, PAIR_MOST = 8191 }; /* channels of a table; M up to which two entries fit sixteen bits */

typedef __m512i i16_sums;
static inline i16_sums i16_first(const uint8_t* p) { return load(p); }
static inline i16_sums i16_one(i16_sums sums, __m512i t, __m512i v) {
  return _mm512_dpwssd_epi32(sums, _mm512_permutexvar_epi16(v, t), _mm512_set1_epi16(1));
}
static inline i16_sums i16_two(i16_sums sums, __m512i t, __m512i v, __m512i u, __m512i w) {
  const __m512i both = _mm512_add_epi16(_mm512_permutexvar_epi16(v, t), _mm512_permutexvar_epi16(w, u));
  return _mm512_dpwssd_epi32(sums, both, _mm512_set1_epi16(1));
}
#define i16_last(sums, planes) ((planes) == 2 ? _mm512_srai_epi32(sums, 1) : (sums))

LUT_TILES(i16, 1, 0)
LUT_TILES(i16, 1, 1)
LUT_TILES(i16, 2, 0)

static size_t tables(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + GROUPED - 1) / GROUPED; }

static void lay_out(edgelm_conv* conv) {
  conv->pixel_bytes = tables(conv) * 64;
  conv->steps = conv->run_taps * tables(conv);
  if (conv->planes == 2)
    LUT_CHOOSE(conv, i16, 2, 0);
  else if (conv->high - conv->low <= PAIR_MOST)
    LUT_CHOOSE(conv, i16, 1, 1);
  else
    LUT_CHOOSE(conv, i16, 1, 0);
  conv->panel_bytes = lut_panel_bytes(conv);
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w, planes = conv->planes;
  const uint32_t M = (uint32_t)(conv->high - conv->low), low = (uint32_t)conv->low;
  uint32_t* init = (uint32_t*)(void*)out; /* sums are exact modulo 2^32 */
  uint16_t* indices = (uint16_t*)(void*)(out + lanes * sizeof *init);
  for (size_t i = 0; i < lut_rows(conv) * lanes * 2; ++i) indices[i] = (uint16_t)(i % 2 * 16);
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    init[o % lanes] = (uint32_t)lut_rows(conv) * 4 * M;
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t w = edgelm_weight(conv, weights, o, tap, c);
        for (size_t plane = 0; plane < planes; ++plane) {
          const size_t row = (tap * tables(conv) + c / GROUPED) * planes + plane;
          const int minus = lut_minus(w, (int32_t)plane);
          indices[(row * lanes + o % lanes) * 2 + c % GROUPED / 4] |= (uint16_t)(minus << c % 4);
          init[o % lanes] += minus ? 0 - low - M : low;
        }
      }
    }
  }
}

/* Lane numbers 0..31 as words, and what each lane of the permutations below takes. */
typedef struct order {
  __m512i first, second; /* pair p, choice s: channel 2 p (or M less it), channel 2 p + 1 (or M less it) */
  __m512i low, high;     /* group g, entry s: choice s % 4 of pair 2 g, choice s / 4 of pair 2 g + 1 */
} order;

static inline order make_order(void) {
  const __m512i start =
      _mm512_setr_epi32(0x10000, 0x30002, 0x50004, 0x70006, 0x90008, 0xb000a, 0xd000c, 0xf000e, 0x110010, 0x130012,
                        0x150014, 0x170016, 0x190018, 0x1b001a, 0x1d001c, 0x1f001e);
  const __m512i one = _mm512_set1_epi16(1), three = _mm512_set1_epi16(3);
  const __m512i quarter = _mm512_srli_epi16(start, 2), half = _mm512_and_si512(_mm512_srli_epi16(start, 1), one);
  const __m512i channel = _mm512_add_epi16(quarter, quarter);
  const __m512i pair = _mm512_and_si512(_mm512_srli_epi16(start, 1), _mm512_set1_epi16(8)); /* 8 g: pair 2 g */
  order o;
  o.first = _mm512_or_si512(channel, _mm512_slli_epi16(_mm512_and_si512(start, one), 5));
  o.second = _mm512_or_si512(_mm512_or_si512(channel, one), _mm512_slli_epi16(half, 5));
  o.low = _mm512_or_si512(pair, _mm512_and_si512(start, three));
  o.high = _mm512_or_si512(_mm512_or_si512(pair, _mm512_set1_epi16(4)), _mm512_and_si512(quarter, three));
  return o;
}

/* Level - low of 32 channels; 0 from C on, whatever `low` is. */
static inline __m512i channels(const edgelm_conv* conv, const uint8_t* levels, size_t c) {
  const size_t left = (size_t)conv->attrs.in_channels - c;
  const __mmask32 some = left >= 32 ? 0xffffffff : (__mmask32)((1u << left) - 1);
  return _mm512_maskz_sub_epi16(some, load(levels + 2 * c), _mm512_set1_epi16((int16_t)conv->low));
}

static inline void store_table(uint8_t* out, __m512i low, __m512i high, __m512i pairs) {
  _mm512_storeu_si512(out,
                      _mm512_add_epi16(_mm512_permutexvar_epi16(low, pairs), _mm512_permutexvar_epi16(high, pairs)));
}

/* Thirty-two channels at a time, sixteen of them make the pairs of two tables. */
static void build(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  const order o = make_order();
  const __m512i M = _mm512_set1_epi16((int16_t)(conv->high - conv->low)), next = _mm512_set1_epi16(16);
  const __m512i first = _mm512_add_epi16(o.first, next), second = _mm512_add_epi16(o.second, next);
  const __m512i low = _mm512_add_epi16(o.low, next), high = _mm512_add_epi16(o.high, next);
  const size_t all = tables(conv);
  for (size_t i = 0; i < count; ++i, levels += stride) {
    for (size_t done = 0; done < all; done += 4) {
      const __m512i a = channels(conv, levels, done * GROUPED), reversed = _mm512_sub_epi16(M, a);
      const __m512i some = _mm512_add_epi16(_mm512_permutex2var_epi16(a, o.first, reversed),
                                            _mm512_permutex2var_epi16(a, o.second, reversed));
      const __m512i others = _mm512_add_epi16(_mm512_permutex2var_epi16(a, first, reversed),
                                              _mm512_permutex2var_epi16(a, second, reversed));
      const __m512i pairs = _mm512_sub_epi16(some, M), more = _mm512_sub_epi16(others, M);
      const size_t left = all - done;
      store_table(out, o.low, o.high, pairs);
      if (left > 1) store_table(out + 64, low, high, pairs);
      if (left > 2) store_table(out + 128, o.low, o.high, more);
      if (left > 3) store_table(out + 192, low, high, more);
      out += 64 * edgelm_min(left, 4);
    }
  }
}

const edgelm_kernel edgelm_i16_avx512 = {.element = 16,
                                         .macs_per_us = 600000,
                                         .lay_out = lay_out,
                                         .pack = pack,
                                         .build = build,
                                         .stages = &edgelm_stages_avx512};
