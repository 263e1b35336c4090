/* Int8 weights on SSE4.1 (r8). */
#include "int_x86.inc"

extern const struct edgelm_stages edgelm_stages_sse;

const edgelm_kernel edgelm_r8_sse = {.element = 8,
                                     .offset = 128,
                                     .macs_per_us = 30000,
                                     .lay_out = lay_out_pairs,
                                     .pack = pack_pairs,
                                     .build = widen,
                                     .expand = expand_pairs,
                                     .stages = &edgelm_stages_sse};
