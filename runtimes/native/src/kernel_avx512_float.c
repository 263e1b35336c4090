/* Float activations with low-bit weights on AVX-512 (f32): sums of four channels by table.
 *
 * A table is 64 bytes: entry s is the sum of (bit i of s ? -x : x) of four channels. A permutation looks up the
 * products of four channels for sixteen filters; it and an addition replace four fused multiply-adds. Tables are made
 * of sixteen channels at a time; absent channels are zeros and add nothing. A word of a filter holds the indices of
 * those four steps, a byte each: a load that begins k bytes later has that of step k in its lowest bits, which are all
 * that a permutation looks at. A ternary weight is the mean of two binary ones: two words for the same steps, half the
 * sum.
 */
#include <immintrin.h>
#include <string.h>

#include "conv.h"

enum { LANES = 16, GROUPED = 4, STEPS = 4 }; /* channels of a table; steps of a word */
extern const struct edgelm_stages edgelm_stages_avx512;

static inline __m512i load(const void* p) { return _mm512_loadu_si512(p); }
static inline __m512 lookup(__m512 table, __m512i index) { return _mm512_permutexvar_ps(index, table); }

/* Keeps a value in its register here: without it compilers put off additions until sums are spilled, and load a table
 * again for each use. */
#define PIN(v) __asm__("" : "+v"(v))

/* Two steps for P pixels and B vectors of filters. A product with one is an addition that other ports make than those
 * of permutations and additions. */
#define TWO_STEPS(P, B, k)                                                                                \
  {                                                                                                       \
    __m512i v[B], w[B];                                                                                   \
    _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                                              \
      v[b] = load(panel + b * 64 + (k));                                                                  \
      w[b] = load(panel + b * 64 + (k) + 1);                                                              \
    }                                                                                                     \
    _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) {                                              \
      __m512 t = _mm512_loadu_ps(x[p] + at + (k) * 64), u = _mm512_loadu_ps(x[p] + at + (k) * 64 + 64);   \
      PIN(t);                                                                                             \
      PIN(u);                                                                                             \
      _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                                            \
        total[p][b] = _mm512_fmadd_ps(_mm512_add_ps(lookup(t, v[b]), lookup(u, w[b])), one, total[p][b]); \
        PIN(total[p][b]);                                                                                 \
      }                                                                                                   \
    }                                                                                                     \
  }

#define TILE(P, B, planes)                                                                                            \
  static inline __attribute__((always_inline)) void tile_##P##x##B##_##planes(                                        \
      const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel, float* sums, \
      size_t stride) {                                                                                                \
    const __m512 one = _mm512_set1_ps(1.0f);                                                                          \
    __m512 total[P][B];                                                                                               \
    _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b)     \
        total[p][b] = _mm512_setzero_ps();                                                                            \
    const size_t end = conv->steps * 64;                                                                              \
    size_t run = 0;                                                                                                   \
    do {                                                                                                              \
      __asm__("" : "+r"(offsets)); /* loaded anew for each run: hoisted, they would be spilled */                     \
      const uint8_t* x[P];                                                                                            \
      _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) x[p] = runs[run] + offsets[p];                           \
      size_t at = 0;                                                                                                  \
      do {                                                                                                            \
        for (size_t plane = 0; plane < planes; ++plane, panel += B * 64) {                                            \
          TWO_STEPS(P, B, 0)                                                                                          \
          TWO_STEPS(P, B, 2)                                                                                          \
        }                                                                                                             \
        at += STEPS * 64;                                                                                             \
      } while (at < end);                                                                                             \
    } while (++run < conv->runs);                                                                                     \
    _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b)     \
        _mm512_storeu_ps(sums + p * stride + b * LANES,                                                               \
                         planes == 2 ? _mm512_mul_ps(total[p][b], _mm512_set1_ps(0.5f)) : total[p][b]);               \
  }                                                                                                                   \
  static void tiles_##P##x##B##_##planes(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, \
                                         size_t count, const uint8_t* panel, void* sums, size_t stride) {             \
    float* to = sums;                                                                                                 \
    for (size_t i = 0; i < count; i += P, to += P * stride)                                                           \
      tile_##P##x##B##_##planes(conv, runs, offsets + i, panel, to, stride);                                          \
  }

/* Tall tiles for few filters, square ones for many: those read each table half as often. */
TILE(8, 1, 1)
TILE(8, 2, 1)
TILE(4, 4, 1)
TILE(8, 1, 2)
TILE(4, 4, 2)

/* A multiple of four. */
static size_t tables(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + 15) / 16 * 4; }

