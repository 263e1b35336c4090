/* Kernels for x86-64 with AVX2 and FMA: a panel is 16 output channels, two vectors of eight 32-bit lanes.
 *
 * A product of a float and a weight is exact, so that a fused multiply-add rounds as the reference does: f32 sums are
 * the same bit for bit.
 */
#define LANES 16

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

static inline __m256i load(const uint32_t* words) { return _mm256_loadu_si256((const __m256i*)words); }

static inline void store(uint32_t* words, __m256i value) { _mm256_storeu_si256((__m256i*)words, value); }

static inline __m256i broadcast(uint32_t word) { return _mm256_set1_epi32((int32_t)word); }

static inline void transpose8(const uint32_t* from, size_t from_stride, uint32_t* to, size_t to_stride) {
  __m256i r[8], t[8];
  for (size_t i = 0; i < 8; ++i) r[i] = load(from + i * from_stride);
  for (size_t i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (size_t i = 0; i < 8; i += 4) {
    r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (size_t i = 0; i < 4; ++i) {
    store(to + i * to_stride, _mm256_permute2x128_si256(r[i], r[i + 4], 0x20));
    store(to + (i + 4) * to_stride, _mm256_permute2x128_si256(r[i], r[i + 4], 0x31));
  }
}

static void transpose(const uint32_t* from, size_t from_stride, uint32_t* to, size_t to_stride, size_t rows,
                      size_t columns) {
  const size_t whole_rows = rows / 8 * 8, whole_columns = columns / 8 * 8;
  for (size_t row = 0; row < whole_rows; row += 8)
    for (size_t column = 0; column < whole_columns; column += 8)
      transpose8(from + row * from_stride + column, from_stride, to + column * to_stride + row, to_stride);
  for (size_t column = 0; column < columns; ++column)
    for (size_t row = column < whole_columns ? whole_rows : 0; row < rows; ++row)
      to[column * to_stride + row] = from[row * from_stride + column];
}

static uint32_t gather_bits(const uint32_t* words) {
  uint32_t bits = 0;
  for (size_t j = 0; j < 32; j += 8) {
    const __m256i signs = _mm256_slli_epi32(load(words + j), 31);
    bits |= (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(signs)) << j;
  }
  return bits;
}

#include "stages.h"

enum { F32_PIXELS = 6, INT_PIXELS = 4 };
_Static_assert(EDGELM_CHUNK % F32_PIXELS == 0 && EDGELM_CHUNK % INT_PIXELS == 0, "a chunk is whole tiles");

static void tile_f32(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows, size_t steps,
                     int32_t taps, uint32_t* sums) {
  (void)taps;
  __m256 low[F32_PIXELS], high[F32_PIXELS];
#pragma GCC unroll 6
  for (size_t p = 0; p < F32_PIXELS; ++p) low[p] = high[p] = _mm256_setzero_ps();
  for (size_t row = 0; row < rows; ++row) {
    for (size_t at = row * row_words, end = at + steps; at < end; ++at, weights += LANES) {
      const __m256 w_low = _mm256_castsi256_ps(load(weights)), w_high = _mm256_castsi256_ps(load(weights + 8));
#pragma GCC unroll 6
      for (size_t p = 0; p < F32_PIXELS; ++p) {
        const __m256 a = _mm256_castsi256_ps(broadcast(pixel[p][at]));
        low[p] = _mm256_fmadd_ps(a, w_low, low[p]);
        high[p] = _mm256_fmadd_ps(a, w_high, high[p]);
      }
    }
  }
#pragma GCC unroll 6
  for (size_t p = 0; p < F32_PIXELS; ++p) {
    store(sums + p * LANES, _mm256_castps_si256(low[p]));
    store(sums + p * LANES + 8, _mm256_castps_si256(high[p]));
  }
}

/* total += the four products of each lane, as pairs in int16: 2 * 127 a step. */
static inline __m256i dot_pairs(__m256i total, __m256i a, __m256i w) {
  return _mm256_add_epi16(total, _mm256_maddubs_epi16(_mm256_set1_epi8(1), _mm256_sign_epi8(a, w)));
}

static void tile_i8(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows, size_t steps,
                    int32_t taps, uint32_t* sums) {
  (void)taps;
  enum { FLUSH = 32767 / 254 };
  const __m256i ones = _mm256_set1_epi16(1);
  memset(sums, 0, INT_PIXELS * LANES * sizeof *sums);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t at = row * row_words, end = at + steps; at < end;) {
      const size_t stop = edgelm_min(end, at + FLUSH);
      __m256i low[INT_PIXELS], high[INT_PIXELS];
#pragma GCC unroll 4
      for (size_t p = 0; p < INT_PIXELS; ++p) low[p] = high[p] = _mm256_setzero_si256();
      for (; at < stop; ++at, weights += LANES) {
        const __m256i w_low = load(weights), w_high = load(weights + 8);
#pragma GCC unroll 4
        for (size_t p = 0; p < INT_PIXELS; ++p) {
          const __m256i a = broadcast(pixel[p][at]);
          low[p] = dot_pairs(low[p], a, w_low);
          high[p] = dot_pairs(high[p], a, w_high);
        }
      }
#pragma GCC unroll 4
      for (size_t p = 0; p < INT_PIXELS; ++p) {
        uint32_t* sum = sums + p * LANES;
        store(sum, _mm256_add_epi32(load(sum), _mm256_madd_epi16(low[p], ones)));
        store(sum + 8, _mm256_add_epi32(load(sum + 8), _mm256_madd_epi16(high[p], ones)));
      }
    }
  }
}

