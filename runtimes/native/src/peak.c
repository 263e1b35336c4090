/* Measuring the peaks of the kernel table's lines. */
#define _GNU_SOURCE
#include "peak.h"

#include <string.h>
#include <time.h>

#if defined(__x86_64__)
extern const edgelm_peaks edgelm_peaks_avx2;
#if !defined(EDGELM_EMULATE_AVX512)
extern const edgelm_peaks edgelm_peaks_avx512;
#endif
#endif

static const struct {
  const char* isa;
  const edgelm_peaks* peaks;
} sets[] = {
#if defined(__x86_64__)
    {"avx2", &edgelm_peaks_avx2},
#if !defined(EDGELM_EMULATE_AVX512)
    {"avx512", &edgelm_peaks_avx512},
#endif
#endif
    {NULL, NULL}};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static edgelm_peak* find(const edgelm_kernel_info* line) {
  for (size_t i = 0; sets[i].isa; ++i)
    for (int kind = 0; !strcmp(sets[i].isa, line->isa) && kind < EDGELM_KINDS; ++kind)
      if (!strcmp(edgelm_kind_names[kind], line->kind)) return sets[i].peaks->of[kind];
  return NULL;
}

double edgelm_kernels_peak(int32_t line) {
  enum { ROUNDS = 20000, TRIES = 40 }; /* below a millisecond each: the best is one that nothing interrupted */
  const edgelm_kernel_info* table;
  if (line < 0 || line >= edgelm_kernels(&table) || !table[line].able) return 0.0;
  edgelm_peak* peak = find(&table[line]);
  double best = 0.0;
  for (int i = 0; peak && i < TRIES; ++i) {
    const double before = now(), products = peak(ROUNDS) * ROUNDS, rate = products / (now() - before);
    best = rate > best ? rate : best;
  }
  return best;
}
