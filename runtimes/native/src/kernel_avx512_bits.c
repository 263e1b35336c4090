/* Signs on AVX-512: exclusive or, population count, add; 32 channels of a pixel and a filter in a step.
 *
 * Sums nearly always fit sixteen bits, and then two vectors of filters become one of sums. Packing interleaves them, so
 * the filters of a pair of vectors lie in the order that packing undoes (`lane_of`).
 */
#include "tile_avx512.h"

static int32_t products(const edgelm_conv* conv) {
  return conv->attrs.kernel_h * conv->attrs.kernel_w * conv->attrs.in_channels;
}

/* ---- one plane: how many products are negative ---- */

typedef __m512i b1_words;
typedef __m512i b1_sums;
enum { b1_planes = 1, b1_heads = 0 };
static inline b1_words b1_weights(const uint8_t* p, size_t b, size_t B) {
  (void)B;
  return load(p, b);
}
static inline b1_words b1_levels(const uint8_t* p) { return broadcast(p); }
static inline b1_sums b1_first(const uint8_t* panel, size_t b) {
  (void)panel, (void)b;
  return _mm512_setzero_si512();
}
static inline b1_sums b1_add(b1_sums sums, b1_words x, b1_words w) {
  sums = _mm512_add_epi32(sums, _mm512_popcnt_epi32(_mm512_xor_si512(x, w)));
  PIN(sums);
  return sums;
}

/* ---- two planes: how many products are not zero, and how many of them are negative ---- */

typedef struct masked_words {
  __m512i signs, masks;
} masked_words;
typedef struct masked_sums {
  __m512i both, differing;
} masked_sums;
enum { masked_planes = 2, masked_heads = 0 };
static inline masked_words masked_weights(const uint8_t* p, size_t b, size_t B) {
  return (masked_words){load(p, b), load(p, B + b)};
}
static inline masked_words masked_levels(const uint8_t* p) { return (masked_words){broadcast(p), broadcast(p + 4)}; }
static inline masked_sums masked_first(const uint8_t* panel, size_t b) {
  (void)panel, (void)b;
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

/* ---- sums: all products that count, less twice the negative ones ---- */

#define STORE_SUMS(P, B, all, negative, sums, stride)                                                                 \
  if (conv->sum_bits == 32) {                                                                                         \
    _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b)     \
        _mm512_storeu_si512((sums) + p * (stride) + b * LANES,                                                        \
                            _mm512_sub_epi32(all(p, b), _mm512_slli_epi32(negative(p, b), 1)));                       \
  } else {                                                                                                            \
    int16_t* shorts = (int16_t*)(void*)(sums);                                                                        \
    _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) {                                                          \
      _Pragma("GCC unroll 8") for (size_t b = 0; b + 1 < B; b += 2) {                                                 \
        const __m512i n = _mm512_packs_epi32(negative(p, b), negative(p, b + 1));                                     \
        const __m512i a = _mm512_packs_epi32(all(p, b), all(p, b + 1));                                               \
        _mm512_storeu_si512(shorts + p * (stride) + b * LANES, _mm512_sub_epi16(a, _mm512_add_epi16(n, n)));          \
      }                                                                                                               \
      if (B % 2) {                                                                                                    \
        const __m512i last = _mm512_sub_epi32(all(p, B - 1), _mm512_slli_epi32(negative(p, B - 1), 1));               \
        _mm256_storeu_si256((__m256i*)(void*)(shorts + p * (stride) + (B - 1) * LANES), _mm512_cvtepi32_epi16(last)); \
      }                                                                                                               \
    }                                                                                                                 \
  }

#define b1_sum_bytes(conv) ((size_t)(conv)->sum_bits / 8)
#define masked_sum_bytes b1_sum_bytes
#define ALL(p, b) every
#define NEGATIVE(p, b) total[p][b]
#define b1_store(conv, P, B, total, sums, stride)          \
  const __m512i every = _mm512_set1_epi32(products(conv)); \
  STORE_SUMS(P, B, ALL, NEGATIVE, sums, stride)

#define BOTH(p, b) total[p][b].both
#define DIFFERING(p, b) total[p][b].differing
#define masked_store(conv, P, B, total, sums, stride) STORE_SUMS(P, B, BOTH, DIFFERING, sums, stride)

SHAPES(b1)
TILE(masked, 4, 2)
TILE(masked, 8, 1)
static const shape masked_shapes[] = {{4, 2, masked_4x2}, {8, 1, masked_8x1}};

/* ---- packing ---- */

static size_t words(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + 31) / 32; }

static void lay_out(edgelm_conv* conv) {
  conv->pixel_bytes = words(conv) * conv->planes * sizeof(uint32_t);
  conv->steps = conv->run_taps * words(conv);
  if (conv->planes == 2)
    CHOOSE(conv, masked_shapes);
  else
    CHOOSE(conv, b1_shapes);
  conv->panel_bytes = weight_bytes(conv, conv->planes);
  if (products(conv) < INT16_MAX) conv->sum_bits = 16;
}

/* Where a filter of a panel lies: packing takes four lanes of the first vector, four of the second, and so on. */
static size_t lane_of(const edgelm_conv* conv, size_t filter) {
  if (conv->sum_bits == 32 || filter >= (size_t)conv->lanes / 32 * 32) return filter;
  return filter / 32 * 32 + filter / 4 % 2 * 16 + filter % 32 / 8 * 4 + filter % 4;
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes, W = words(conv);
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o) {
    uint32_t* to = (uint32_t*)(void*)out + lane_of(conv, o % lanes);
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

const edgelm_kernel edgelm_b1_avx512 = {
    .element = 1, .macs_per_us = 1500000, .lay_out = lay_out, .pack = pack, .stages = &edgelm_stages_avx512};
