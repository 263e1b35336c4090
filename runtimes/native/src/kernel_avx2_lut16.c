/* Many levels on AVX2 (i16): sums of four channels by table, as in kernel_avx2_lut.c, but entries of sixteen bits: a
 * table of their lower bytes and one of their upper.
 *
 * Upper bytes are small: some of them (`batch`) are added up in a byte before they are widened.
 */
#include <immintrin.h>
#include <string.h>

#include "conv.h"

enum { LANES = 32, PIXELS = 3, FLUSH = 256 /* entries until sixteen bits may overflow */ };
extern const struct edgelm_stages edgelm_stages_avx2;

static inline __m256i load(const void* p) { return _mm256_loadu_si256(p); }
static inline void store(void* p, __m256i v) { _mm256_storeu_si256(p, v); }
static inline __m256i table(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)(const void*)p));
}
#define PIN(v) __asm__("" : "+x"(v))

/* Sums of bytes: `all` of words of two, `odd` of their upper bytes. */
typedef struct totals {
  __m256i all, odd;
} totals;

static inline void widen(totals* t, __m256i bytes) {
  t->all = _mm256_add_epi16(t->all, bytes);
  t->odd = _mm256_add_epi16(t->odd, _mm256_srli_epi16(bytes, 8));
}

/* Adds 32 totals, times 2^shift. */
static inline void add_totals(uint32_t* sums, const totals* t, int shift) {
  const __m256i even = _mm256_sub_epi16(t->all, _mm256_slli_epi16(t->odd, 8));
  const __m256i low = _mm256_unpacklo_epi16(even, t->odd), high = _mm256_unpackhi_epi16(even, t->odd);
  const __m128i parts[4] = {_mm256_castsi256_si128(low), _mm256_castsi256_si128(high), _mm256_extracti128_si256(low, 1),
                            _mm256_extracti128_si256(high, 1)};
  for (size_t i = 0; i < 4; ++i)
    store(sums + 8 * i,
          _mm256_add_epi32(load(sums + 8 * i), _mm256_slli_epi32(_mm256_cvtepu16_epi32(parts[i]), shift)));
}

/* The largest sum of four bytes of a table is 4 M; `batch` upper bytes of it fit a byte. */
static inline size_t batch_of(const edgelm_conv* conv) {
  const size_t top = (size_t)(conv->high - conv->low) * 4 / 256;
  return top ? 255 / top : FLUSH;
}

static inline void tile_of(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,
                           const uint8_t* panel, uint32_t* sums, size_t stride, const size_t batch,
                           const size_t planes) {
  for (size_t p = 0; p < PIXELS; ++p) memcpy(sums + p * stride, panel, LANES * sizeof *sums);
  panel += LANES * sizeof *sums;
  const __m256i zero = _mm256_setzero_si256();
  for (size_t run = 0; run < conv->runs; ++run) {
    const uint8_t* x[PIXELS];
#pragma GCC unroll 3
    for (size_t p = 0; p < PIXELS; ++p) x[p] = runs[run] + offsets[p];
    for (size_t at = 0; at < conv->steps;) {
      const size_t stop = edgelm_min(conv->steps, at + FLUSH / planes);
      totals low[PIXELS], high[PIXELS];
#pragma GCC unroll 3
      for (size_t p = 0; p < PIXELS; ++p) low[p].all = low[p].odd = high[p].all = high[p].odd = zero;
      while (at < stop) {
        const size_t end = edgelm_min(stop, at + batch);
        __m256i upper[PIXELS];
#pragma GCC unroll 3
        for (size_t p = 0; p < PIXELS; ++p) upper[p] = zero;
        for (; at < end; ++at) {
          for (size_t plane = 0; plane < planes; ++plane, panel += LANES) {
            __m256i w = load(panel);
            PIN(w);
#pragma GCC unroll 3
            for (size_t p = 0; p < PIXELS; ++p) {
              widen(&low[p], _mm256_shuffle_epi8(table(x[p] + 32 * at), w));
              upper[p] = _mm256_add_epi8(upper[p], _mm256_shuffle_epi8(table(x[p] + 32 * at + 16), w));
              if (plane + 1 < planes) {
                widen(&high[p], upper[p]);
                upper[p] = zero;
              }
            }
          }
        }
#pragma GCC unroll 3
        for (size_t p = 0; p < PIXELS; ++p) widen(&high[p], upper[p]);
      }
#pragma GCC unroll 3
      for (size_t p = 0; p < PIXELS; ++p) {
        add_totals(sums + p * stride, &low[p], 0);
        add_totals(sums + p * stride, &high[p], 8);
      }
    }
  }
}

static void tile_pair(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
                      uint32_t* sums, size_t stride) {
  tile_of(conv, runs, offsets, panel, sums, stride, 2, 1);
}

static void tile_many(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,
                      uint32_t* sums, size_t stride) {
  tile_of(conv, runs, offsets, panel, sums, stride, batch_of(conv), 1);
}

/* A ternary weight is the mean of two binary ones: two rows of indices for a table, half the sum. */
static void tile_ternary(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,
                         const uint8_t* panel, uint32_t* sums, size_t stride) {
  tile_of(conv, runs, offsets, panel, sums, stride, 1, 2);
  for (size_t p = 0; p < PIXELS; ++p)
    for (size_t lane = 0; lane < LANES; ++lane)
      sums[p * stride + lane] = (uint32_t)((int32_t)sums[p * stride + lane] >> 1);
}

static size_t groups(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + 3) / 4; }
static size_t rows(const edgelm_conv* conv) { return conv->runs * conv->steps * (size_t)conv->planes; }
enum { INIT = LANES * sizeof(int32_t) };

