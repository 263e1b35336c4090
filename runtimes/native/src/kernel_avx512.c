/* Signs, int8 and float weights on AVX-512: tiles of pixels times vectors of sixteen filters, 32 bits for each sum.
 *
 * A step multiplies 32 bits of a pixel, the same for all lanes, by 32 bits of each filter: a word of signs (with two
 * planes and a word of masks), four bytes, or a float. Weights lie in (runs, steps, planes, lanes) order of such words.
 */
#include <immintrin.h>
#include <string.h>

#include "conv.h"

enum { LANES = 16 };
extern const struct edgelm_stages edgelm_stages_avx512;

static inline __m512i load(const uint8_t* p, size_t vector) { return _mm512_loadu_si512(p + vector * 64); }
static inline __m512i broadcast(const uint8_t* p) {
  int32_t word;
  memcpy(&word, p, sizeof word);
  return _mm512_set1_epi32(word);
}

/* Keeps a sum in its register here: without it compilers put off the additions until sums are spilled. */
#define PIN(v) __asm__("" : "+v"(v))

/* ---- what the kinds do; `heads`: vectors of first sums for each vector of filters, before its weights ---- */

/* Half the sum: one addition doubles it in the end, where total - 2 * differing would take two instructions. */
typedef __m512i b1_words;
typedef __m512i b1_sums;
enum { b1_planes = 1, b1_heads = 0 };
static inline int32_t products(const edgelm_conv* conv) {
  return conv->attrs.kernel_h * conv->attrs.kernel_w * conv->attrs.in_channels;
}
static inline b1_words b1_weights(const uint8_t* p, size_t b, size_t B) {
  (void)B;
  return load(p, b);
}
static inline b1_words b1_levels(const uint8_t* p) { return broadcast(p); }
static inline b1_sums b1_first(const edgelm_conv* conv, const uint8_t* panel, size_t b) {
  (void)panel, (void)b;
  return _mm512_set1_epi32(products(conv) / 2);
}
static inline b1_sums b1_add(b1_sums sums, b1_words x, b1_words w) {
  sums = _mm512_sub_epi32(sums, _mm512_popcnt_epi32(_mm512_xor_si512(x, w)));
  PIN(sums);
  return sums;
}
static inline __m512i b1_last(b1_sums sums) { return _mm512_add_epi32(sums, sums); }
/* The half that an odd number of products loses. */
static inline void b1_mend(const edgelm_conv* conv, uint32_t* sums, size_t pixels, size_t lanes, size_t stride) {
  if (products(conv) % 2 == 0) return;
  for (size_t p = 0; p < pixels; ++p)
    for (size_t lane = 0; lane < lanes; ++lane) ++sums[p * stride + lane];
}

typedef struct masked_words {
  __m512i signs, masks;
} masked_words;
typedef struct masked_sums {
  __m512i both, differing; /* how many products are not zero, and how many of them are negative */
} masked_sums;
enum { masked_planes = 2, masked_heads = 0 };
static inline masked_words masked_weights(const uint8_t* p, size_t b, size_t B) {
  return (masked_words){load(p, b), load(p, B + b)};
}
static inline masked_words masked_levels(const uint8_t* p) { return (masked_words){broadcast(p), broadcast(p + 4)}; }
static inline masked_sums masked_first(const edgelm_conv* conv, const uint8_t* panel, size_t b) {
  (void)conv, (void)panel, (void)b;
  return (masked_sums){_mm512_setzero_si512(), _mm512_setzero_si512()};
}
static inline masked_sums masked_add(masked_sums sums, masked_words x, masked_words w) {
  const __m512i both = _mm512_and_si512(x.masks, w.masks);
  const __m512i differing = _mm512_ternarylogic_epi32(x.signs, w.signs, both, 0x28); /* (x ^ w) & both */
  sums.both = _mm512_add_epi32(sums.both, _mm512_popcnt_epi32(both));
  sums.differing = _mm512_add_epi32(sums.differing, _mm512_popcnt_epi32(differing));
  PIN(sums.both);
  PIN(sums.differing);
  return sums;
}
static inline __m512i masked_last(masked_sums sums) {
  return _mm512_sub_epi32(sums.both, _mm512_add_epi32(sums.differing, sums.differing));
}