/* How many bits of each byte are set. */
static inline __m256i count_bits(__m256i x) {
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, /* both halves alike */
                                         0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(x, nibble));
  const __m256i high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
  return _mm256_add_epi8(low, high);
}

/* sum (8 lanes) += factor times the four bytes of each lane of `bytes`, all of 0..255. */
static inline void add_bytes(uint32_t* sum, __m256i bytes, int8_t factor) {
  const __m256i pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi8(factor));
  store(sum, _mm256_add_epi32(load(sum), _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
}

enum { B1_FLUSH = 255 / 8 }; /* steps until a byte of counts may overflow */

static void tile_b1(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows, size_t steps,
                    int32_t taps, uint32_t* sums) {
  for (size_t i = 0; i < INT_PIXELS * LANES; ++i) sums[i] = (uint32_t)taps;
  for (size_t row = 0; row < rows; ++row) {
    for (size_t at = row * row_words, end = at + steps; at < end;) {
      const size_t stop = edgelm_min(end, at + B1_FLUSH);
      __m256i low[INT_PIXELS], high[INT_PIXELS];
#pragma GCC unroll 4
      for (size_t p = 0; p < INT_PIXELS; ++p) low[p] = high[p] = _mm256_setzero_si256();
      for (; at < stop; ++at, weights += LANES) {
        const __m256i w_low = load(weights), w_high = load(weights + 8);
#pragma GCC unroll 4
        for (size_t p = 0; p < INT_PIXELS; ++p) {
          const __m256i a = broadcast(pixel[p][at]);
          low[p] = _mm256_add_epi8(low[p], count_bits(_mm256_xor_si256(a, w_low)));
          high[p] = _mm256_add_epi8(high[p], count_bits(_mm256_xor_si256(a, w_high)));
        }
      }
#pragma GCC unroll 4
      for (size_t p = 0; p < INT_PIXELS; ++p) {
        add_bytes(sums + p * LANES, low[p], -2);
        add_bytes(sums + p * LANES + 8, high[p], -2);
      }
    }
  }
}

static void tile_b1_masked(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows,
                           size_t steps, int32_t taps, uint32_t* sums) {
  (void)taps;
  memset(sums, 0, INT_PIXELS * LANES * sizeof *sums);
  for (size_t half = 0; half < LANES; half += 8) {
    const uint32_t* w = weights + half;
    for (size_t row = 0; row < rows; ++row) {
      for (size_t at = row * row_words, end = at + 2 * steps; at < end;) {
        const size_t stop = edgelm_min(end, at + 2 * B1_FLUSH);
        __m256i both[INT_PIXELS], differ[INT_PIXELS];
#pragma GCC unroll 4
        for (size_t p = 0; p < INT_PIXELS; ++p) both[p] = differ[p] = _mm256_setzero_si256();
        for (; at < stop; at += 2, w += 2 * LANES) {
          const __m256i sign = load(w), mask = load(w + LANES);
#pragma GCC unroll 4
          for (size_t p = 0; p < INT_PIXELS; ++p) {
            const __m256i valid = _mm256_and_si256(broadcast(pixel[p][at + 1]), mask);
            const __m256i other = _mm256_and_si256(_mm256_xor_si256(broadcast(pixel[p][at]), sign), valid);
            both[p] = _mm256_add_epi8(both[p], count_bits(valid));
            differ[p] = _mm256_add_epi8(differ[p], count_bits(other));
          }
        }
#pragma GCC unroll 4
        for (size_t p = 0; p < INT_PIXELS; ++p) {
          add_bytes(sums + p * LANES + half, both[p], 1);
          add_bytes(sums + p * LANES + half, differ[p], -2);
        }
      }
    }
  }
}

const edgelm_kernel edgelm_f32_avx2 = {LANES, F32_PIXELS, tile_f32, NULL, expand_f32, prepare, finish};
const edgelm_kernel edgelm_i8_avx2 = {LANES, INT_PIXELS, tile_i8, NULL, expand_i8, prepare, finish};
const edgelm_kernel edgelm_b1_avx2 = {LANES, INT_PIXELS, tile_b1, tile_b1_masked, NULL, prepare, finish};