static void lay_out(edgelm_conv* conv) {
  const size_t vectors = ((size_t)conv->attrs.out_channels + LANES - 1) / LANES;
  const size_t B = vectors == 1 ? 1 : vectors % 4 == 0 || vectors > 6 || conv->planes == 2 ? 4 : 2;
  /* Pixels an odd number of lines apart do not fall into the same few sets of the level-1 cache; so each tap is a run.
   */
  conv->pixel_bytes = tables(conv) * 64 + 64;
  conv->runs = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  conv->run_taps = 1;
  conv->steps = tables(conv);
  conv->lanes = (int32_t)B * LANES;
  conv->pixels = B == 4 ? 4 : 8;
  if (conv->planes == 2)
    conv->tiles = B == 1 ? tiles_8x1_2 : tiles_4x4_2;
  else
    conv->tiles = B == 1 ? tiles_8x1_1 : B == 2 ? tiles_8x2_1 : tiles_4x4_1;
  conv->panel_bytes = conv->runs * conv->steps / STEPS * (size_t)conv->planes * B * 64;
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const size_t planes = conv->planes;
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    for (size_t run = 0; run < conv->runs; ++run) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t w = edgelm_weight(conv, weights, o, run, c);
        const size_t step = c / GROUPED, word = run * (conv->steps / STEPS) + step / STEPS;
        for (size_t plane = 0; plane < planes; ++plane) {
          const int minus = plane ? w < 1 : w < 0; /* of the two binary weights whose mean it is, or itself */
          out[((word * planes + plane) * lanes + o % lanes) * 4 + step % STEPS] |= (uint8_t)(minus << c % GROUPED);
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
static inline void store_tables(const order* o, int half, __m512 a, uint8_t* out) {
  const __m512 minus = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32(INT32_MIN)));
  const __m512 pairs = _mm512_add_ps(_mm512_permutex2var_ps(a, o->first[half], minus),
                                     _mm512_permutex2var_ps(a, o->second[half], minus));
  for (int k = 0; k < 2; ++k)
    _mm512_storeu_ps(out + 64 * k,
                     _mm512_add_ps(_mm512_permutexvar_ps(o->low[k], pairs), _mm512_permutexvar_ps(o->high[k], pairs)));
}

static void build(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out) {
  const order o = make_order();
  const size_t bytes = tables(conv) * 64, pixel = conv->pixel_bytes;
  for (size_t i = 0; i < count; ++i, levels += stride, out += pixel) {
    const uint8_t* from = levels;
    for (uint8_t* to = out; to < out + bytes; to += 256, from += 64) {
      const __m512 a = _mm512_castsi512_ps(load(from)); /* zeros from C on */
      store_tables(&o, 0, a, to);
      store_tables(&o, 1, a, to + 128);
    }
  }
}

/* Pixel by pixel, so that tables are written one behind the other. */
static void build_parts(const edgelm_conv* conv, const edgelm_part* parts, size_t number, size_t count, uint8_t* out) {
  const order o = make_order();
  const __m512 zero = _mm512_setzero_ps();
  const __mmask16 relu = conv->attrs.pre_relu ? 0xffff : 0;
  const size_t pixel = conv->pixel_bytes;
  for (const edgelm_part* part = parts; part < parts + number; ++part) {
    const size_t stride = part->C, ahead = count * stride;
    const float *scale = conv->in_scale + part->channel, *bias = conv->in_bias + part->channel, *from = part->x;
    uint8_t* to = out + part->channel / GROUPED * 64;
    for (size_t i = 0; i < count; ++i, from += stride, to += pixel) {
      for (size_t c = 0; c < part->C; c += 16) {
        _mm_prefetch((const char*)(from + ahead + c), _MM_HINT_T0); /* the next pixels of this part */
        const __m512 v = _mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(from + c), _mm512_loadu_ps(scale + c)),
                                       _mm512_loadu_ps(bias + c));
        const __m512 a = _mm512_mask_mov_ps(v, _mm512_mask_cmp_ps_mask(relu, v, zero, _CMP_LT_OQ), zero);
        store_tables(&o, 0, a, to + c / GROUPED * 64);
        store_tables(&o, 1, a, to + c / GROUPED * 64 + 128);
      }
    }
  }
}

const edgelm_kernel edgelm_f32_avx512 = {.element = 32,
                                         .macs_per_us = 200000,
                                         .lay_out = lay_out,
                                         .pack = pack,
                                         .build = build,
                                         .build_parts = build_parts,
                                         .squeeze = {1, 1, 0},
                                         .stages = &edgelm_stages_avx512};
