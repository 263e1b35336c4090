/* Bytes on AVX2 (i8). */
#include "bytes_x86.inc"

extern const struct edgelm_stages edgelm_stages_avx2;

const edgelm_kernel edgelm_i8_avx2 = {.element = 8,
                                      .offset = 128,
                                      .macs_per_us = 150000,
                                      .lay_out = lay_out_best,
                                      .pack = pack_best,
                                      .expand = expand_best,
                                      .stages = &edgelm_stages_avx2};
