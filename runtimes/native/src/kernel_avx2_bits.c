/* Signs on AVX2: four channels at once, by table.
 *
 * A nibble of activation signs picks one of 16 tables; the weights' nibbles of 32 filters are indices into it, and what
 * comes out is how many of the four signs differ: two instructions for 128 products. Resident weights are nibbles, one
 * bit a weight; `expand` spreads them to one index a byte for each run.
 */
#include <immintrin.h>
#include <string.h>

#include "conv.h"

extern const struct edgelm_stages edgelm_stages_avx2;

enum { LANES = 32, FLUSH = 255 / 8 }; /* steps of eight channels until a byte of counts may overflow */

/* differing[a][e]: how many of the four low bits of a and e differ. */
#define D4(a, e) (uint8_t)((((a) ^ (e)) & 1) + (((a) ^ (e)) >> 1 & 1) + (((a) ^ (e)) >> 2 & 1) + (((a) ^ (e)) >> 3 & 1))
#define ROW(a)                                                                          \
  {D4(a, 0), D4(a, 1), D4(a, 2),  D4(a, 3),  D4(a, 4),  D4(a, 5),  D4(a, 6),  D4(a, 7), \
   D4(a, 8), D4(a, 9), D4(a, 10), D4(a, 11), D4(a, 12), D4(a, 13), D4(a, 14), D4(a, 15)}
static const uint8_t differing[16][16]
    __attribute__((aligned(64))) = {ROW(0), ROW(1), ROW(2),  ROW(3),  ROW(4),  ROW(5),  ROW(6),  ROW(7),
                                    ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14), ROW(15)};

static inline __m256i load(const void* p) { return _mm256_loadu_si256(p); }
static inline void store(void* p, __m256i v) { _mm256_storeu_si256(p, v); }
static inline __m256i table(size_t offset) {
  return _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i*)(const void*)((const uint8_t*)differing + offset)));
}

/* sums = total - 2 * counts, of bytes or of two vectors of 16-bit counts as unpacking left them. */
static inline void finish8(uint32_t* sums, __m256i total, __m256i counts) {
  const __m128i halves[2] = {_mm256_castsi256_si128(counts), _mm256_extracti128_si256(counts, 1)};
  for (size_t i = 0; i < 4; ++i) {
    const __m128i eight = i % 2 ? _mm_srli_si128(halves[i / 2], 8) : halves[i / 2];
    const __m256i wide = _mm256_cvtepu8_epi32(eight);
    store(sums + 8 * i, _mm256_sub_epi32(total, _mm256_add_epi32(wide, wide)));
  }
}

static inline void finish16(uint32_t* sums, __m256i total, const __m256i counts[2]) {
  for (size_t i = 0; i < 4;
       ++i) { /* the low half of an unpacked vector is lanes 0-7 and 16-23, the high one the rest */
    const __m128i half = i < 2 ? _mm256_castsi256_si128(counts[i]) : _mm256_extracti128_si256(counts[i - 2], 1);
    const __m256i wide = _mm256_cvtepu16_epi32(half);
    store(sums + 8 * i, _mm256_sub_epi32(total, _mm256_add_epi32(wide, wide)));
  }
}

/* Keeps what it is given in registers here: compilers move loads of later tables up until counts are spilled. */
#define PIN(v) __asm__("" : "+x"(v))

/* Eight channels at `at`, for P pixels and B vectors of 32 filters. */
#define STEP(P, B)                                                               \
  for (size_t half = 0; half < 2; ++half) {                                      \
    __m256i t[P];                                                                \
    _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) {                     \
      const size_t byte = x[p][at];                                              \
      t[p] = table(half ? byte & 0xf0 : byte << 4 & 0xf0);                       \
    }                                                                            \
    _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) {                     \
      __m256i w = load(panel + (half * B + b) * LANES);                          \
      PIN(w); /* or it would be loaded again for each pixel */                   \
      _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) counts[p * B + b] = \
          _mm256_add_epi8(counts[p * B + b], _mm256_shuffle_epi8(t[p], w));      \
    }                                                                            \
    _Pragma("GCC unroll 8") for (size_t i = 0; i < P * B; ++i) PIN(counts[i]);   \
  }

