/* Tables of many levels on SSE4.1 (i16). */
#include "lut16_x86.inc"

extern const struct edgelm_stages edgelm_stages_sse;

const edgelm_kernel edgelm_i16_sse = {.element = 16,
                                      .macs_per_us = 70000,
                                      .lay_out = lay_out,
                                      .pack = pack,
                                      .build = build,
                                      .expand = expand,
                                      .stages = &edgelm_stages_sse};
