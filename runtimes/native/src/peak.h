/* The highest rate at which a core can do what a kernel's inner loop does: that loop's arithmetic on registers alone,
 * or with the operand from memory where tables lie there.
 *
 * A file peak_ISA.c defines PIN, which keeps a vector in a register and hides what it holds, and has a loop for each
 * kind of kernel that its instruction set is good at.
 */
#ifndef EDGELM_PEAK_H
#define EDGELM_PEAK_H

#include "conv.h"

/* Does `rounds` rounds; returns how many products one of them stands for. */
typedef double edgelm_peak(size_t rounds);
typedef struct edgelm_peaks {
  edgelm_peak* of[EDGELM_KINDS]; /* NULL: no loop for that kind */
} edgelm_peaks;

/* A loop of twelve steps, enough to hide the latency of one: STEP(sum) adds the products of `a` and two others, `b` and
 * `c`, to a sum. `a` and `c` are hidden anew for each, so that
 * nothing is computed only once. */
#define EDGELM_PEAK_STEP(i, STEP) \
  PIN(a);                         \
  PIN(c);                         \
  STEP(s##i);                     \
  PIN(s##i);
#define EDGELM_PEAK_LOOP(name, vector, zero, products, STEP)                                               \
  static double name(size_t rounds) {                                                                      \
    vector a = zero, b = zero, c = zero, s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero; \
    vector s6 = zero, s7 = zero, s8 = zero, s9 = zero, s10 = zero, s11 = zero;                             \
    PIN(b);                                                                                                \
    PIN(c);                                                                                                \
    for (size_t round = 0; round < rounds; ++round) {                                                      \
      EDGELM_PEAK_STEP(0, STEP)                                                                            \
      EDGELM_PEAK_STEP(1, STEP)                                                                            \
      EDGELM_PEAK_STEP(2, STEP)                                                                            \
      EDGELM_PEAK_STEP(3, STEP)                                                                            \
      EDGELM_PEAK_STEP(4, STEP)                                                                            \
      EDGELM_PEAK_STEP(5, STEP)                                                                            \
      EDGELM_PEAK_STEP(6, STEP)                                                                            \
      EDGELM_PEAK_STEP(7, STEP)                                                                            \
      EDGELM_PEAK_STEP(8, STEP)                                                                            \
      EDGELM_PEAK_STEP(9, STEP)                                                                            \
      EDGELM_PEAK_STEP(10, STEP)                                                                           \
      EDGELM_PEAK_STEP(11, STEP)                                                                           \
    }                                                                                                      \
    return 12.0 * (products);                                                                              \
  }

#endif
