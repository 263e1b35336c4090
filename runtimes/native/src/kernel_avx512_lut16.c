/* Whole numbers of up to fourteen bits on AVX-512 (i16): sums of four channels by table, in sixteen bits.
 *
 * Tables hold a = level - middle, or its complement -1 - a for a weight of -1: with the middle of the range both lie in
 * -2^13 .. 2^13 - 1, and four of them fit sixteen bits. A table is 64 bytes: sixteen entries for each of two groups of
 * four channels, entry s the sum of (bit i of s ? ~a : a). An index word is group * 16 + s: one permutation looks up
 * eight products of sixteen filters, and a dot product with ones adds the two groups. While the sum of two entries fits
 * sixteen bits two steps share that product. What is not w * level in a total is a constant of the filter.
 */
#include "lut_avx512.h"

enum { GROUPED = 8, PAIR_MOST = 8191 }; /* channels of a table; range up to which two entries fit sixteen bits */

enum { i16_table = 64 };
typedef __m512i i16_tables;
#define i16_get get_table
static inline __m512i i16_one(__m512i sums, i16_tables t, __m512i v) {
  return _mm512_dpwssd_epi32(sums, _mm512_permutexvar_epi16(v, t), _mm512_set1_epi16(1));
}
static inline __m512i i16_two(__m512i sums, i16_tables t, __m512i v, i16_tables u, __m512i w) {
  const __m512i both = _mm512_add_epi16(_mm512_permutexvar_epi16(v, t), _mm512_permutexvar_epi16(w, u));
  return _mm512_dpwssd_epi32(sums, both, _mm512_set1_epi16(1));
}

LUT_TILES(i16, 1, 0)
LUT_TILES(i16, 1, 1)
LUT_TILES(i16, 2, 0)

static size_t tables(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + GROUPED - 1) / GROUPED; }

static int32_t middle(const edgelm_conv* conv) { return conv->low + (conv->high - conv->low) / 2 + 1; }

static void lay_out(edgelm_conv* conv) {
  lut_lay_out(conv, tables(conv), i16_table);
  if (conv->planes == 2)
    LUT_CHOOSE(conv, i16, 2, 0);
  else if (conv->high - conv->low <= PAIR_MOST)
    LUT_CHOOSE(conv, i16, 1, 1);
  else
    LUT_CHOOSE(conv, i16, 1, 0);
  conv->panel_bytes = lut_panel_bytes(conv);
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  lut_pack(conv, weights, panel, sizeof(uint16_t), middle(conv), 1 - middle(conv), out);
}

/* Lane numbers 0..31 made into what each lane of a permutation takes. */
typedef struct order {
  __m512i first[2],
      second[2];           /* pair p, choice s of either half: channel 2 p, channel 2 p + 1, or 32 lanes on ~ those */
  __m512i low[2], high[2]; /* group g, entry s of either table: choice s % 4 of pair 2 g, s / 4 of pair 2 g + 1 */
} order;

static inline order make_order(void) {
  const __m512i start =
      _mm512_setr_epi32(0x10000, 0x30002, 0x50004, 0x70006, 0x90008, 0xb000a, 0xd000c, 0xf000e, 0x110010, 0x130012,
                        0x150014, 0x170016, 0x190018, 0x1b001a, 0x1d001c, 0x1f001e);
  const __m512i one = _mm512_set1_epi16(1), three = _mm512_set1_epi16(3), next = _mm512_set1_epi16(16);
  const __m512i quarter = _mm512_srli_epi16(start, 2), half = _mm512_and_si512(_mm512_srli_epi16(start, 1), one);
  const __m512i channel = _mm512_add_epi16(quarter, quarter);
  const __m512i pair = _mm512_and_si512(_mm512_srli_epi16(start, 1), _mm512_set1_epi16(8)); /* 8 g: pair 2 g */
  order o;
  o.first[0] = _mm512_or_si512(channel, _mm512_slli_epi16(_mm512_and_si512(start, one), 5));
  o.second[0] = _mm512_or_si512(_mm512_or_si512(channel, one), _mm512_slli_epi16(half, 5));
  o.low[0] = _mm512_or_si512(pair, _mm512_and_si512(start, three));
  o.high[0] = _mm512_or_si512(_mm512_or_si512(pair, _mm512_set1_epi16(4)), _mm512_and_si512(quarter, three));
  o.first[1] = _mm512_add_epi16(o.first[0], next);
  o.second[1] = _mm512_add_epi16(o.second[0], next);
  o.low[1] = _mm512_add_epi16(o.low[0], next);
  o.high[1] = _mm512_add_epi16(o.high[0], next);
  return o;
}

/* Two tables of sixteen of the channels in `a`. */
static inline void store_tables(const order* o, int half, __m512i a, uint8_t* out, int both) {
  const __m512i reversed = _mm512_xor_si512(a, _mm512_set1_epi16(-1));
  const __m512i pairs = _mm512_add_epi16(_mm512_permutex2var_epi16(a, o->first[half], reversed),
                                         _mm512_permutex2var_epi16(a, o->second[half], reversed));
  for (int k = 0; k < 1 + both; ++k, out += 64)
    _mm512_storeu_si512(
        out, _mm512_add_epi16(_mm512_permutexvar_epi16(o->low[k], pairs), _mm512_permutexvar_epi16(o->high[k], pairs)));
}

static void build(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  const order o = make_order();
  const __m512i zero_level = _mm512_set1_epi16((int16_t)middle(conv));
  const size_t C = conv->attrs.in_channels, whole = C / 32 * 32, left = C - whole, ahead = count * stride;
  const size_t tail = tables(conv) - whole / GROUPED, pixel = conv->pixel_bytes;
  for (size_t i = 0; i < count; ++i, levels += stride, out += pixel) {
    const uint8_t* from = levels;
    uint8_t* to = out;
    for (; from < levels + 2 * whole; from += 64, to += 256) {
      _mm_prefetch((const char*)from + ahead, _MM_HINT_T0); /* of the next chunk */
      const __m512i a = _mm512_sub_epi16(load(from), zero_level);
      store_tables(&o, 0, a, to, 1);
      store_tables(&o, 1, a, to + 128, 1);
    }
    if (!left) continue;
    /* What is no channel adds nothing. */
    const __m512i a = _mm512_maskz_sub_epi16((1u << left) - 1, load(from), zero_level);
    store_tables(&o, 0, a, to, tail > 1);
    if (tail > 2) store_tables(&o, 1, a, to + 128, tail > 3);
  }
}

const edgelm_kernel edgelm_i16_avx512 = {.element = 16,
                                         .macs_per_us = 600000,
                                         .lay_out = lay_out,
                                         .pack = pack,
                                         .build = build,
                                         .squeeze = {2, 2, 4},
                                         .stages = &edgelm_stages_avx512};
