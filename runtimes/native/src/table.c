/* The kernel table and the choice among its lines. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__arm__)
#include <sys/auxv.h>
#endif

#include "qconv.h"

#define EDGELM_KERNEL(kind, isa, able) extern const edgelm_kernel edgelm_##kind##_##isa;
#include "kernels.inc"
#undef EDGELM_KERNEL

static const edgelm_kernel* const kernels[] = {
#define EDGELM_KERNEL(kind, isa, able) &edgelm_##kind##_##isa,
#include "kernels.inc"
#undef EDGELM_KERNEL
};

enum { COUNT = sizeof kernels / sizeof kernels[0] };
static edgelm_kernel_info table[COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void detect(void) {
  struct {
    int avx2, neon;
  } cpu = {0, 0};
#if defined(__x86_64__)
  __builtin_cpu_init();
  cpu.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt");
#elif defined(__aarch64__)
  cpu.neon = 1;
#elif defined(__arm__)
  cpu.neon = (getauxval(AT_HWCAP) >> 12) & 1; /* HWCAP_NEON */
#endif
  (void)cpu;
  size_t i = 0;
#define EDGELM_KERNEL(kind, isa, able) table[i++] = (edgelm_kernel_info){#kind, #isa, able};
#include "kernels.inc"
#undef EDGELM_KERNEL
}

int32_t edgelm_kernels(const edgelm_kernel_info** first) {
  pthread_once(&once, detect);
  *first = table;
  return COUNT;
}

const char* edgelm_version(void) { return EDGELM_VERSION; }

const edgelm_kernel* edgelm_find_kernel(edgelm_kind kind, const char* isa, const char** found, char* error,
                                        size_t error_size) {
  static const char* const names[] = {"f32", "i8", "b1"};
  pthread_once(&once, detect);
  const char* origin = "isa";
  if (!isa) {
    isa = getenv("EDGELM_ISA");
    origin = "EDGELM_ISA";
    if (isa && !*isa) isa = NULL;
  }
  char able[128] = "";
  const edgelm_kernel* best = NULL;
  for (size_t i = 0; i < COUNT; ++i) {
    if (!table[i].able || strcmp(table[i].kind, names[kind])) continue;
    size_t used = strlen(able);
    snprintf(able + used, sizeof able - used, "%s%s", used ? ", " : "", table[i].isa);
    if (isa && strcmp(table[i].isa, isa)) continue;
    best = kernels[i];
    *found = table[i].isa;
  }
  if (!best)
    snprintf(error, error_size, "%s is '%.40s', which this CPU cannot run or this library does not know; able are: %s",
             origin, isa, able);
  return best;
}