typedef __m512i r8_words;
typedef __m512i r8_sums;
enum { r8_planes = 1, r8_heads = 1 }; /* a head takes the levels' offset back */
static inline r8_words r8_weights(const uint8_t* p, size_t b, size_t B) {
  (void)B;
  return load(p, b);
}
static inline r8_words r8_levels(const uint8_t* p) { return broadcast(p); }
static inline r8_sums r8_first(const edgelm_conv* conv, const uint8_t* panel, size_t b) {
  (void)conv;
  return load(panel, b);
}
static inline r8_sums r8_add(r8_sums sums, r8_words x, r8_words w) { return _mm512_dpbusd_epi32(sums, x, w); }
static inline __m512i r8_last(r8_sums sums) { return sums; }

typedef __m512 r32_words;
typedef __m512 r32_sums;
enum { r32_planes = 1, r32_heads = 0 };
static inline r32_words r32_weights(const uint8_t* p, size_t b, size_t B) {
  (void)B;
  return _mm512_castsi512_ps(load(p, b));
}
static inline r32_words r32_levels(const uint8_t* p) { return _mm512_castsi512_ps(broadcast(p)); }
static inline r32_sums r32_first(const edgelm_conv* conv, const uint8_t* panel, size_t b) {
  (void)conv, (void)panel, (void)b;
  return _mm512_setzero_ps();
}
static inline r32_sums r32_add(r32_sums sums, r32_words x, r32_words w) { return _mm512_fmadd_ps(x, w, sums); }
static inline __m512i r32_last(r32_sums sums) { return _mm512_castps_si512(sums); }

/* Only signs are to be mended. */
#define masked_mend(conv, sums, pixels, lanes, stride)
#define r8_mend masked_mend
#define r32_mend masked_mend

/* ---- tiles of P pixels and B vectors of filters ---- */

#define TILE(KIND, P, B)                                                                                          \
  static void KIND##_##P##x##B(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,       \
                               const uint8_t* panel, uint32_t* sums, size_t stride) {                             \
    KIND##_sums total[P][B];                                                                                      \
    _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                                                      \
      const KIND##_sums first = KIND##_first(conv, panel, b);                                                     \
      _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) total[p][b] = first;                                 \
    }                                                                                                             \
    panel += KIND##_heads * B * 64;                                                                               \
    const size_t end = conv->steps * KIND##_planes * 4;                                                           \
    for (size_t run = 0; run < conv->runs; ++run) {                                                               \
      __asm__("" : "+r"(offsets)); /* loaded anew for each run: hoisted, they would be spilled */                 \
      const uint8_t* x[P];                                                                                        \
      _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) x[p] = runs[run] + offsets[p];                       \
      for (size_t at = 0; at < end; at += KIND##_planes * 4, panel += KIND##_planes * B * 64) {                   \
        KIND##_words w[B];                                                                                        \
        _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) w[b] = KIND##_weights(panel, b, B);                \
        _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) {                                                  \
          const KIND##_words a = KIND##_levels(x[p] + at);                                                        \
          _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) total[p][b] = KIND##_add(total[p][b], a, w[b]);  \
        }                                                                                                         \
      }                                                                                                           \
    }                                                                                                             \
    _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) \
        _mm512_storeu_si512(sums + p * stride + b * LANES, KIND##_last(total[p][b]));                             \
    KIND##_mend(conv, sums, P, B * LANES, stride);                                                                \
  }

/* Sixteen sums or more hide an addition's latency and leave loads far behind arithmetic; more than eight pixels would
 * leave too few general registers for their pointers. */
#define SHAPES(KIND) \
  TILE(KIND, 8, 2)   \
  TILE(KIND, 8, 3)   \
  TILE(KIND, 4, 5)   \
  TILE(KIND, 8, 1)
SHAPES(b1)
SHAPES(r8)
SHAPES(r32)
TILE(masked, 4, 2)
TILE(masked, 8, 1)

typedef struct shape {
  int32_t pixels, vectors;
  edgelm_tile* tile;
} shape;