static void lay_out(edgelm_conv* conv) {
  conv->pixel_bytes = groups(conv) * 32;
  conv->steps = conv->run_taps * groups(conv);
  conv->lanes = LANES;
  conv->pixels = PIXELS;
  conv->tile = conv->planes == 2 ? tile_ternary : batch_of(conv) == 2 ? tile_pair : tile_many;
  /* Two rows of nibbles share the bytes of one. */
  conv->panel_bytes = INIT + (rows(conv) + 1) / 2 * LANES;
  conv->expanded_bytes = INIT + edgelm_up(rows(conv), 2) * LANES;
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w, planes = conv->planes;
  int32_t* init = (int32_t*)(void*)out;
  uint8_t* nibbles = out + INIT;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o) {
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t w = edgelm_weight(conv, weights, o, tap, c);
        const int32_t minus[2] = {w < 0, w < 1};
        for (size_t plane = 0; plane < planes; ++plane) {
          const size_t row = (tap * groups(conv) + c / 4) * planes + plane;
          nibbles[row / 2 * LANES + o % LANES] |= (uint8_t)(minus[plane] << (c % 4 + row % 2 * 4));
          /* Tables hold level - low, or M less that: what a weight of -1 and `low` put on top. */
          init[o % LANES] += minus[plane] ? conv->low - (conv->high - conv->low) - 2 * conv->low : conv->low;
        }
      }
    }
  }
}

static void expand(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out) {
  memcpy(out, panel, INIT);
  for (size_t row = 0; row < rows(conv); row += 2) {
    const __m256i two = load(panel + INIT + row / 2 * LANES), nibble = _mm256_set1_epi8(15);
    store(out + INIT + row * LANES, _mm256_and_si256(two, nibble));
    store(out + INIT + (row + 1) * LANES, _mm256_and_si256(_mm256_srli_epi16(two, 4), nibble));
  }
}

/* Both tables of a group from the eight sums of its two pairs of channels. */
static inline void store_tables(uint8_t* out, __m256i pairs) {
  /* Entry e is pair[e % 4] of the first two channels plus pair[e / 4] of the others; entries 8.. in the upper half. */
  const __m256i first = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7));
  const __m256i second = _mm256_setr_epi8(8, 9, 8, 9, 8, 9, 8, 9, 10, 11, 10, 11, 10, 11, 10, 11, /* then the others */
                                          12, 13, 12, 13, 12, 13, 12, 13, 14, 15, 14, 15, 14, 15, 14, 15);
  const __m256i sums = _mm256_add_epi16(_mm256_shuffle_epi8(pairs, first), _mm256_shuffle_epi8(pairs, second));
  const __m256i low = _mm256_and_si256(sums, _mm256_set1_epi16(255)), high = _mm256_srli_epi16(sums, 8);
  store(out, _mm256_permute4x64_epi64(_mm256_packus_epi16(low, high), 0xd8));
}

/* Levels less `low` of sixteen channels; those from C on are 0 whatever `low` is. */
static inline __m256i sixteen(const edgelm_conv* conv, const uint8_t* levels, size_t c) {
  const int16_t C = (int16_t)edgelm_min(16, (size_t)conv->attrs.in_channels - c);
  const __m256i lane = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m256i inside = _mm256_cmpgt_epi16(_mm256_set1_epi16(C), lane);
  const __m256i words = _mm256_sub_epi16(load(levels + 2 * c), _mm256_set1_epi16((int16_t)conv->low));
  return _mm256_and_si256(inside, words);
}

static void build(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  const __m256i M = _mm256_set1_epi32(conv->high - conv->low), low_word = _mm256_set1_epi32(65535);
  for (size_t i = 0; i < count; ++i) {
    uint8_t* to = out + i * conv->pixel_bytes;
    for (size_t g = 0; g < groups(conv); g += 4) {
      const __m256i a = sixteen(conv, levels + i * stride, 4 * g);
      const __m256i even = _mm256_and_si256(a, low_word), odd = _mm256_srli_epi32(a, 16);
      const __m256i no_even = _mm256_sub_epi32(M, even), no_odd = _mm256_sub_epi32(M, odd);
      const __m256i as_is =
          _mm256_or_si256(_mm256_add_epi32(even, odd), _mm256_slli_epi32(_mm256_add_epi32(no_even, odd), 16));
      const __m256i reversed =
          _mm256_or_si256(_mm256_add_epi32(even, no_odd), _mm256_slli_epi32(_mm256_add_epi32(no_even, no_odd), 16));
      const __m256i low = _mm256_unpacklo_epi32(as_is, reversed), high = _mm256_unpackhi_epi32(as_is, reversed);
      uint8_t tables[128];
      uint8_t* place = groups(conv) - g >= 4 ? to + 32 * g : tables;
      store_tables(place, _mm256_permute2x128_si256(low, low, 0x00));
      store_tables(place + 32, _mm256_permute2x128_si256(high, high, 0x00));
      store_tables(place + 64, _mm256_permute2x128_si256(low, low, 0x11));
      store_tables(place + 96, _mm256_permute2x128_si256(high, high, 0x11));
      if (place == tables) memcpy(to + 32 * g, tables, 32 * (groups(conv) - g));
    }
  }
}

const edgelm_kernel edgelm_i16_avx2 = {.element = 16,
                                       .macs_per_us = 150000,
                                       .lay_out = lay_out,
                                       .pack = pack,
                                       .build = build,
                                       .expand = expand,
                                       .stages = &edgelm_stages_avx2};
