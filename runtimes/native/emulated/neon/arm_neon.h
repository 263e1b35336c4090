/* NEON on x86: SIMDe's portable functions under the intrinsics' own names, and those that it lacks.
 *
 * For builds with -DEDGELM_EMULATE_NEON=ON, which hold the ARM kernels against the Python reference and under
 * sanitizers. SIMDe knows nothing of 32-bit ARM here: what is compiled is the 64-bit side.
 */
#ifndef EDGELM_EMULATED_ARM_NEON_H
#define EDGELM_EMULATED_ARM_NEON_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <math.h>
#include <simde/arm/neon.h>

/* To the nearest, halves to even; saturating, 0 of what is no number. */
static inline int32x4_t emulated_cvtnq(float32x4_t v) {
  float x[4];
  int32_t y[4];
  vst1q_f32(x, v);
  for (int i = 0; i < 4; ++i) {
    const float whole = rintf(x[i]);
    y[i] = whole >= 2147483648.0f   ? INT32_MAX
           : whole < -2147483648.0f ? INT32_MIN
           : whole == whole         ? (int32_t)whole
                                    : 0;
  }
  return vld1q_s32(y);
}
#undef vcvtnq_s32_f32
#define vcvtnq_s32_f32 emulated_cvtnq

#endif
