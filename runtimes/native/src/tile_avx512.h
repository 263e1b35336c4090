/* Register tiles for AVX-512: P pixels times B vectors of sixteen filters, 32 bits for each sum.
 *
 * A step multiplies 32 bits of a pixel, the same for all lanes, by 32 bits of each filter. Weights lie in (runs, steps,
 * planes, lanes) order of such words. What the file that includes this says of its kind: KIND_words and KIND_sums
 * (types), KIND_planes (words of a step), KIND_heads (vectors of first sums that each vector of filters has before its
 * panel's weights), KIND_weights, KIND_levels, KIND_first, KIND_add, KIND_store for the sums of a tile and
 * KIND_sum_bytes for each of them.
 */
#ifndef EDGELM_TILE_AVX512_H
#define EDGELM_TILE_AVX512_H

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

#define TILE(KIND, P, B)                                                                                         \
  static inline __attribute__((always_inline)) void KIND##_tile_##P##x##B(                                       \
      const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, const uint8_t* panel,         \
      uint32_t* sums, size_t stride) {                                                                           \
    KIND##_sums total[P][B];                                                                                     \
    _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                                                     \
      const KIND##_sums first = KIND##_first(panel, b);                                                          \
      _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) total[p][b] = first;                                \
    }                                                                                                            \
    panel += KIND##_heads * B * 64;                                                                              \
    const size_t end = conv->steps * KIND##_planes * 4;                                                          \
    size_t run = 0; /* there are runs and steps always: no loop is left out */                                   \
    do {                                                                                                         \
      __asm__("" : "+r"(offsets)); /* loaded anew for each run: hoisted, they would be spilled */                \
      const uint8_t* x[P];                                                                                       \
      _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) x[p] = runs[run] + offsets[p];                      \
      size_t at = 0;                                                                                             \
      do {                                                                                                       \
        KIND##_words w[B];                                                                                       \
        _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) w[b] = KIND##_weights(panel, b, B);               \
        _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) {                                                 \
          const KIND##_words a = KIND##_levels(x[p] + at);                                                       \
          _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) total[p][b] = KIND##_add(total[p][b], a, w[b]); \
        }                                                                                                        \
        at += KIND##_planes * 4;                                                                                 \
        panel += KIND##_planes * B * 64;                                                                         \
      } while (at < end);                                                                                        \
    } while (++run < conv->runs);                                                                                \
    KIND##_store(conv, P, B, total, sums, stride);                                                               \
  }                                                                                                              \
  static void KIND##_##P##x##B(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,      \
                               size_t count, const uint8_t* panel, void* sums, size_t stride) {                  \
    uint8_t* to = sums;                                                                                          \
    for (size_t i = 0; i < count; i += P, to += P * stride * KIND##_sum_bytes(conv))                             \
      KIND##_tile_##P##x##B(conv, runs, offsets + i, panel, (uint32_t*)(void*)to, stride);                       \
  }

/* KIND_store for sums of 32 bits each. */
#define STORE_WORDS(last, P, B, total, sums, stride)                                                            \
  _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) \
      _mm512_storeu_si512((sums) + p * (stride) + b * LANES, last((total)[p][b]))

typedef struct shape {
  int32_t pixels, vectors;
  edgelm_tiles* tiles;
} shape;

/* Sixteen sums or more hide an addition's latency and leave loads far behind arithmetic; more than eight pixels would
 * leave too few general registers for their pointers. */
#define SHAPES(KIND) \
  TILE(KIND, 8, 2)   \
  TILE(KIND, 8, 3)   \
  TILE(KIND, 4, 5)   \
  TILE(KIND, 8, 1)   \
  static const shape KIND##_shapes[] = {{8, 2, KIND##_8x2}, {8, 3, KIND##_8x3}, {4, 5, KIND##_4x5}, {8, 1, KIND##_8x1}};

/* Takes the shape that computes fewest lanes beyond the last filter, the first such. */
static inline void choose(edgelm_conv* conv, const shape* shapes, size_t count) {
  const size_t vectors = ((size_t)conv->attrs.out_channels + LANES - 1) / LANES;
  const shape* best = shapes;
  for (const shape* s = shapes + 1; s < shapes + count; ++s)
    if (edgelm_up(vectors, s->vectors) < edgelm_up(vectors, best->vectors)) best = s;
  conv->lanes = best->vectors * LANES;
  conv->pixels = best->pixels;
  conv->tiles = best->tiles;
}
#define CHOOSE(conv, shapes) choose(conv, shapes, sizeof(shapes) / sizeof *(shapes))

static inline size_t weight_bytes(const edgelm_conv* conv, size_t planes) {
  return conv->runs * conv->steps * planes * conv->lanes * sizeof(uint32_t);
}

#endif
