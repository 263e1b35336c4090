/* Tables on NEON (i6, i8, i16), in lookups of eight bytes: Cortex-A53 and A72, and 32-bit ARM. */
#define G 1
#include "lut_neon.inc"

extern const struct edgelm_stages edgelm_stages_neon;

const edgelm_kernel edgelm_i6_neon = {.element = 8,
                                      .offset = -1,
                                      .macs_per_us = 40000,
                                      .lay_out = lay_out_few,
                                      .pack = pack,
                                      .build = build_few,
                                      .expand = expand,
                                      .stages = &edgelm_stages_neon};
const edgelm_kernel edgelm_i8_neon = {.element = 8,
                                      .offset = -1,
                                      .macs_per_us = 20000,
                                      .lay_out = lay_out_many,
                                      .pack = pack,
                                      .build = build_many,
                                      .expand = expand,
                                      .stages = &edgelm_stages_neon};
const edgelm_kernel edgelm_i16_neon = {.element = 16,
                                       .macs_per_us = 20000,
                                       .lay_out = lay_out_many,
                                       .pack = pack,
                                       .build = build_many,
                                       .expand = expand,
                                       .stages = &edgelm_stages_neon};
