/* Float activations with low-bit weights on AVX-512 (f32): sums of four channels by table.
 *
 * A table is 64 bytes: entry s is the sum of (bit i of s ? -x : x) of four channels. A permutation looks up the
 * products of four channels for sixteen filters; it and an addition replace four fused multiply-adds. Absent channels
 * are zeros and add nothing. Weights stay one bit each: a word of a filter holds the indices of eight steps, the first
 * in its lowest four bits, which are all that a permutation looks at. A ternary weight is the mean of two binary ones:
 * two words for the same steps, half the sum.
 */
#include <immintrin.h>
#include <string.h>

#include "conv.h"

enum { LANES = 16, GROUPED = 4, STEPS = 8 }; /* channels of a table; steps of a word */
extern const struct edgelm_stages edgelm_stages_avx512;

static inline __m512i load(const void* p) { return _mm512_loadu_si512(p); }
static inline __m512 lookup(__m512 table, __m512i index) { return _mm512_permutexvar_ps(index, table); }

/* Keeps a sum in its register here: without it compilers put off the additions until sums are spilled. */
#define PIN(v) __asm__("" : "+v"(v))

/* P pixels times B vectors of filters. A product with one is an addition that other ports make than those of
 * permutations and additions. */
#define TILE(P, B)                                                                                                     \
  static inline __attribute__((always_inline)) void tile_##P##x##B(const edgelm_conv* conv,                            \
                                                                   const uint8_t* const* runs, const int32_t* offsets, \
                                                                   const uint8_t* panel, float* sums, size_t stride) { \
    const size_t planes = (size_t)conv->planes, steps = conv->steps;                                                   \
    const __m512 one = _mm512_set1_ps(1.0f), factor = planes == 2 ? _mm512_set1_ps(0.5f) : one;                        \
    __m512 total[P][B];                                                                                                \
    _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b)      \
        total[p][b] = _mm512_setzero_ps();                                                                             \
    size_t run = 0;                                                                                                    \
    do {                                                                                                               \
      __asm__("" : "+r"(offsets)); /* loaded anew for each run: hoisted, they would be spilled */                      \
      const uint8_t* x[P];                                                                                             \
      _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) x[p] = runs[run] + offsets[p];                            \
      for (size_t first = 0; first < steps; first += STEPS) {                                                          \
        const size_t end = edgelm_min(steps, first + STEPS) * 64;                                                      \
        for (size_t plane = 0; plane < planes; ++plane, panel += B * 64) {                                             \
          __m512i w[B];                                                                                                \
          _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) w[b] = load(panel + b * 64);                          \
          size_t at = first * 64;                                                                                      \
          for (; at + 64 < end; at += 128) {                                                                           \
            __m512i v[B];                                                                                              \
            _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) v[b] = _mm512_srli_epi32(w[b], 4);                  \
            _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) {                                                   \
              const __m512 t = _mm512_loadu_ps(x[p] + at), u = _mm512_loadu_ps(x[p] + at + 64);                        \
              _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                                                 \
                const __m512 two = _mm512_add_ps(lookup(t, w[b]), lookup(u, v[b]));                                    \
                total[p][b] = _mm512_fmadd_ps(two, one, total[p][b]);                                                  \
                PIN(total[p][b]);                                                                                      \
              }                                                                                                        \
            }                                                                                                          \
            _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) w[b] = _mm512_srli_epi32(w[b], 8);                  \
          }                                                                                                            \
          if (at < end) _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) {                                       \
              const __m512 t = _mm512_loadu_ps(x[p] + at);                                                             \
              _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                                                 \
                total[p][b] = _mm512_add_ps(total[p][b], lookup(t, w[b]));                                             \
                PIN(total[p][b]);                                                                                      \
              }                                                                                                        \
            }                                                                                                          \
        }                                                                                                              \
      }                                                                                                                \
    } while (++run < conv->runs);                                                                                      \
    _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b)      \
        _mm512_storeu_ps(sums + p * stride + b * LANES, _mm512_mul_ps(total[p][b], factor));                           \
  }                                                                                                                    \
  static void tiles_##P##x##B(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,             \
                              size_t count, const uint8_t* panel, void* sums, size_t stride) {                         \
    float* to = sums;                                                                                                  \
    for (size_t i = 0; i < count; i += P, to += P * stride)                                                            \
      tile_##P##x##B(conv, runs, offsets + i, panel, to, stride);                                                      \
  }

/* Tall tiles for few filters, square ones for many: those read each table half as often. */
TILE(8, 1)
TILE(8, 2)
TILE(4, 4)