#define TILE(P, B)                                                                                                \
  static void small_##P##x##B(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,        \
                              const uint8_t* panel, uint32_t* sums, size_t stride) {                              \
    const edgelm_qconv_attrs* a = &conv->attrs;                                                                   \
    const __m256i total = _mm256_set1_epi32(a->kernel_h * a->kernel_w * a->in_channels);                          \
    const size_t steps = conv->steps * 4;                                                                         \
    __m256i counts[P * B];                                                                                        \
    _Pragma("GCC unroll 8") for (size_t i = 0; i < P * B; ++i) counts[i] = _mm256_setzero_si256();                \
    for (size_t run = 0; run < conv->runs; ++run) {                                                               \
      const uint8_t* x[P];                                                                                        \
      _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) x[p] = runs[run] + offsets[p];                       \
      for (size_t at = 0; at < steps; ++at, panel += 2 * B * LANES) STEP(P, B)                                    \
    }                                                                                                             \
    _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) \
        finish8(sums + p * stride + b * LANES, total, counts[p * B + b]);                                         \
  }                                                                                                               \
  static void tile_##P##x##B(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,         \
                             const uint8_t* panel, uint32_t* sums, size_t stride) {                               \
    const edgelm_qconv_attrs* a = &conv->attrs;                                                                   \
    const __m256i total = _mm256_set1_epi32(a->kernel_h * a->kernel_w * a->in_channels),                          \
                  zero = _mm256_setzero_si256();                                                                  \
    __m256i wide[P * B][2];                                                                                       \
    const size_t steps = conv->steps * 4;                                                                         \
    for (size_t i = 0; i < P * B; ++i) wide[i][0] = wide[i][1] = zero;                                            \
    for (size_t run = 0; run < conv->runs; ++run) {                                                               \
      const uint8_t* x[P];                                                                                        \
      _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) x[p] = runs[run] + offsets[p];                       \
      for (size_t at = 0; at < steps;) {                                                                          \
        const size_t stop = edgelm_min(steps, at + FLUSH);                                                        \
        __m256i counts[P * B];                                                                                    \
        _Pragma("GCC unroll 8") for (size_t i = 0; i < P * B; ++i) counts[i] = zero;                              \
        for (; at < stop; ++at, panel += 2 * B * LANES) STEP(P, B)                                                \
        _Pragma("GCC unroll 8") for (size_t i = 0; i < P * B; ++i) {                                              \
          wide[i][0] = _mm256_add_epi16(wide[i][0], _mm256_unpacklo_epi8(counts[i], zero));                       \
          wide[i][1] = _mm256_add_epi16(wide[i][1], _mm256_unpackhi_epi8(counts[i], zero));                       \
        }                                                                                                         \
      }                                                                                                           \
    }                                                                                                             \
    _Pragma("GCC unroll 8") for (size_t p = 0; p < P; ++p) _Pragma("GCC unroll 8") for (size_t b = 0; b < B; ++b) \
        finish16(sums + p * stride + b * LANES, total, wide[p * B + b]);                                          \
  }

TILE(6, 1)
TILE(4, 2)
TILE(2, 4)

static size_t words(const edgelm_conv* conv) { return ((size_t)conv->attrs.in_channels + 31) / 32; }

/* ---- with masks: counted by table ---- */

static inline __m256i count_bits(__m256i x) {
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(x, nibble));
  const __m256i high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
  const __m256i bytes = _mm256_add_epi8(low, high);
  return _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1)), _mm256_set1_epi16(1));
}

