/* Few levels on AVX2 (i6): sums of four channels by table.
 *
 * Bytes hold 0..M. Four of them make a table of 16 bytes, one for each choice of signs: the sum of b ? M - a : a.
 * Weights are nibbles of such signs, so that one shuffle looks up four products of 32 filters. A total of entries is
 * the sum of w * a plus M for each weight of -1, whatever the activations: a constant of the filter (`init`), as is the
 * offset's share. A ternary weight is the mean of two binary ones.
 */
#include <immintrin.h>
#include <string.h>

#include "conv.h"

enum {
  LANES = 32,
  HALF = 31, /* of M, up to which two entries fit a byte */
  FLUSH = 65535 / 252
}; /* entries until sixteen bits may overflow */
extern const struct edgelm_stages edgelm_stages_avx2;

static inline __m256i load(const void* p) { return _mm256_loadu_si256(p); }
static inline void store(void* p, __m256i v) { _mm256_storeu_si256(p, v); }
static inline __m256i table(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)(const void*)p));
}
#define PIN(v) __asm__("" : "+x"(v))

/* Adds 32 totals of sixteen bits: `all` summed up words of two bytes, `odd` their upper bytes. */
static inline void add_totals(uint32_t* sums, __m256i all, __m256i odd) {
  const __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
  const __m256i low = _mm256_unpacklo_epi16(even, odd), high = _mm256_unpackhi_epi16(even, odd);
  const __m128i parts[4] = {_mm256_castsi256_si128(low), _mm256_castsi256_si128(high), _mm256_extracti128_si256(low, 1),
                            _mm256_extracti128_si256(high, 1)};
  for (size_t i = 0; i < 4; ++i)
    store(sums + 8 * i, _mm256_add_epi32(load(sums + 8 * i), _mm256_cvtepu16_epi32(parts[i])));
}

/* P pixels times B vectors of filters; a step is one table and `planes` rows of indices. */
#define TILE(P, B)                                                                                                    \
  static void tile_##P##x##B(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,             \
                             const uint8_t* panel, uint32_t* sums, size_t stride) {                                   \
    for (size_t p = 0; p < P; ++p) memcpy(sums + p * stride, panel, B * LANES * sizeof *sums);                        \
    panel += B * LANES * sizeof *sums;                                                                                \
    const int pairs = conv->high - conv->low <= HALF && conv->planes == 1;                                            \
    const size_t planes = (size_t)conv->planes, flush = FLUSH / 2 * 2 / planes;                                       \
    const __m256i zero = _mm256_setzero_si256();                                                                      \
    for (size_t run = 0; run < conv->runs; ++run) {                                                                   \
      const uint8_t* x[P];                                                                                            \
      _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) x[p] = runs[run] + offsets[p];                           \
      for (size_t at = 0; at < conv->steps;) {                                                                        \
        const size_t stop = edgelm_min(conv->steps, at + flush);                                                      \
        __m256i all[P * B], odd[P * B];                                                                               \
        _Pragma("GCC unroll 8") for (size_t i = 0; i < P * B; ++i) all[i] = odd[i] = zero;                            \
        for (; pairs && at + 2 <= stop; at += 2, panel += 2 * B * LANES) {                                            \
          _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) {                                                    \
            const __m256i t = table(x[p] + 16 * at), u = table(x[p] + 16 * at + 16);                                  \
            _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                                                  \
              const __m256i v = _mm256_add_epi8(_mm256_shuffle_epi8(t, load(panel + b * LANES)),                      \
                                                _mm256_shuffle_epi8(u, load(panel + (B + b) * LANES)));               \
              all[p * B + b] = _mm256_add_epi16(all[p * B + b], v);                                                   \
              odd[p * B + b] = _mm256_add_epi16(odd[p * B + b], _mm256_srli_epi16(v, 8));                             \
            }                                                                                                         \
          }                                                                                                           \
          _Pragma("GCC unroll 8") for (size_t i = 0; i < P * B; ++i) PIN(all[i]);                                     \
        }                                                                                                             \
        for (; at < stop; ++at)                                                                                       \
          for (size_t plane = 0; plane < planes; ++plane, panel += B * LANES)                                         \
            _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) {                                                  \
              const __m256i t = table(x[p] + 16 * at);                                                                \
              _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                                                \
                const __m256i v = _mm256_shuffle_epi8(t, load(panel + b * LANES));                                    \
                all[p * B + b] = _mm256_add_epi16(all[p * B + b], v);                                                 \
                odd[p * B + b] = _mm256_add_epi16(odd[p * B + b], _mm256_srli_epi16(v, 8));                           \
              }                                                                                                       \
            }                                                                                                         \
        _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) \
            add_totals(sums + p * stride + b * LANES, all[p * B + b], odd[p * B + b]);                                \
      }                                                                                                               \
    }                                                                                                                 \
    if (planes == 1) return;                                                                                          \
    for (size_t p = 0; p < P; ++p)                                                                                    \
      for (size_t lane = 0; lane < B * LANES; ++lane)                                                                 \
        sums[p * stride + lane] = (uint32_t)((int32_t)sums[p * stride + lane] >> 1);                                  \
  }

TILE(6, 1)
TILE(3, 2)

