/* Tables of many levels on AVX2 (i16). */
#include "lut16_x86.inc"

extern const struct edgelm_stages edgelm_stages_avx2;

const edgelm_kernel edgelm_i16_avx2 = {.element = 16,
                                       .macs_per_us = 150000,
                                       .lay_out = lay_out,
                                       .pack = pack,
                                       .build = build,
                                       .expand = expand,
                                       .stages = &edgelm_stages_avx2};
