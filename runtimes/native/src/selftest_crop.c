/* Crops against the plain definition, pixel by pixel: at any place and scale, of images down to a single pixel. */
#include <stdio.h>
#include <stdlib.h>

#include "selftest.h"

enum { SIDE = 60, CROP = 90 };

/* Channel c of the image at a place of the drawn crop; the coordinates are whole numbers of 1/1024 px. */
static int32_t at_place(const uint8_t* image, int32_t height, int32_t width, const double back[6], int32_t column,
                        int32_t row, int32_t c) {
  const int64_t X = ((int64_t)(back[0] * column * 1024) + (int64_t)((back[1] * row + back[2]) * 1024) + 16) >> 5;
  const int64_t Y = ((int64_t)(back[3] * column * 1024) + (int64_t)((back[4] * row + back[5]) * 1024) + 16) >> 5;
  int64_t sum = 512;
  for (int64_t y = Y >> 5; y <= (Y >> 5) + 1; ++y) {
    for (int64_t x = X >> 5; x <= (X >> 5) + 1; ++x) {
      if (x < 0 || y < 0 || x >= width || y >= height) continue;
      sum += (32 - llabs(x * 32 - X)) * (32 - llabs(y * 32 - Y)) * image[3 * (y * width + x) + c];
    }
  }
  return (int32_t)(sum >> 10);
}

int test_crops(int rounds) {
  uint32_t hash = CHECKSUM_START;
  float* table = malloc(3 * 256 * sizeof *table);
  float* out = malloc(3 * CROP * CROP * sizeof *out);
  float* expected = malloc(3 * CROP * CROP * sizeof *expected);
  if (!table || !out || !expected) abort();
  for (int32_t i = 0; i < 3 * 256; ++i) table[i] = (float)(i % 256) + 1000.0f * (float)(i / 256);
  restart_random();
  for (int round = 0; round < rounds; ++round) {
    const int32_t height = 1 + (int32_t)random_below(SIDE), width = 1 + (int32_t)random_below(SIDE);
    const int32_t times = 1 + (int32_t)random_below(8), planar = (int32_t)random_below(2);
    const int32_t h = 1 + (int32_t)random_below(CROP), w = 1 + (int32_t)random_below(CROP);
    const int32_t pixel = planar ? 1 : 3, place[3] = {0, planar ? h * w : 1, planar ? 2 * h * w : 2};
    /* Exactly as large as the image, so that a sanitizer sees what is read beyond it. */
    uint8_t* image = malloc(3 * (size_t)(height * width));
    if (!image) abort();
    for (int32_t i = 0; i < 3 * height * width; ++i) image[i] = (uint8_t)random_below(256);
    /* A turn by a right-angled triangle and a power of two: exact, there and back. */
    const int32_t turned = (int32_t)random_below(2);
    const double scale = (double)(1 << random_below(7)) / 8.0, p = turned ? scale : 0.0, q = scale;
    const double n = q * q + p * p;
    const double x = (double)random_below(CROP * 64) / 32.0 - CROP / 2, y = (double)random_below(CROP * 64) / 32.0;
    const double matrix[6] = {q, -p, x, p, q, y};
    const double back[6] = {q / n, p / n, (-q * x - p * y) / n, -p / n, q / n, (p * x - q * y) / n};
    for (int32_t row = 0; row < h; ++row) {
      for (int32_t column = 0; column < w; ++column) {
        for (int32_t c = 0; c < 3; ++c) {
          int32_t sum = 0;
          for (int32_t k = 0; k < times * times; ++k) {
            sum += at_place(image, height, width, back, column * times + k % times, row * times + k / times, c);
          }
          const int32_t area = times * times, twice = 2 * sum + area, mean = twice / (2 * area);
          const int tie = twice % (2 * area) == 0 && times > 2; /* to even, but upwards of four */
          expected[(row * w + column) * pixel + place[c]] = table[256 * c + mean - (tie && mean % 2)];
        }
      }
    }
    const size_t size = 3 * (size_t)(h * w);
    if (edgelm_crop(image, height, width, matrix, times, table, place, pixel, h, w, out) ||
        first_difference(expected, out, size, 0.0f) >= 0) {
      fprintf(stderr, "crop differs in round %d: %dx%d px drawn %d times as large as %dx%d, scale %g%s\n", round,
              height, width, times, h, w, scale, turned ? ", turned" : "");
      return 1;
    }
    hash = checksum(hash, expected, size);
    free(image);
  }
  free(table);
  free(out);
  free(expected);
  printf("crop scalar ok %08x\n", hash);
  return 0;
}
