/* Pairs of int16 on SSE4.1: int8 weights (r8), and low-bit ones that become int8 (i16). */
#include "int_x86.inc"

extern const struct edgelm_stages edgelm_stages_sse;

const edgelm_kernel edgelm_r8_sse = {.element = 8,
                                     .gathers = 1,
                                     .offset = 128,
                                     .macs_per_us = 30000,
                                     .lay_out = lay_out_pairs,
                                     .pack = pack_pairs,
                                     .build = widen,
                                     .expand = expand_pairs,
                                     .stages = &edgelm_stages_sse};
const edgelm_kernel edgelm_i16_sse = {.element = 16,
                                      .gathers = 1,
                                      .macs_per_us = 30000,
                                      .lay_out = lay_out_pairs,
                                      .pack = pack_pairs,
                                      .expand = expand_pairs,
                                      .stages = &edgelm_stages_sse};
