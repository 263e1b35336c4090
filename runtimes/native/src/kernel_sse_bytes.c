/* Bytes on SSE4.1 (i8). */
#include "bytes_x86.inc"

extern const struct edgelm_stages edgelm_stages_sse;

const edgelm_kernel edgelm_i8_sse = {.element = 8,
                                     .offset = 128,
                                     .macs_per_us = 60000,
                                     .lay_out = lay_out_best,
                                     .pack = pack_best,
                                     .expand = expand_best,
                                     .stages = &edgelm_stages_sse};
