/* The reference kernels, in plain C: every other kernel gives the same sums. */
#define LANES 8

#include <stddef.h>
#include <stdint.h>

static void transpose(const uint32_t* from, size_t from_stride, uint32_t* to, size_t to_stride, size_t rows,
                      size_t columns) {
  for (size_t column = 0; column < columns; ++column)
    for (size_t row = 0; row < rows; ++row) to[column * to_stride + row] = from[row * from_stride + column];
}

static uint32_t gather_bits(const uint32_t* words) {
  uint32_t bits = 0;
  for (size_t j = 0; j < 32; ++j) bits |= words[j] << j;
  return bits;
}

#include "stages.h"

static void tile_f32(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows, size_t steps,
                     int32_t taps, uint32_t* sums) {
  (void)taps;
  float total[LANES] = {0};
  for (size_t row = 0; row < rows; ++row) {
    const uint32_t* words = pixel[0] + row * row_words;
    for (size_t step = 0; step < steps; ++step, weights += LANES)
      for (size_t lane = 0; lane < LANES; ++lane) total[lane] += float_of(words[step]) * float_of(weights[lane]);
  }
  for (size_t lane = 0; lane < LANES; ++lane) sums[lane] = word_of(total[lane]);
}

static int32_t dot4(uint32_t a, uint32_t b) {
  int32_t sum = 0;
  for (size_t byte = 0; byte < 32; byte += 8) sum += (int8_t)(a >> byte) * (int8_t)(b >> byte);
  return sum;
}

static void tile_i8(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows, size_t steps,
                    int32_t taps, uint32_t* sums) {
  (void)taps;
  int32_t total[LANES] = {0};
  for (size_t row = 0; row < rows; ++row) {
    const uint32_t* words = pixel[0] + row * row_words;
    for (size_t step = 0; step < steps; ++step, weights += LANES)
      for (size_t lane = 0; lane < LANES; ++lane) total[lane] += dot4(words[step], weights[lane]);
  }
  for (size_t lane = 0; lane < LANES; ++lane) sums[lane] = (uint32_t)total[lane];
}

static void tile_b1(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows, size_t steps,
                    int32_t taps, uint32_t* sums) {
  int32_t total[LANES] = {0};
  for (size_t row = 0; row < rows; ++row) {
    const uint32_t* words = pixel[0] + row * row_words;
    for (size_t step = 0; step < steps; ++step, weights += LANES)
      for (size_t lane = 0; lane < LANES; ++lane) total[lane] += __builtin_popcount(words[step] ^ weights[lane]);
  }
  for (size_t lane = 0; lane < LANES; ++lane) sums[lane] = (uint32_t)(taps - 2 * total[lane]);
}

static void tile_b1_masked(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows,
                           size_t steps, int32_t taps, uint32_t* sums) {
  (void)taps;
  int32_t total[LANES] = {0};
  for (size_t row = 0; row < rows; ++row) {
    const uint32_t* words = pixel[0] + row * row_words;
    for (size_t step = 0; step < steps; ++step, words += 2, weights += 2 * LANES) {
      for (size_t lane = 0; lane < LANES; ++lane) {
        const uint32_t both = words[1] & weights[LANES + lane];
        total[lane] += __builtin_popcount(both) - 2 * __builtin_popcount((words[0] ^ weights[lane]) & both);
      }
    }
  }
  for (size_t lane = 0; lane < LANES; ++lane) sums[lane] = (uint32_t)total[lane];
}

const edgelm_kernel edgelm_f32_scalar = {LANES, 1, tile_f32, NULL, expand_f32, prepare, finish};
const edgelm_kernel edgelm_i8_scalar = {LANES, 1, tile_i8, NULL, expand_i8, prepare, finish};
const edgelm_kernel edgelm_b1_scalar = {LANES, 1, tile_b1, tile_b1_masked, NULL, prepare, finish};
