/* Levels in bytes on AVX-512: sums of four channels by table.
 *
 * Bytes hold a = level - low, 0..M. A table is 64 bytes: sixteen entries for each of four groups of four channels,
 * entry s the sum of (bit i of s ? top - a : a). An index byte is group * 16 + s, so that one permutation looks up
 * sixteen products of sixteen filters, and a dot product with ones adds the four groups. While two entries fit a byte
 * two steps share that product. A total is the sum of w * level, and constants of the filter.
 *
 *   i6   a table of all of a, top = M <= 63
 *   i8   two tables, of the upper and the lower four bits of a, where top = 15 is the complement of either; the upper
 *        ones count sixteenfold
 */
#include "lut_avx512.h"

enum { GROUPED = 16, PAIR_MOST = 31, DIGIT = 15 }; /* channels of a table; M up to which two entries fit a byte */

static inline __m512i add_up(__m512i sums, __m512i bytes, char factor) {
  return _mm512_dpbusd_epi32(sums, bytes, _mm512_set1_epi8(factor));
}

enum { i6_table = 64, i8_table = 128 };
typedef __m512i i6_tables;
#define i6_get get_table
static inline __m512i i6_one(__m512i sums, i6_tables t, __m512i v) {
  return add_up(sums, _mm512_permutexvar_epi8(v, t), 1);
}
static inline __m512i i6_two(__m512i sums, i6_tables t, __m512i v, i6_tables u, __m512i w) {
  return add_up(sums, _mm512_add_epi8(_mm512_permutexvar_epi8(v, t), _mm512_permutexvar_epi8(w, u)), 1);
}

typedef struct i8_tables {
  __m512i upper, lower;
} i8_tables;
static inline i8_tables i8_get(const uint8_t* p) { return (i8_tables){get_table(p), get_table(p + 64)}; }
static inline __m512i i8_one(__m512i sums, i8_tables t, __m512i v) {
  sums = add_up(sums, _mm512_permutexvar_epi8(v, t.upper), DIGIT + 1);
  return add_up(sums, _mm512_permutexvar_epi8(v, t.lower), 1);
}
static inline __m512i i8_two(__m512i sums, i8_tables t, __m512i v, i8_tables u, __m512i w) {
  const __m512i upper = _mm512_add_epi8(_mm512_permutexvar_epi8(v, t.upper), _mm512_permutexvar_epi8(w, u.upper));
  const __m512i lower = _mm512_add_epi8(_mm512_permutexvar_epi8(v, t.lower), _mm512_permutexvar_epi8(w, u.lower));
  return add_up(add_up(sums, upper, DIGIT + 1), lower, 1);
}

LUT_TILES(i6, 1, 0)
LUT_TILES(i6, 1, 1)
LUT_TILES(i6, 2, 0)
LUT_TILES(i8, 1, 1)
LUT_TILES(i8, 2, 0)

static size_t tables(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + GROUPED - 1) / GROUPED; }
static int32_t top(const edgelm_conv* conv) { return conv->kind == EDGELM_I8 ? 255 : conv->high - conv->low; }

static void lay_out_i6(edgelm_conv* conv) {
  lut_lay_out(conv, tables(conv), i6_table);
  if (conv->planes == 2)
    LUT_CHOOSE(conv, i6, 2, 0);
  else if (conv->high - conv->low <= PAIR_MOST)
    LUT_CHOOSE(conv, i6, 1, 1);
  else
    LUT_CHOOSE(conv, i6, 1, 0);
  conv->panel_bytes = lut_panel_bytes(conv);
}

static void lay_out_i8(edgelm_conv* conv) {
  lut_lay_out(conv, tables(conv), i8_table);
  if (conv->planes == 2)
    LUT_CHOOSE(conv, i8, 2, 0);
  else
    LUT_CHOOSE(conv, i8, 1, 1);
  conv->panel_bytes = lut_panel_bytes(conv);
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  lut_pack(conv, weights, panel, sizeof(uint8_t), -conv->offset, conv->offset - top(conv), out);
}

