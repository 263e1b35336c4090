/* A crop of an image, drawn and normalized in one pass; edgelm/geometry.py's `warp` and `normalize` say what it is.
 *
 * The same as OpenCV's warpAffine bit for bit: coordinates are rounded to 1/1024 px by row and by column, their sum to
 * 1/32 px, and the four pixels around it are weighted in whole numbers.
 * The channels of a pixel lie in the lanes of one vector, by GCC's and Clang's vector extensions.
 */
#include <string.h>

#include "edgelm.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { BLOCK = 64, MOST = 8, CELLS = BLOCK * MOST };

typedef uint8_t bytes __attribute__((vector_size(8)));
typedef uint16_t shorts __attribute__((vector_size(8)));
typedef uint16_t wide_shorts __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(16)));

typedef struct source {
  const uint8_t* pixels;
  int64_t height, width;
} source;

/* To the nearest whole number, ties to even; what is no number or far away lands outside of every image. Not libm's
 * lrint, whose result is of 32 bits on 32-bit systems. */
static int64_t rounded(double v) {
  const double most = 1e12, magic = 6755399441055744.0; /* 1.5 * 2^52 */
  const double near = v < most ? (v > -most ? v : -most) : most, moved = near + magic;
  int64_t bits, base;
  memcpy(&bits, &moved, sizeof bits);
  memcpy(&base, &magic, sizeof base);
  return bits - base;
}

/* The image at X, Y in 1/32 px, zero outside of it; the fourth lane is idle. */
static ints sample(const source* from, int64_t X, int64_t Y) {
  ints sum = {512, 512, 512, 0};
  for (int corner = 0; corner < 4; ++corner) {
    const int right = corner & 1, below = corner >> 1;
    const int64_t x = (X >> 5) + right, y = (Y >> 5) + below, a = X & 31, b = Y & 31;
    if (x < 0 || y < 0 || x >= from->width || y >= from->height) continue;
    const uint8_t* at = from->pixels + 3 * (y * from->width + x);
    const int32_t weight = (int32_t)((right ? a : 32 - a) * (below ? b : 32 - b));
    for (int c = 0; c < 3; ++c) sum[c] += weight * at[c];
  }
  return sum >> 10;
}

static inline wide_shorts two_pixels(const uint8_t* at) {
#ifdef __SSE2__ /* compilers take five instructions for this */
  return (wide_shorts)_mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i*)at), _mm_setzero_si128());
#else
  bytes v;
  memcpy(&v, at, sizeof v);
  return __builtin_convertvector(v, wide_shorts);
#endif
}

/* Lanes 0 to 2 of `both` times 32 - a, and lanes 3 to 5 times a. */
static inline ints between(wide_shorts both, int32_t a) {
#ifdef __SSE2__
  const __m128i pairs = _mm_unpacklo_epi16((__m128i)both, _mm_srli_si128((__m128i)both, 6));
  return (ints)_mm_madd_epi16(pairs, _mm_set1_epi32(a * 65536 + 32 - a));
#else
  shorts left, right;
  memcpy(&left, &both, sizeof left);
  memcpy(&right, (const char*)&both + 3 * sizeof(uint16_t), sizeof right);
  return __builtin_convertvector(left, ints) * (32 - a) + __builtin_convertvector(right, ints) * a;
#endif
}

/* As sample, where `inside` holds. */
static inline ints sample_inside(const source* from, int32_t X, int32_t Y) {
  const ptrdiff_t line = 3 * (ptrdiff_t)from->width;
  const uint8_t* at = from->pixels + (Y >> 5) * line + 3 * (ptrdiff_t)(X >> 5);
  const uint16_t b = (uint16_t)(Y & 31), rest = (uint16_t)(32 - b);
  return (between(two_pixels(at) * rest + two_pixels(at + line) * b, X & 31) + 512) >> 10;
}

/* Whether all four pixels, and two bytes behind them, are in the image. */
static int inside(const source* from, int64_t X, int64_t Y) {
  return X >= 0 && Y >= 0 && X >> 5 < from->width - 2 && Y >> 5 < from->height - 1;
}

/* The mean of times * times bytes, as OpenCV's INTER_AREA rounds it. */
static inline int32_t mean(int32_t sum, int32_t times) {
  if (times == 1) return sum;
  if (times == 2) return (sum + 2) >> 2;
  const float scaled = (float)sum * (1.0f / (float)(times * times)) + 12582912.0f; /* 1.5 * 2^23, rounds */
  int32_t bits;
  memcpy(&bits, &scaled, sizeof bits);
  return bits & 0xFF;
}

int edgelm_crop(const uint8_t* image, int32_t height, int32_t width, const double matrix[6], int32_t times,
                const float* table, const int32_t place[3], int32_t pixel, int32_t out_height, int32_t out_width,
                float* out) {
  if (height < 1 || width < 1 || times < 1 || times > MOST || out_height < 0 || out_width < 0) return -1;
  const source from = {image, height, width};
  /* The way back from the crop, in the order in which OpenCV computes it. */
  const double D = matrix[0] * matrix[4] - matrix[1] * matrix[3], d = D != 0.0 ? 1.0 / D : 0.0;
  const double xx = matrix[4] * d, xy = matrix[1] * -d, yx = matrix[3] * -d, yy = matrix[0] * d;
  const double x0 = -xx * matrix[2] - xy * matrix[5], y0 = -yx * matrix[2] - yy * matrix[5];
  int64_t across[CELLS], down[CELLS];
  for (int32_t begin = 0; begin < out_width; begin += BLOCK) {
    const int32_t columns = out_width - begin < BLOCK ? out_width - begin : BLOCK;
    for (int32_t j = 0; j < columns * times; ++j) {
      across[j] = rounded(xx * (double)(begin * times + j) * 1024.0);
      down[j] = rounded(yx * (double)(begin * times + j) * 1024.0);
    }
    for (int32_t row = 0; row < out_height; ++row) {
      ints sums[BLOCK];
      memset(sums, 0, sizeof sums);
      for (int32_t sub = 0; sub < times; ++sub) {
        const double at = (double)(row * times + sub);
        const int64_t X = rounded((xy * at + x0) * 1024.0) + 16, Y = rounded((yy * at + y0) * 1024.0) + 16;
        const int32_t last = columns * times - 1;
        /* A line whose ends are inside is inside: coordinates only grow or only shrink along it. */
        if (inside(&from, (X + across[0]) >> 5, (Y + down[0]) >> 5) &&
            inside(&from, (X + across[last]) >> 5, (Y + down[last]) >> 5)) {
          for (int32_t j = 0, cell = 0; j < columns; ++j) {
            for (const int32_t end = cell + times; cell < end; ++cell) {
              sums[j] += sample_inside(&from, (int32_t)((X + across[cell]) >> 5), (int32_t)((Y + down[cell]) >> 5));
            }
          }
        } else {
          for (int32_t j = 0, cell = 0; j < columns; ++j) {
            for (const int32_t end = cell + times; cell < end; ++cell) {
              sums[j] += sample(&from, (X + across[cell]) >> 5, (Y + down[cell]) >> 5);
            }
          }
        }
      }
      float* to = out + ((size_t)row * (size_t)out_width + (size_t)begin) * (size_t)pixel;
      for (int32_t j = 0; j < columns; ++j, to += pixel) {
        for (int32_t c = 0; c < 3; ++c) {
          to[place[c]] = table[256 * c + mean(sums[j][c], times)];
        }
      }
    }
  }
  return 0;
}
