/* Tables of few levels on SSE4.1 (i6). */
#include "lut_x86.inc"

extern const struct edgelm_stages edgelm_stages_sse;

const edgelm_kernel edgelm_i6_sse = {.element = 8,
                                     .offset = -1,
                                     .macs_per_us = 100000,
                                     .lay_out = lay_out,
                                     .pack = pack,
                                     .build = build,
                                     .expand = expand,
                                     .stages = &edgelm_stages_sse};
