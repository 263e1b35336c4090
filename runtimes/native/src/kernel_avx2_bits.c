/* Signs on AVX2 (b1). */
#include "bits_x86.inc"

extern const struct edgelm_stages edgelm_stages_avx2;

const edgelm_kernel edgelm_b1_avx2 = {.element = 1,
                                      .macs_per_us = 400000,
                                      .lay_out = lay_out,
                                      .pack = pack,
                                      .expand = expand,
                                      .stages = &edgelm_stages_avx2};
