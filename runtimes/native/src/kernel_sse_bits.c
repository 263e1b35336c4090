/* Signs on SSE4.1 (b1). */
#include "bits_x86.inc"

extern const struct edgelm_stages edgelm_stages_sse;

const edgelm_kernel edgelm_b1_sse = {.element = 1,
                                     .macs_per_us = 150000,
                                     .lay_out = lay_out,
                                     .pack = pack,
                                     .expand = expand,
                                     .stages = &edgelm_stages_sse};