#define SHAPE_LIST(KIND)                                                             \
  {                                                                                  \
    {8, 2, KIND##_8x2}, {8, 3, KIND##_8x3}, {4, 5, KIND##_4x5}, { 8, 1, KIND##_8x1 } \
  }
static const shape b1_shapes[] = SHAPE_LIST(b1), r8_shapes[] = SHAPE_LIST(r8), r32_shapes[] = SHAPE_LIST(r32);
static const shape masked_shapes[] = {{4, 2, masked_4x2}, {8, 1, masked_8x1}};

/* The shape that computes fewest lanes beyond the last filter, the first such. */
static void choose(edgelm_conv* conv, const shape* shapes, size_t count) {
  const size_t vectors = ((size_t)conv->attrs.out_channels + LANES - 1) / LANES;
  const shape* best = shapes;
  for (const shape* s = shapes + 1; s < shapes + count; ++s)
    if (edgelm_up(vectors, s->vectors) < edgelm_up(vectors, best->vectors)) best = s;
  conv->lanes = best->vectors * LANES;
  conv->pixels = best->pixels;
  conv->tile = best->tile;
}
#define CHOOSE(conv, shapes) choose(conv, shapes, sizeof(shapes) / sizeof *(shapes))

static size_t weight_bytes(const edgelm_conv* conv, size_t planes) {
  return conv->runs * conv->steps * planes * conv->lanes * sizeof(uint32_t);
}

/* ---- signs ---- */

static size_t words(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + 31) / 32; }

static void lay_out_b1(edgelm_conv* conv) {
  conv->pixel_bytes = words(conv) * conv->planes * sizeof(uint32_t);
  conv->steps = conv->run_taps * words(conv);
  if (conv->planes == 2)
    CHOOSE(conv, masked_shapes);
  else
    CHOOSE(conv, b1_shapes);
  conv->panel_bytes = weight_bytes(conv, conv->planes);
}

static void pack_b1(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes, W = words(conv);
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    uint32_t* to = (uint32_t*)(void*)out + o % lanes;
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t word = 0; word < W; ++word, to += conv->planes * lanes) {
        uint32_t signs = 0, masks = 0;
        for (size_t c = word * 32; c < edgelm_min(C, word * 32 + 32); ++c) {
          const int32_t w = edgelm_weight(conv, weights, o, tap, c);
          signs |= (uint32_t)(w < 0) << c % 32;
          masks |= (uint32_t)(w != 0) << c % 32;
        }
        to[0] = signs;
        if (conv->planes == 2) to[lanes] = masks;
      }
    }
  }
}

/* ---- int8 weights ---- */

static void lay_out_r8(edgelm_conv* conv) {
  conv->pixel_bytes = conv->attrs.in_channels;
  conv->steps = (conv->run_taps * conv->attrs.in_channels + 3) / 4;
  CHOOSE(conv, r8_shapes);
  conv->panel_bytes = weight_bytes(conv, 1) + conv->lanes * sizeof(int32_t);
}

static void pack_r8(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  int32_t* first = (int32_t*)(void*)out;
  uint8_t* to = out + lanes * sizeof(int32_t);
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    int32_t sum = 0;
    for (size_t run = 0; run < conv->runs; ++run) {
      for (size_t tap = 0, k = 0; tap < conv->run_taps; ++tap) {
        for (size_t c = 0; c < C; ++c, ++k) {
          const int32_t w = edgelm_weight(conv, weights, o, run * conv->run_taps + tap, c);
          to[((run * conv->steps + k / 4) * lanes + o % lanes) * 4 + k % 4] = (uint8_t)w;
          sum += w;
        }
      }
    }
    first[o % lanes] = -conv->offset * sum;
  }
}

/* ---- float weights ---- */

static void lay_out_r32(edgelm_conv* conv) {
  conv->pixel_bytes = (size_t)conv->attrs.in_channels * sizeof(float);
  conv->steps = conv->run_taps * conv->attrs.in_channels;
  CHOOSE(conv, r32_shapes);
  conv->panel_bytes = weight_bytes(conv, 1);
}

static void pack_r32(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    float* to = (float*)(void*)out + o % lanes;
    for (size_t tap = 0; tap < taps; ++tap)
      for (size_t c = 0; c < C; ++c, to += lanes) *to = edgelm_real_weight(conv, weights, o, tap, c);
  }
}

const edgelm_kernel edgelm_b1_avx512 = {.element = 1,
                                        .gathers = 0,
                                        .macs_per_us = 1000000,
                                        .lay_out = lay_out_b1,
                                        .pack = pack_b1,
                                        .stages = &edgelm_stages_avx512};
const edgelm_kernel edgelm_r8_avx512 = {.element = 8,
                                        .gathers = 0,
                                        .offset = 128,
                                        .macs_per_us = 180000,
                                        .lay_out = lay_out_r8,
                                        .pack = pack_r8,
                                        .stages = &edgelm_stages_avx512};
const edgelm_kernel edgelm_r32_avx512 = {.element = 32,
                                         .gathers = 1,
                                         .macs_per_us = 50000,
                                         .lay_out = lay_out_r32,
                                         .pack = pack_r32,
                                         .stages = &edgelm_stages_avx512};
