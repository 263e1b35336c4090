/* Asks the CPU itself (x86) or the kernel (ARM). Not __builtin_cpu_supports: its answers are the compiler's runtime
 * library's, and that of zig says no to everything. */
#include "cpu.h"

#include <stdint.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__arm__) || defined(__aarch64__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
static int all(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

/* The registers that the system saves when it changes threads; XGETBV, whose intrinsic would need a flag. */
static uint32_t saved_registers(void) {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

static void detect_x86(edgelm_cpu* cpu) {
  enum { YMM = 0x6, ZMM = 0xe6 }; /* with the halves and the masks that belong to them */
  uint32_t a, b, c, d, b7 = 0, c7 = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return;
  cpu->sse = all(c, bit_SSE4_1);
  const uint32_t saved = all(c, bit_OSXSAVE) ? saved_registers() : 0;
  if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d)) return;
  cpu->avx2 = all(saved, YMM) && all(c, bit_AVX | bit_FMA | bit_POPCNT) && all(b7, bit_AVX2);
  cpu->avx512 = cpu->avx2 && all(saved, ZMM) && all(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ) &&
                all(c7, bit_AVX512VNNI | bit_AVX512VBMI | bit_AVX512VPOPCNTDQ);
}
#endif

edgelm_cpu edgelm_detect_cpu(void) {
  edgelm_cpu cpu = {0, 0, 0, 0, 0};
#if defined(__x86_64__)
  detect_x86(&cpu);
#if defined(EDGELM_EMULATE_AVX512)
  cpu.avx512 = cpu.avx2;
#endif
#elif defined(__aarch64__)
  cpu.neon = 1;
  cpu.dotprod = (getauxval(AT_HWCAP) >> 20) & 1; /* HWCAP_ASIMDDP */
#elif defined(__arm__)
  cpu.neon = (getauxval(AT_HWCAP) >> 12) & 1; /* HWCAP_NEON */
#endif
#if defined(EDGELM_EMULATE_NEON)
  cpu.neon = cpu.dotprod = 1;
#endif
  return cpu;
}
