/* Which of the library's instruction sets this CPU and its system can run. */
#ifndef EDGELM_CPU_H
#define EDGELM_CPU_H

typedef struct {
  int sse, avx2, avx512, neon, dotprod;
} edgelm_cpu;

edgelm_cpu edgelm_detect_cpu(void);

#endif
