/* The peak of each heatmap, its quarter-pixel refinement and its score, as edgelm/decode.py defines them.
 *
 * A map is read twice: for the maximum, and for where it is first; and once more for the sum of exponentials. All in
 * vectors of four, by GCC's and Clang's vector extensions. Places are the same as numpy's bit for bit; exponentials and
 * their sums differ in the last digits.
 */
#include <math.h>
#include <string.h>

#include "edgelm.h"

enum { LANES = 4, PARTS = 4, BLOCK = LANES * PARTS, NEAR = 2 };
typedef float floats __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(16)));

static const float LOWEST = -1e30f; /* stands for what is not finite */

static inline float value_of(float v) { return v - v == 0.0f ? v : LOWEST; }

static inline floats load(const float* from) {
  floats v;
  memcpy(&v, from, sizeof v);
  return v;
}

static inline floats select(ints mask, floats yes, floats no) {
  return (floats)((mask & (ints)yes) | (~mask & (ints)no));
}

static inline floats all(float v) { return (floats){v, v, v, v}; }

static inline floats values_of(floats v) { return select(v - v == all(0.0f), v, all(LOWEST)); }

/* e^x for x <= 0: 2^n * 2^f with |f| <= 1/2, the latter by its Taylor polynomial, whose remainder is below 1.3e-7. */
static inline floats exponentials(floats x) {
  const floats magic = all(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number, in the lowest bits */
  const floats t = select(x < all(-87.0f), all(-87.0f), x) * all(1.44269504f);
  const floats shifted = t + magic, f = t - (shifted - magic);
  floats p = all(1.5403530e-4f);
  p = p * f + all(1.3333558e-3f);
  p = p * f + all(9.6181291e-3f);
  p = p * f + all(5.5504109e-2f);
  p = p * f + all(2.4022651e-1f);
  p = p * f + all(6.9314718e-1f);
  p = p * f + all(1.0f);
  const ints n = (ints)shifted - (ints)magic;
  return p * (floats)((n + 127) << 23);
}

/* Not libm's expf: its symbol would ask for a newer glibc. */
static inline float exponential(float x) { return exponentials(all(x))[0]; }

/* The largest value; *seen says whether any is finite. */
static float largest(const float* map, size_t size, int* seen) {
  floats best[PARTS] = {all(-INFINITY), all(-INFINITY), all(-INFINITY), all(-INFINITY)};
  ints finite = {0, 0, 0, 0};
  size_t at = 0;
  for (; at + BLOCK <= size; at += BLOCK) {
    for (int i = 0; i < PARTS; ++i) {
      const floats raw = load(map + at + (size_t)(LANES * i)), v = values_of(raw);
      best[i] = select(v > best[i], v, best[i]);
      finite |= raw - raw == all(0.0f);
    }
  }
  float most = -INFINITY;
  *seen = 0;
  for (int i = 0; i < PARTS; ++i) {
    for (int j = 0; j < LANES; ++j) most = best[i][j] > most ? best[i][j] : most;
  }
  for (int j = 0; j < LANES; ++j) *seen |= finite[j] != 0;
  for (; at < size; ++at) {
    most = value_of(map[at]) > most ? value_of(map[at]) : most;
    *seen |= map[at] - map[at] == 0.0f;
  }
  return most;
}

static size_t first_place(const float* map, size_t size, float best) {
  size_t at = 0;
  for (; at + BLOCK <= size; at += BLOCK) {
    ints hit = {0, 0, 0, 0};
    for (int i = 0; i < PARTS; ++i) hit |= values_of(load(map + at + (size_t)(LANES * i))) == all(best);
    if (hit[0] | hit[1] | hit[2] | hit[3]) break;
  }
  while (value_of(map[at]) != best) ++at;
  return at;
}

/* The share of the softmax's mass that lies within NEAR px of (x, y). */
static float share_near(const float* map, int32_t height, int32_t width, int32_t x, int32_t y, float best) {
  const size_t size = (size_t)height * (size_t)width;
  floats sums[PARTS] = {all(0.0f), all(0.0f), all(0.0f), all(0.0f)};
  size_t at = 0;
  for (; at + BLOCK <= size; at += BLOCK) {
    for (int i = 0; i < PARTS; ++i) {
      sums[i] += exponentials(values_of(load(map + at + (size_t)(LANES * i))) - all(best));
    }
  }
  const floats sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float total = (sum[0] + sum[1]) + (sum[2] + sum[3]), near = 0.0f;
  for (; at < size; ++at) total += exponential(value_of(map[at]) - best);
  for (int32_t row = y - NEAR; row <= y + NEAR; ++row) {
    for (int32_t column = x - NEAR; column <= x + NEAR; ++column) {
      if (row < 0 || row >= height || column < 0 || column >= width) continue;
      near += exponential(value_of(map[(size_t)row * (size_t)width + (size_t)column]) - best);
    }
  }
  return near / total;
}

static float sign(float v) { return (float)((v > 0.0f) - (v < 0.0f)); }

void edgelm_heatmap_peaks(const float* maps, size_t count, int32_t height, int32_t width, int32_t first, float half,
                          edgelm_score rule, float* uv, float* score) {
  const size_t size = (size_t)height * (size_t)width, w = (size_t)width;
  for (size_t m = 0; m < count; ++m) {
    const float* map = maps + m * size;
    int seen;
    const float best = largest(map, size, &seen);
    const size_t at = first_place(map, size, best);
    const int32_t x = (int32_t)(at % w), y = (int32_t)(at / w);
    uv[2 * m] = (float)width / 2.0f;
    uv[2 * m + 1] = (float)height / 2.0f;
    score[m] = 0.0f;
    if (!seen) continue;
    if (rule != EDGELM_SCORE_MAX || best > 0.0f) {
      const int refined = first <= x && x <= width - 2 && first <= y && y <= height - 2;
      uv[2 * m] = (float)x + half;
      uv[2 * m + 1] = (float)y + half;
      if (refined) {
        uv[2 * m] += 0.25f * sign(value_of(map[at + 1]) - value_of(map[at - 1]));
        uv[2 * m + 1] += 0.25f * sign(value_of(map[at + w]) - value_of(map[at - w]));
      }
    }
    const float small = exponential(-fabsf(best));
    if (rule == EDGELM_SCORE_MAX) score[m] = best;
    if (rule == EDGELM_SCORE_SIGMOID) score[m] = (best >= 0.0f ? 1.0f : small) / (1.0f + small);
    if (rule == EDGELM_SCORE_SOFTMAX_NEAR) score[m] = share_near(map, height, width, x, y, best);
  }
}