static void tile_masked(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,
                        const uint8_t* panel, uint32_t* sums, size_t stride) {
  (void)stride;
  __m256i sum = _mm256_setzero_si256();
  for (size_t run = 0; run < conv->runs; ++run) {
    const uint8_t* x = runs[run] + offsets[0];
    for (size_t at = 0; at < conv->steps; ++at, panel += 64, x += 8) {
      int32_t sign, mask;
      memcpy(&sign, x, sizeof sign);
      memcpy(&mask, x + 4, sizeof mask);
      const __m256i both = _mm256_and_si256(_mm256_set1_epi32(mask), load(panel + 32));
      const __m256i differ = count_bits(_mm256_and_si256(_mm256_xor_si256(_mm256_set1_epi32(sign), load(panel)), both));
      sum = _mm256_add_epi32(sum, _mm256_sub_epi32(count_bits(both), _mm256_add_epi32(differ, differ)));
    }
  }
  store(sums, sum);
}

static void lay_out_masked(edgelm_conv* conv) {
  conv->pixel_bytes = 2 * words(conv) * sizeof(uint32_t);
  conv->steps = conv->run_taps * words(conv);
  conv->lanes = 8;
  conv->pixels = 1;
  conv->tile = tile_masked;
  conv->panel_bytes = conv->expanded_bytes = conv->runs * conv->steps * 64;
}

static void lay_out(edgelm_conv* conv) {
  if (conv->planes == 2) {
    lay_out_masked(conv);
    return;
  }
  const int32_t vectors = (conv->attrs.out_channels + LANES - 1) / LANES, B = vectors > 2 ? 4 : vectors;
  conv->pixel_bytes = words(conv) * sizeof(uint32_t);
  conv->steps = conv->run_taps * words(conv);
  conv->lanes = B * LANES;
  conv->pixels = B == 4 ? 2 : B == 2 ? 4 : 6;
  const int small = conv->runs * conv->steps * 4 <= FLUSH;
  conv->tile = B == 4   ? (small ? small_2x4 : tile_2x4)
               : B == 2 ? (small ? small_4x2 : tile_4x2)
               : small  ? small_6x1
                        : tile_6x1;
  conv->panel_bytes = conv->runs * conv->steps * 4 * conv->lanes;
  conv->expanded_bytes = 2 * conv->panel_bytes;
}

static void pack(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, lanes = conv->lanes;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  for (size_t o = panel * lanes; o < edgelm_min(O, (panel + 1) * lanes); ++o)
    for (size_t tap = 0; tap < taps; ++tap)
      for (size_t c = 0; c < C; ++c) {
        const int32_t w = edgelm_weight(conv, weights, o, tap, c);
        if (conv->planes == 1) {
          out[(tap * words(conv) * 4 + c / 8) * lanes + o % lanes] |= (uint8_t)((w < 0) << c % 8);
          continue;
        }
        uint32_t* word = (uint32_t*)(void*)out + (tap * words(conv) + c / 32) * 2 * lanes + o % lanes;
        word[0] |= (uint32_t)(w < 0) << c % 32;
        word[lanes] |= (uint32_t)(w != 0) << c % 32;
      }
}

static void expand(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out) {
  if (conv->planes == 2) {
    memcpy(out, panel, conv->panel_bytes);
    return;
  }
  const size_t lanes = conv->lanes, steps = conv->runs * conv->steps * 4;
  for (size_t s = 0; s < steps; ++s, panel += lanes, out += 2 * lanes)
    for (size_t lane = 0; lane < lanes; ++lane) {
      out[lane] = panel[lane] & 15;
      out[lanes + lane] = panel[lane] >> 4;
    }
}

const edgelm_kernel edgelm_b1_avx2 = {.element = 1,
                                      .macs_per_us = 400000,
                                      .lay_out = lay_out,
                                      .pack = pack,
                                      .expand = expand,
                                      .stages = &edgelm_stages_avx2};