static size_t groups(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + 3) / 4; }
static size_t init_bytes(const edgelm_conv* conv) { return (size_t)conv->lanes * sizeof(int32_t); }
static size_t rows(const edgelm_conv* conv) { return conv->runs * conv->steps * (size_t)conv->planes; }

static void lay_out(edgelm_conv* conv) {
  const int32_t B = conv->attrs.out_channels > LANES ? 2 : 1;
  conv->pixel_bytes = groups(conv) * 16;
  conv->steps = conv->run_taps * groups(conv);
  conv->lanes = B * LANES;
  conv->pixels = B == 1 ? 6 : 3;
  conv->tile = B == 1 ? tile_6x1 : tile_3x2;
  /* Two rows of nibbles share the bytes of one. */
  conv->panel_bytes = init_bytes(conv) + (rows(conv) + 1) / 2 * conv->lanes;
  conv->expanded_bytes = init_bytes(conv) + edgelm_up(rows(conv), 2) * conv->lanes;
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w, planes = conv->planes;
  const int32_t M = conv->high - conv->low;
  int32_t* init = (int32_t*)(void*)out;
  uint8_t* nibbles = out + init_bytes(conv);
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t w = edgelm_weight(conv, weights, o, tap, c);
        /* The two binary weights whose mean is w, or w itself. */
        const int32_t minus[2] = {w < 0, w < 1};
        for (size_t plane = 0; plane < planes; ++plane) {
          const size_t row = (tap * groups(conv) + c / 4) * planes + plane;
          nibbles[row / 2 * lanes + o % lanes] |= (uint8_t)(minus[plane] << (c % 4 + row % 2 * 4));
          init[o % lanes] -= minus[plane] * M + conv->offset * (1 - 2 * minus[plane]);
        }
      }
    }
  }
}

static void expand(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out) {
  const size_t lanes = conv->lanes;
  memcpy(out, panel, init_bytes(conv));
  panel += init_bytes(conv);
  out += init_bytes(conv);
  for (size_t row = 0; row < rows(conv); row += 2, panel += lanes, out += 2 * lanes)
    for (size_t lane = 0; lane < lanes; ++lane) {
      out[lane] = panel[lane] & 15;
      out[lanes + lane] = panel[lane] >> 4;
    }
}

/* The tables of two groups of each half: entry e is pair[e % 4] of the first two channels plus pair[e / 4] of the
 * others. */
static inline void store_tables(uint8_t* out, __m256i pairs) {
  const __m256i first = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3));
  const __m256i second = _mm256_broadcastsi128_si256(_mm_setr_epi8(4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7));
  const __m256i next = _mm256_set1_epi8(8);
  const __m256i even = _mm256_add_epi8(_mm256_shuffle_epi8(pairs, first), _mm256_shuffle_epi8(pairs, second));
  const __m256i odd = _mm256_add_epi8(_mm256_shuffle_epi8(pairs, _mm256_add_epi8(first, next)),
                                      _mm256_shuffle_epi8(pairs, _mm256_add_epi8(second, next)));
  _mm_storeu_si128((__m128i*)(void*)out, _mm256_castsi256_si128(even));
  _mm_storeu_si128((__m128i*)(void*)(out + 16), _mm256_castsi256_si128(odd));
  _mm_storeu_si128((__m128i*)(void*)(out + 64), _mm256_extracti128_si256(even, 1));
  _mm_storeu_si128((__m128i*)(void*)(out + 80), _mm256_extracti128_si256(odd, 1));
}

/* Eight groups at a time. Bytes from C on are 0 and so are their weights' bits: they add nothing. */
static void build(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  const __m256i M = _mm256_set1_epi16((int16_t)(conv->high - conv->low)), low_byte = _mm256_set1_epi16(255);
  for (size_t i = 0; i < count; ++i) {
    uint8_t* to = out + i * conv->pixel_bytes;
    for (size_t g = 0; g < groups(conv); g += 8) {
      const __m256i a = load(levels + i * stride + 4 * g);
      const __m256i even = _mm256_and_si256(a, low_byte), odd = _mm256_srli_epi16(a, 8);
      const __m256i no_even = _mm256_sub_epi16(M, even), no_odd = _mm256_sub_epi16(M, odd);
      /* Bytes of a pair of channels: both as they are, the first reversed; the second reversed, both. */
      const __m256i as_is =
          _mm256_or_si256(_mm256_add_epi16(even, odd), _mm256_slli_epi16(_mm256_add_epi16(no_even, odd), 8));
      const __m256i reversed =
          _mm256_or_si256(_mm256_add_epi16(even, no_odd), _mm256_slli_epi16(_mm256_add_epi16(no_even, no_odd), 8));
      uint8_t tables[128];
      uint8_t* place = groups(conv) - g >= 8 ? to + 16 * g : tables;
      store_tables(place, _mm256_unpacklo_epi16(as_is, reversed));
      store_tables(place + 32, _mm256_unpackhi_epi16(as_is, reversed));
      if (place == tables) memcpy(to + 16 * g, tables, 16 * (groups(conv) - g));
    }
  }
}

const edgelm_kernel edgelm_i6_avx2 = {.element = 8,
                                      .offset = -1,
                                      .macs_per_us = 250000,
                                      .lay_out = lay_out,
                                      .pack = pack,
                                      .build = build,
                                      .expand = expand,
                                      .stages = &edgelm_stages_avx2};
