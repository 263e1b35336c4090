/* Float activations with low-bit weights on NEON (f32).
 *
 * NEON on 32-bit ARM flushes subnormal floats to zero; there alone float sums may miss such tiny values.
 */
#include <arm_neon.h>
#include <stdint.h>

typedef float value;
typedef float32x4_t vec;
#if defined(__arm__) /* half as many registers */
#define WIDE 16
#else
#define WIDE 32
#endif
#define STEP 8
#define NARROW 0
enum { VALUES = 4, LOADED = 1 };

static inline vec load(const value* p) { return vld1q_f32(p); }
static inline void store(value* p, vec v) { vst1q_f32(p, v); }
static inline vec add(vec a, vec b) { return vaddq_f32(a, b); }
static inline vec subtract(vec a, vec b) { return vsubq_f32(a, b); }
static inline vec negative(vec a) { return vnegq_f32(a); }
static inline vec half(vec a) { return vmulq_n_f32(a, 0.5f); }

#include "sum_tables.inc"

extern const struct edgelm_stages edgelm_stages_neon;

static inline vec channels_of(const uint8_t* x, size_t some) {
  float row[GROUPED] = {0.0f};
  if (some == GROUPED) return vld1q_f32((const float*)(const void*)x);
  memcpy(row, x, some * sizeof *row);
  return vld1q_f32(row);
}

static inline void load_channels(const edgelm_conv* conv, const uint8_t* const* x, size_t group,
                                 vec out[LOADED][GROUPED]) {
  const size_t C = conv->attrs.in_channels, at = group * GROUPED * sizeof(value);
  const size_t some = edgelm_min(C - group * GROUPED, GROUPED);
  const float32x4x2_t first = vtrnq_f32(channels_of(x[0] + at, some), channels_of(x[1] + at, some));
  const float32x4x2_t second = vtrnq_f32(channels_of(x[2] + at, some), channels_of(x[3] + at, some));
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    out[0][i] = vcombine_f32(vget_low_f32(first.val[i]), vget_low_f32(second.val[i]));
    out[0][i + 2] = vcombine_f32(vget_high_f32(first.val[i]), vget_high_f32(second.val[i]));
  }
}

const edgelm_kernel edgelm_f32_neon = {.element = 32,
                                       .macs_per_us = 10000,
                                       .lay_out = lay_out,
                                       .pack = pack,
                                       .expand = expand,
                                       .stages = &edgelm_stages_neon};
