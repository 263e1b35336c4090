/* Register tiles of integer table lookups for AVX-512: P pixels times B vectors of sixteen filters.
 *
 * A step looks up 64 bytes of tables, made of some channels of a pixel, by one vector of indices for each vector of
 * filters. Panels hold their first sums (B vectors of int32), then rows of B index vectors for each step and plane. The
 * file that includes this says of its kind: KIND_table, the bytes of a step's tables, KIND_tables, what they are in
 * registers, KIND_get, which loads them, and KIND_one and KIND_two, which add the lookups of one or two steps to
 * sixteen sums.
 *
 * A ternary weight is the mean of two binary ones: two planes of indices for each table, half the sum.
 */
#ifndef EDGELM_LUT_AVX512_H
#define EDGELM_LUT_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "conv.h"

enum { LANES = 16 };
extern const struct edgelm_stages edgelm_stages_avx512;

static inline __m512i load(const void* p) { return _mm512_loadu_si512(p); }

/* Keeps a value in its register here: without it compilers put off additions until sums are spilled, and load a table
 * again for each use. */
#define PIN(v) __asm__("" : "+v"(v))

static inline __m512i get_table(const uint8_t* p) {
  __m512i table = load(p);
  PIN(table);
  return table;
}

/* Two steps at a time where `pairs`; the planes of a ternary filter are looked up in the same table. */
#define LUT_TILE(KIND, P, B, planes, pairs)                                                                       \
  static inline __attribute__((always_inline)) void KIND##_lut_##P##x##B##_##planes##_##pairs(                    \
      const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,          \
      uint32_t* sums, size_t stride) {                                                                            \
    __m512i total[P][B];                                                                                          \
    _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                                                      \
      const __m512i first = load(panel + b * 64);                                                                 \
      _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) total[p][b] = first;                                 \
    }                                                                                                             \
    panel += B * 64;                                                                                              \
    const size_t end = conv->steps * KIND##_table, even = (pairs) ? conv->steps / 2 * 2 * KIND##_table : 0;       \
    size_t run = 0;                                                                                               \
    do {                                                                                                          \
      __asm__("" : "+r"(offsets)); /* loaded anew for each run: hoisted, they would be spilled */                 \
      const uint8_t* x[P];                                                                                        \
      _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) x[p] = runs[run] + offsets[p];                       \
      size_t at = 0;                                                                                              \
      for (; at < even; at += 2 * KIND##_table, panel += 2 * B * 64) {                                            \
        __m512i v[B], w[B];                                                                                       \
        _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                                                  \
          v[b] = load(panel + b * 64);                                                                            \
          w[b] = load(panel + (B + b) * 64);                                                                      \
        }                                                                                                         \
        _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) {                                                  \
          const KIND##_tables t = KIND##_get(x[p] + at), u = KIND##_get(x[p] + at + KIND##_table);                \
          _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                                                \
            total[p][b] = KIND##_two(total[p][b], t, v[b], u, w[b]);                                              \
            PIN(total[p][b]);                                                                                     \
          }                                                                                                       \
        }                                                                                                         \
      }                                                                                                           \
      for (; at < end; at += KIND##_table) {                                                                      \
        for (size_t plane = 0; plane < planes; ++plane, panel += B * 64) {                                        \
          __m512i v[B];                                                                                           \
          _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) v[b] = load(panel + b * 64);                     \
          _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) {                                                \
            const KIND##_tables t = KIND##_get(x[p] + at);                                                        \
            _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                                              \
              total[p][b] = KIND##_one(total[p][b], t, v[b]);                                                     \
              PIN(total[p][b]);                                                                                   \
            }                                                                                                     \
          }                                                                                                       \
        }                                                                                                         \
      }                                                                                                           \
    } while (++run < conv->runs);                                                                                 \
    _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) \
        _mm512_storeu_si512(sums + p * stride + b * LANES,                                                        \
                            (planes) == 2 ? _mm512_srai_epi32(total[p][b], 1) : total[p][b]);                     \
  }                                                                                                               \
  static void KIND##_##P##x##B##_##planes##_##pairs(const edgelm_conv* conv, const uint8_t* const* runs,          \
                                                    const int32_t* offsets, size_t count, const uint8_t* panel,   \
                                                    void* sums, size_t stride) {                                  \
    uint32_t* to = sums;                                                                                          \
    for (size_t i = 0; i < count; i += P, to += P * stride)                                                       \
      KIND##_lut_##P##x##B##_##planes##_##pairs(conv, runs, offsets + i, panel, to, stride);                      \
  }

