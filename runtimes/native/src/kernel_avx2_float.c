/* Float activations with low-bit weights on AVX2 (f32): sums of four channels by table.
 *
 * A permutation of floats is too slow here to be a table, but memory is one: entry s of a table is the sum of (bit i of
 * s ? -x : x) of four channels, for WIDE pixels, so that a filter's index picks vectors of pixels. An addition from
 * memory replaces four fused multiply-adds. Tables are made on the stack for some groups of channels at a time, and all
 * filters add what they pick before the next groups come. Where pixels stand side by side, a table of some pixels more
 * serves the three taps of a kernel row: a tap further on begins a float later. A ternary weight is the mean of two
 * binary ones: two indices for the same channels, half the sum.
 *
 * Resident, an index takes four bits; each run spreads it to the byte that an address is made of.
 */
#include <immintrin.h>
#include <string.h>

#include "conv.h"

enum {
  WORDS = 8, /* floats of a vector */
  WIDE = 32, /* pixels at once */
  LANES_AT_MOST = 128,
  GROUPED = 4, /* channels of a table */
  ENTRIES = 1 << GROUPED,
  SIDE = 3,             /* taps that share tables */
  ROW_1 = WIDE,         /* floats of an entry where each tap has tables of its own */
  ROW_3 = WIDE + WORDS, /* and where three share them: a neighbour's on either side, and what keeps entries aligned */
  UNIT = 4,             /* floats in which a spread index counts: a byte holds the place of the last entry */
  BLOCK_1 = 8,          /* groups whose tables are there at the same time */
  BLOCK_3 = 4,
};

extern const struct edgelm_stages edgelm_stages_avx2;

static int shares(const edgelm_conv* conv) { return conv->run_taps == SIDE; }
static size_t groups_of(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + GROUPED - 1) / GROUPED; }

/* ---- tables ---- */

/* Eight pixels of `some` channels, 1 to 4: a vector for each channel, absent ones are zeros. */
static inline void load_channels(const uint8_t* const* x, size_t at, size_t some, __m256 out[GROUPED]) {
  __m256 row[4];
  if (some == GROUPED) {
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i)
      row[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps((const float*)(const void*)(x[i] + at))),
                                    _mm_loadu_ps((const float*)(const void*)(x[i + 4] + at)), 1);
  } else {
    const __m128i mask = _mm_cmpgt_epi32(_mm_set1_epi32((int32_t)some), _mm_setr_epi32(0, 1, 2, 3));
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i)
      row[i] =
          _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_maskload_ps((const float*)(const void*)(x[i] + at), mask)),
                               _mm_maskload_ps((const float*)(const void*)(x[i + 4] + at), mask), 1);
  }
  const __m256 a = _mm256_unpacklo_ps(row[0], row[1]), b = _mm256_unpackhi_ps(row[0], row[1]);
  const __m256 c = _mm256_unpacklo_ps(row[2], row[3]), d = _mm256_unpackhi_ps(row[2], row[3]);
  out[0] = _mm256_shuffle_ps(a, c, 0x44);
  out[1] = _mm256_shuffle_ps(a, c, 0xee);
  out[2] = _mm256_shuffle_ps(b, d, 0x44);
  out[3] = _mm256_shuffle_ps(b, d, 0xee);
}

/* The sums of two channels, each plus or minus: bit 0 of the place stands for the first. */
static inline void pair(__m256 a, __m256 b, __m256 out[4]) {
  const __m256 minus = _mm256_set1_ps(-0.0f);
  out[0] = _mm256_add_ps(a, b);
  out[1] = _mm256_sub_ps(b, a);
  out[2] = _mm256_sub_ps(a, b);
  out[3] = _mm256_xor_ps(out[0], minus);
}

/* Eight pixels' part of a table whose entries are `row` floats apart. */
static inline void store_table(const __m256 x[GROUPED], size_t row, float* out) {
  __m256 first[4], second[4];
  pair(x[0], x[1], first);
  pair(x[2], x[3], second);
#pragma GCC unroll 16
  for (size_t s = 0; s < ENTRIES; ++s) _mm256_store_ps(out + s * row, _mm256_add_ps(first[s % 4], second[s / 4]));
}

/* Tables of `groups` groups of channels from `first` on, for `vectors` times eight pixels. */
static inline void make_tables(const edgelm_conv* conv, const uint8_t* const* x, size_t first, size_t groups,
                               size_t vectors, size_t row, float* out) {
  const size_t C = conv->attrs.in_channels;
  for (size_t v = 0; v < vectors; ++v) {
    float* to = out + v * WORDS;
    for (size_t g = first; g < first + groups; ++g, to += ENTRIES * row) {
      __m256 channels[GROUPED];
      load_channels(x + v * WORDS, g * GROUPED * sizeof(float), edgelm_min(C - g * GROUPED, GROUPED), channels);
      store_table(channels, row, to);
    }
  }
}

