/* The kernel table and the choice among its lines. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conv.h"
#include "cpu.h"

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

const char* const edgelm_kind_names[EDGELM_KINDS] = {"f32", "i16", "i8", "i6", "b1", "r32", "r8"};

static void detect(void) {
  const edgelm_cpu cpu = edgelm_detect_cpu();
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

/* The kinds that can compute a convolution, the cheapest first; ends with EDGELM_KINDS. */
static void candidates(const edgelm_qconv_attrs* a, edgelm_kind kinds[4]) {
  const int32_t high = (1 << (a->act_bits < 32 ? a->act_bits - 1 : 0)) - 1, low = a->pre_relu ? 0 : -high;
  size_t n = 0;
  if (a->weight_bits == 32) {
    kinds[n++] = EDGELM_R32;
  } else if (a->weight_bits == 8) {
    kinds[n++] = EDGELM_R8;
  } else if (a->act_bits == 32) {
    kinds[n++] = EDGELM_F32;
  } else if (a->act_bits == 1) {
    kinds[n++] = EDGELM_B1;
  } else {
    if (high - low <= 63) kinds[n++] = EDGELM_I6;
    if (high - low <= 255) kinds[n++] = EDGELM_I8;
    kinds[n++] = EDGELM_I16;
  }
  kinds[n] = EDGELM_KINDS;
}

/* Index of the last line of an instruction set that this CPU can run, or -1. */
static int ceiling(const char* isa) {
  int last = -1;
  for (int i = 0; i < COUNT; ++i)
    if (table[i].able && (!isa || !strcmp(table[i].isa, isa))) last = i;
  return last;
}

const edgelm_kernel* edgelm_find_kernel(const edgelm_qconv_attrs* attrs, const char* isa, edgelm_kind* kind,
                                        const char** found, char* error, size_t error_size) {
  pthread_once(&once, detect);
  const char* origin = "isa";
  if (!isa) {
    isa = getenv("EDGELM_ISA");
    origin = "EDGELM_ISA";
    if (isa && !*isa) isa = NULL;
  }
  const int last = ceiling(isa);
  if (last < 0) {
    char able[128] = "";
    for (int i = 0; i < COUNT; ++i) {
      const size_t used = strlen(able);
      if (table[i].able && (!i || strcmp(table[i].isa, table[i - 1].isa)))
        snprintf(able + used, sizeof able - used, "%s%s", used ? ", " : "", table[i].isa);
    }
    snprintf(error, error_size, "%s is '%.40s', which this CPU cannot run or this library does not know; able are: %s",
             origin, isa, able);
    return NULL;
  }
  edgelm_kind kinds[4];
  candidates(attrs, kinds);
  const edgelm_kernel* best = NULL;
  const char* best_isa = "";
  const int low_memory = edgelm_low_memory();
  for (int i = last; i >= 0; --i) { /* lines of one set are neighbours; of those the cheapest kind wins */
    if (!table[i].able || (best && strcmp(table[i].isa, best_isa))) continue;
    for (size_t k = 0; kinds[k] != EDGELM_KINDS; ++k) {
      if (strcmp(table[i].kind, edgelm_kind_names[kinds[k]])) continue;
      /* Kinds stand from the widest levels to the cheapest; but where memory is to be low its form counts first. */
      const int lighter = low_memory && best ? best->wide - kernels[i]->wide : 0;
      if (lighter < 0 || (best && lighter == 0 && kinds[k] < *kind)) continue;
      best = kernels[i];
      best_isa = *found = table[i].isa;
      *kind = kinds[k];
    }
  }
  return best;
}