static size_t tables(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + GROUPED - 1) / GROUPED; }
static size_t words(const edgelm_conv* conv) { return (conv->steps + STEPS - 1) / STEPS; } /* of a run */

static void lay_out(edgelm_conv* conv) {
  const size_t vectors = ((size_t)conv->attrs.out_channels + LANES - 1) / LANES;
  const size_t B = vectors == 1 ? 1 : vectors % 4 == 0 || vectors > 6 ? 4 : 2;
  conv->pixel_bytes = tables(conv) * 64;
  conv->steps = conv->run_taps * tables(conv);
  conv->lanes = (int32_t)B * LANES;
  conv->pixels = B == 4 ? 4 : 8;
  conv->tiles = B == 1 ? tiles_8x1 : B == 2 ? tiles_8x2 : tiles_4x4;
  conv->panel_bytes = conv->runs * words(conv) * (size_t)conv->planes * B * 64;
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const size_t planes = conv->planes;
  uint32_t* to = (uint32_t*)(void*)out;
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    for (size_t tap = 0; tap < conv->runs * conv->run_taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t w = edgelm_weight(conv, weights, o, tap, c);
        const size_t step = tap % conv->run_taps * tables(conv) + c / GROUPED;
        const size_t word = tap / conv->run_taps * words(conv) + step / STEPS;
        for (size_t plane = 0; plane < planes; ++plane) {
          const uint32_t minus = plane ? w < 1 : w < 0; /* of the two binary weights whose mean it is, or itself */
          to[(word * planes + plane) * lanes + o % lanes] |= minus << (step % STEPS * GROUPED + c % GROUPED);
        }
      }
    }
  }
}

/* What each lane of a permutation takes. */
typedef struct order {
  __m512i first[2], second[2]; /* pair p, choice s of either half: channel 2 p, 2 p + 1, or 16 lanes on less those */
  __m512i low[2], high[2];     /* entry s of either table: choice s % 4 of its first pair, choice s / 4 of the other */
} order;

static inline order make_order(void) {
  const __m512i next = _mm512_set1_epi32(8);
  order o;
  o.first[0] = _mm512_setr_epi32(0, 16, 0, 16, 2, 18, 2, 18, 4, 20, 4, 20, 6, 22, 6, 22);
  o.second[0] = _mm512_setr_epi32(1, 1, 17, 17, 3, 3, 19, 19, 5, 5, 21, 21, 7, 7, 23, 23);
  o.low[0] = _mm512_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
  o.high[0] = _mm512_setr_epi32(4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
  o.first[1] = _mm512_add_epi32(o.first[0], next);
  o.second[1] = _mm512_add_epi32(o.second[0], next);
  o.low[1] = _mm512_add_epi32(o.low[0], next);
  o.high[1] = _mm512_add_epi32(o.high[0], next);
  return o;
}

/* The tables of eight of sixteen channels. */
static inline void store_tables(const order* o, int half, __m512 a, uint8_t* out, int both) {
  const __m512 minus = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32(INT32_MIN)));
  const __m512 pairs = _mm512_add_ps(_mm512_permutex2var_ps(a, o->first[half], minus),
                                     _mm512_permutex2var_ps(a, o->second[half], minus));
  for (int k = 0; k < 1 + both; ++k)
    _mm512_storeu_ps(out + 64 * k,
                     _mm512_add_ps(_mm512_permutexvar_ps(o->low[k], pairs), _mm512_permutexvar_ps(o->high[k], pairs)));
}

/* Sixteen channels at a time; those from C on are zeros. */
static void build(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  const order o = make_order();
  const size_t all = tables(conv), whole = all / 4 * 4, tail = all - whole;
  for (size_t i = 0; i < count; ++i, levels += stride) {
    const uint8_t *from = levels, *end = levels + whole * 16;
    for (; from < end; from += 64, out += 256) {
      const __m512 a = _mm512_castsi512_ps(load(from));
      store_tables(&o, 0, a, out, 1);
      store_tables(&o, 1, a, out + 128, 1);
    }
    if (!tail) continue;
    const __m512 a = _mm512_castsi512_ps(load(from));
    store_tables(&o, 0, a, out, tail > 1);
    if (tail > 2) store_tables(&o, 1, a, out + 128, 0);
    out += 64 * tail;
  }
}

const edgelm_kernel edgelm_f32_avx512 = {.element = 32,
                                         .macs_per_us = 200000,
                                         .lay_out = lay_out,
                                         .pack = pack,
                                         .build = build,
                                         .stages = &edgelm_stages_avx512};