/* ---- sums ---- */

/* Adds to the sums, (lanes, WIDE), what `groups` tables give; returns the next index. */
static inline __attribute__((always_inline)) const uint8_t* add_tables(const float* tables, size_t groups, size_t lanes,
                                                                       const uint8_t* index, float* sums,
                                                                       size_t vectors, size_t taps, size_t planes) {
  const size_t bytes = ENTRIES * (taps == SIDE ? ROW_3 : ROW_1) * sizeof(float);
  for (size_t lane = 0; lane < lanes; lane += 2, sums += 2 * WIDE) {
    __m256 total[2][WIDE / WORDS];
#pragma GCC unroll 2
    for (size_t k = 0; k < 2; ++k)
#pragma GCC unroll 4
      for (size_t v = 0; v < vectors; ++v) total[k][v] = _mm256_load_ps(sums + k * WIDE + v * WORDS);
    const uint8_t* table = (const uint8_t*)tables;
    for (size_t g = 0; g < groups; ++g, table += bytes) {
#pragma GCC unroll 3
      for (size_t tap = 0; tap < taps; ++tap) {
#pragma GCC unroll 4
        for (size_t k = 0; k < 2 * planes; ++k, ++index) {
          const float* entry =
              (const float*)(const void*)(table + tap * sizeof(float) + (size_t)*index * (UNIT * sizeof(float)));
#pragma GCC unroll 4
          for (size_t v = 0; v < vectors; ++v)
            total[k % 2][v] = _mm256_add_ps(total[k % 2][v], _mm256_loadu_ps(entry + v * WORDS));
        }
      }
    }
#pragma GCC unroll 2
    for (size_t k = 0; k < 2; ++k)
#pragma GCC unroll 4
      for (size_t v = 0; v < vectors; ++v) _mm256_store_ps(sums + k * WIDE + v * WORDS, total[k][v]);
  }
  return index;
}

/* From (lanes, WIDE) to pixel after pixel. */
static void hand_over(const edgelm_conv* conv, const float* sums, size_t vectors, float* out, size_t stride) {
  const __m256 scale = _mm256_set1_ps(conv->planes == 2 ? 0.5f : 1.0f);
  for (size_t v = 0; v < vectors; ++v, sums += WORDS, out += WORDS * stride) {
    for (size_t lane = 0; lane < (size_t)conv->lanes; lane += WORDS) {
      __m256 r[8], t[8];
#pragma GCC unroll 8
      for (size_t i = 0; i < 8; ++i) r[i] = _mm256_mul_ps(_mm256_load_ps(sums + (lane + i) * WIDE), scale);
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; ++i) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
      }
#pragma GCC unroll 2
      for (size_t i = 0; i < 2; ++i) {
        r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
      }
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; ++i) {
        _mm256_storeu_ps(out + i * stride + lane, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(out + (i + 4) * stride + lane, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
      }
    }
  }
}

/* Up to WIDE pixels: `at` says where each lies, and with three taps also where two more do. */
#define SOME_PIXELS(vectors, taps, planes)                                                                   \
  static void pixels_##vectors##_##taps##_##planes(const edgelm_conv* conv, const uint8_t* const* runs,      \
                                                   const int32_t* at, const uint8_t* index, float* out,      \
                                                   size_t stride) {                                          \
    enum { ROW = (taps) == SIDE ? ROW_3 : ROW_1, BLOCK = (taps) == SIDE ? BLOCK_3 : BLOCK_1 };               \
    float sums[LANES_AT_MOST * WIDE] __attribute__((aligned(64)));                                           \
    float tables[BLOCK * ENTRIES * ROW] __attribute__((aligned(64)));                                        \
    const size_t lanes = (size_t)conv->lanes, groups = groups_of(conv), made = (vectors) + ((taps) == SIDE); \
    memset(sums, 0, lanes * WIDE * sizeof *sums);                                                            \
    for (size_t run = 0; run < conv->runs; ++run) {                                                          \
      const uint8_t* x[WIDE + WORDS];                                                                        \
      for (size_t i = 0; i < made * WORDS; ++i) x[i] = runs[run] + at[i];                                    \
      for (size_t g = 0, some; g < groups; g += some) {                                                      \
        some = edgelm_min(groups - g, BLOCK);                                                                \
        make_tables(conv, x, g, some, made, ROW, tables);                                                    \
        index = add_tables(tables, some, lanes, index, sums, vectors, taps, planes);                         \
      }                                                                                                      \
    }                                                                                                        \
    hand_over(conv, sums, vectors, out, stride);                                                             \
  }
