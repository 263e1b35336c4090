/* Floats on SSE4.1 (f32, r32). */
#include "float_x86.inc"

extern const struct edgelm_stages edgelm_stages_sse;

const edgelm_kernel edgelm_f32_sse = {.element = 32,
                                      .macs_per_us = 12000,
                                      .lay_out = lay_out,
                                      .pack = pack_bits,
                                      .expand = expand,
                                      .stages = &edgelm_stages_sse};
const edgelm_kernel edgelm_r32_sse = {
    .element = 32, .macs_per_us = 12000, .lay_out = lay_out, .pack = pack_floats, .stages = &edgelm_stages_sse};