/* The numbers 0..63 as bytes, and what each lane of the permutations below takes. */
typedef struct order {
  __m512i first[2],
      second[2];           /* pair p, choice s of either half: channel 2 p, 2 p + 1, or 64 lanes on top less those */
  __m512i low[2], high[2]; /* group g, entry s of either table: choice s % 4 of pair 2 g, s / 4 of pair 2 g + 1 */
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
  o.first[0] = _mm512_or_si512(channel, _mm512_slli_epi16(_mm512_and_si512(start, one), 6));
  o.second[0] = _mm512_or_si512(_mm512_or_si512(channel, one), _mm512_slli_epi16(half, 6));
  o.low[0] = _mm512_or_si512(pair, _mm512_and_si512(start, three));
  o.high[0] = _mm512_or_si512(_mm512_or_si512(pair, _mm512_set1_epi8(4)), _mm512_and_si512(quarter, three));
  const __m512i next = _mm512_set1_epi8(32);
  o.first[1] = _mm512_add_epi8(o.first[0], next);
  o.second[1] = _mm512_add_epi8(o.second[0], next);
  o.low[1] = _mm512_add_epi8(o.low[0], next);
  o.high[1] = _mm512_add_epi8(o.high[0], next);
  return o;
}

/* The first `left` of the four tables of 64 channels, `step` bytes apart. */
static inline void store_tables(const order* o, __m512i a, __m512i most, size_t left, uint8_t* out, size_t step) {
  const __m512i reversed = _mm512_sub_epi8(most, a);
  for (size_t half = 0; half < 2 && 2 * half < left; ++half) {
    const __m512i pairs = _mm512_add_epi8(_mm512_permutex2var_epi8(a, o->first[half], reversed),
                                          _mm512_permutex2var_epi8(a, o->second[half], reversed));
    for (size_t k = 0; k < 2 && 2 * half + k < left; ++k, out += step)
      _mm512_storeu_si512(
          out, _mm512_add_epi8(_mm512_permutexvar_epi8(o->low[k], pairs), _mm512_permutexvar_epi8(o->high[k], pairs)));
  }
}

static void build_i6(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  const order o = make_order();
  const __m512i most = _mm512_set1_epi8((char)top(conv));
  const size_t all = tables(conv), ahead = count * stride, pixel = conv->pixel_bytes;
  for (size_t i = 0; i < count; ++i, levels += stride, out += pixel) {
    size_t done = 0;
    for (; done + 4 <= all; done += 4) {
      _mm_prefetch((const char*)levels + ahead + done * GROUPED, _MM_HINT_T0); /* of the next chunk */
      store_tables(&o, load(levels + done * GROUPED), most, 4, out + done * i6_table, i6_table);
    }
    if (done < all) store_tables(&o, load(levels + done * GROUPED), most, all - done, out + done * i6_table, i6_table);
  }
}

static inline void store_digits(const order* o, __m512i a, size_t left, uint8_t* out) {
  const __m512i digit = _mm512_set1_epi8(DIGIT);
  store_tables(o, _mm512_and_si512(_mm512_srli_epi16(a, 4), digit), digit, left, out, i8_table);
  store_tables(o, _mm512_and_si512(a, digit), digit, left, out + 64, i8_table);
}

static void build_i8(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  const order o = make_order();
  const size_t all = tables(conv), ahead = count * stride, pixel = conv->pixel_bytes;
  for (size_t i = 0; i < count; ++i, levels += stride, out += pixel) {
    size_t done = 0;
    for (; done + 4 <= all; done += 4) {
      _mm_prefetch((const char*)levels + ahead + done * GROUPED, _MM_HINT_T0); /* of the next chunk */
      store_digits(&o, load(levels + done * GROUPED), 4, out + done * i8_table);
    }
    if (done < all) store_digits(&o, load(levels + done * GROUPED), all - done, out + done * i8_table);
  }
}

const edgelm_kernel edgelm_i6_avx512 = {.element = 8,
                                        .offset = -1,
                                        .macs_per_us = 900000,
                                        .lay_out = lay_out_i6,
                                        .pack = pack,
                                        .build = build_i6,
                                        .squeeze = {1, 4, 4},
                                        .stages = &edgelm_stages_avx512};
const edgelm_kernel edgelm_i8_avx512 = {.element = 8,
                                        .offset = -1,
                                        .macs_per_us = 550000,
                                        .lay_out = lay_out_i8,
                                        .pack = pack,
                                        .build = build_i8,
                                        .squeeze = {1, 4, 4},
                                        .stages = &edgelm_stages_avx512};