/* Tall tiles for few filters, square ones for many: those read each table half as often. */
#define LUT_TILES(KIND, planes, pairs) \
  LUT_TILE(KIND, 8, 1, planes, pairs) LUT_TILE(KIND, 8, 2, planes, pairs) LUT_TILE(KIND, 4, 4, planes, pairs)
#define LUT_CHOOSE(conv, KIND, planes, pairs)                                        \
  do {                                                                               \
    const size_t vectors = ((size_t)(conv)->attrs.out_channels + LANES - 1) / LANES; \
    const size_t B = vectors == 1 ? 1 : vectors % 4 == 0 || vectors > 6 ? 4 : 2;     \
    (conv)->lanes = (int32_t)B * LANES;                                              \
    (conv)->pixels = B == 4 ? 4 : 8;                                                 \
    (conv)->tiles = B == 1   ? KIND##_8x1_##planes##_##pairs                         \
                    : B == 2 ? KIND##_8x2_##planes##_##pairs                         \
                             : KIND##_4x4_##planes##_##pairs;                        \
  } while (0)

/* Pixels an odd number of lines apart do not fall into the same few sets of the level-1 cache; so each tap is a run. */
static inline void lut_lay_out(edgelm_conv* conv, size_t tables, size_t table_bytes) {
  conv->pixel_bytes = tables * table_bytes + (tables * table_bytes / 64 % 2 ? 0 : 64);
  conv->runs = (size_t)conv->attrs.kernel_h * (size_t)conv->attrs.kernel_w;
  conv->run_taps = 1;
  conv->steps = tables;
}

/* Index vectors of a panel, a row for each step and plane. */
static inline size_t lut_rows(const edgelm_conv* conv) { return conv->runs * conv->steps * (size_t)conv->planes; }
static inline size_t lut_panel_bytes(const edgelm_conv* conv) {
  return (1 + lut_rows(conv)) * (size_t)conv->lanes / LANES * 64;
}

/* A filter's weight in a plane: of the two binary weights whose mean it is, or itself. */
static inline int lut_minus(int32_t weight, size_t plane) { return plane ? weight < 1 : weight < 0; }

/* Fills a panel, in indices of `index_bytes`: 1, of one group of channels each, four in a lane, or 2, two in a lane. A
 * filter's first sum takes `plus` or `minus` for each of its weights. */
static inline void lut_pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, size_t index_bytes,
                            int32_t plus, int32_t minus, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w, planes = conv->planes;
  const size_t groups = 4 / index_bytes, step = 4 * groups;
  int32_t* init = (int32_t*)(void*)out;
  uint8_t* indices = out + lanes * sizeof *init;
  for (size_t i = 0; i < lut_rows(conv) * lanes * groups; ++i) indices[i * index_bytes] = (uint8_t)(i % groups * 16);
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t w = edgelm_weight(conv, weights, o, tap, c);
        for (size_t plane = 0; plane < planes; ++plane) {
          const size_t row = (tap * conv->steps + c / step) * planes + plane;
          const int less = lut_minus(w, plane);
          indices[(row * lanes + o % lanes) * 4 + c % step / 4 * index_bytes] |= (uint8_t)(less << c % 4);
          init[o % lanes] += less ? minus : plus;
        }
      }
    }
  }
}

#endif