#define FOR_TAPS(taps)    \
  SOME_PIXELS(1, taps, 1) \
  SOME_PIXELS(2, taps, 1) \
  SOME_PIXELS(3, taps, 1) \
  SOME_PIXELS(4, taps, 1) \
  SOME_PIXELS(1, taps, 2) \
  SOME_PIXELS(2, taps, 2) \
  SOME_PIXELS(3, taps, 2) \
  SOME_PIXELS(4, taps, 2)
FOR_TAPS(1)
FOR_TAPS(3)

typedef void some_pixels(const edgelm_conv*, const uint8_t* const*, const int32_t*, const uint8_t*, float*, size_t);
#define OF(taps, planes) \
  {pixels_1_##taps##_##planes, pixels_2_##taps##_##planes, pixels_3_##taps##_##planes, pixels_4_##taps##_##planes}
static some_pixels* const by_count[2][2][WIDE / WORDS] = {{OF(1, 1), OF(1, 2)}, {OF(3, 1), OF(3, 2)}};

/* How many of `most` pixels stand side by side. */
static size_t side_by_side(const int32_t* offsets, size_t most, size_t pixel) {
  size_t count = 1;
  while (count < most && offsets[count] - offsets[count - 1] == (int32_t)pixel) ++count;
  return count;
}

static void tiles(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, size_t count,
                  const uint8_t* panel, void* sums, size_t stride) {
  const int shared = shares(conv);
  for (size_t i = 0, some; i < count; i += some) {
    some = edgelm_min(count - i, WIDE);
    if (shared) some = side_by_side(offsets + i, some, conv->pixel_bytes);
    int32_t at[WIDE + WORDS];
    for (size_t p = 0; p < WIDE + WORDS; ++p)
      at[p] = offsets[i + edgelm_min(p, some - 1)] +
              (shared && p >= some ? (int32_t)(edgelm_min(p - some + 1, 2) * conv->pixel_bytes) : 0);
    by_count[shared][conv->planes - 1][(some - 1) / WORDS](conv, runs, at, panel, (float*)sums + i * stride, stride);
  }
}

/* ---- weights ---- */

static void lay_out(edgelm_conv* conv) {
  const edgelm_qconv_attrs* a = &conv->attrs;
  const size_t O = a->out_channels, panels = (O + LANES_AT_MOST - 1) / LANES_AT_MOST;
  if (a->kernel_w != SIDE || a->dilation_w != 1 || a->stride_w != 1) {
    conv->runs = (size_t)a->kernel_h * a->kernel_w;
    conv->run_taps = 1;
  }
  conv->pixel_bytes = (size_t)a->in_channels * sizeof(float);
  conv->steps = conv->run_taps * groups_of(conv);
  conv->lanes = (int32_t)edgelm_up((O + panels - 1) / panels, WORDS);
  conv->pixels = WORDS;
  conv->tiles = tiles;
  conv->expanded_bytes = conv->runs * conv->steps * (size_t)(conv->lanes * conv->planes);
  conv->panel_bytes = conv->expanded_bytes / 2;
}

/* Indices stand in the order in which `add_tables` comes to them. */
static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const size_t taps = conv->run_taps, planes = conv->planes, groups = groups_of(conv);
  const size_t block = shares(conv) ? BLOCK_3 : BLOCK_1;
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    for (size_t tap = 0; tap < conv->runs * taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t w = edgelm_weight(conv, weights, o, tap, c);
        const size_t g = c / GROUPED, first = g / block * block, some = edgelm_min(groups - first, block);
        const size_t before = ((tap / taps * groups + first) * lanes + o % lanes / 2 * 2 * some) * taps;
        for (size_t plane = 0; plane < planes; ++plane) {
          const int minus = plane ? w < 1 : w < 0; /* of the two binary weights whose mean it is, or itself */
          const size_t at = (before + ((g - first) * taps + tap % taps) * 2) * planes + plane * 2 + o % 2;
          out[at / 2] |= (uint8_t)(minus << (at % 2 * 4 + c % GROUPED));
        }
      }
    }
  }
}

/* An index becomes the distance of its entry. */
static void expand(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out) {
  const uint8_t apart = (shares(conv) ? ROW_3 : ROW_1) / UNIT;
  for (size_t i = 0; i < conv->panel_bytes; ++i) {
    out[2 * i] = (uint8_t)((panel[i] & 15) * apart);
    out[2 * i + 1] = (uint8_t)((panel[i] >> 4) * apart);
  }
}

const edgelm_kernel edgelm_f32_avx2 = {.element = 32,
                                       .macs_per_us = 65000,
                                       .lay_out = lay_out,
                                       .pack = pack,
                                       .expand = expand,
                                       .stages = &edgelm_stages_avx2};
