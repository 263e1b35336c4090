/* Tables of few levels on AVX2 (i6). */
#include "lut_x86.inc"

extern const struct edgelm_stages edgelm_stages_avx2;

const edgelm_kernel edgelm_i6_avx2 = {.element = 8,
                                      .offset = -1,
                                      .macs_per_us = 250000,
                                      .lay_out = lay_out,
                                      .pack = pack,
                                      .build = build,
                                      .expand = expand,
                                      .stages = &edgelm_stages_avx2};
