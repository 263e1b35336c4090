/* From an integer sum to the next convolution's sign in one comparison.
 *
 * sum -> output transform -> input affine -> sign is a chain of steps each of which rounds, yet never changes the order
 * of two values: negative are all sums below some whole number, or all from it on. It is found by bisection with the
 * very arithmetic of the separate steps, so that the comparison agrees with them on every sum.
 */
#include <math.h>

#include "graph.h"

typedef struct chain {
  float out_scale, out_bias, in_scale, in_bias;
  int32_t post_relu, pre_relu, sign_zero;
} chain;

static int negative(const chain* c, int32_t sum) {
  const float y = edgelm_affine((float)sum, c->out_scale, c->out_bias, c->post_relu);
  return edgelm_negative(edgelm_affine(y, c->in_scale, c->in_bias, c->pre_relu), c->sign_zero);
}

/* Overflow to infinity keeps the order, but opposite infinities add up to NaN, which has none. */
static int tame(const chain* c) {
  const float bound = 1e15f;
  return fabsf(c->out_scale) < bound && fabsf(c->out_bias) < bound && fabsf(c->in_scale) < bound &&
         fabsf(c->in_bias) < bound; /* false for NaN */
}

/* No sum reaches either end of its range. */
static void put(const edgelm_conv* maker, void* at, int32_t o, int32_t limit) {
  if (maker->sum_bits == 32)
    ((int32_t*)at)[o] = limit;
  else
    ((int16_t*)at)[o] = (int16_t)(limit > INT16_MAX ? INT16_MAX : limit < INT16_MIN ? INT16_MIN : limit);
}

int edgelm_find_thresholds(const edgelm_conv* maker, const edgelm_conv* consumer, int32_t channel, void* at,
                           uint16_t* flip) {
  const edgelm_qconv_attrs *m = &maker->attrs, *a = &consumer->attrs;
  if (maker->kernel->element == 32 || consumer->kind != EDGELM_B1 || consumer->planes != 1) return 0;
  for (int32_t o = 0; o < m->out_channels; ++o) {
    const chain c = {maker->out_scale[o],
                     maker->out_bias[o],
                     consumer->in_scale[channel + o],
                     consumer->in_bias[channel + o],
                     m->post_relu,
                     a->pre_relu,
                     a->sign_zero};
    if (!tame(&c)) return 0;
    const int at_low = negative(&c, INT32_MIN), at_high = negative(&c, INT32_MAX);
    int32_t low = INT32_MIN, high = INT32_MAX; /* the chain changes between them, if at all */
    while (at_low != at_high && (int64_t)high - low > 1) {
      const int32_t middle = (int32_t)(((int64_t)low + high) >> 1);
      if (negative(&c, middle) == at_low)
        low = middle;
      else
        high = middle;
    }
    /* Below `at` negative, or with the flip from it on; sums themselves never are as large as INT32_MAX. */
    put(maker, at, o, at_low != at_high ? high : INT32_MAX);
    if (!at_low) flip[o / 16] |= (uint16_t)(1u << o % 16);
  }
  return 1;
}
