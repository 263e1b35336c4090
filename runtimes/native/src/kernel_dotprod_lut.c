/* Tables on ARMv8.2 (i6, i16), in lookups of two groups at once. */
#define G 2
#include "lut_neon.inc"

extern const struct edgelm_stages edgelm_stages_neon;

const edgelm_kernel edgelm_i6_dotprod = {.element = 8,
                                         .offset = -1,
                                         .macs_per_us = 100000,
                                         .lay_out = lay_out_few,
                                         .pack = pack,
                                         .build = build_few,
                                         .expand = expand,
                                         .stages = &edgelm_stages_neon};
const edgelm_kernel edgelm_i16_dotprod = {.element = 16,
                                          .macs_per_us = 50000,
                                          .lay_out = lay_out_many,
                                          .pack = pack,
                                          .build = build_many,
                                          .expand = expand,
                                          .stages = &edgelm_stages_neon};
