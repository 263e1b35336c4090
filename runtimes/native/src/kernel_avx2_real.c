/* Float weights on AVX2 (r32). */
#include "float_x86.inc"

extern const struct edgelm_stages edgelm_stages_avx2;

const edgelm_kernel edgelm_r32_avx2 = {
    .element = 32, .macs_per_us = 45000, .lay_out = lay_out, .pack = pack_floats, .stages = &edgelm_stages_avx2};
