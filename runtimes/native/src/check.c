/* Validation of a QuantConv2d's attributes and weights; the ranges are those of the op record in export/ops.py. */
#include <stdio.h>
#include <string.h>

#include "qconv.h"

static const struct {
  const char* name;
  int32_t low, high;
} ranges[] = {
    {"version", 1, 1},     {"kernel_h", 1, 255},        {"kernel_w", 1, 255},         {"stride_h", 1, 255},
    {"stride_w", 1, 255},  {"pad_top", 0, 254},         {"pad_left", 0, 254},         {"pad_bottom", 0, 254},
    {"pad_right", 0, 254}, {"in_channels", 1, 1 << 16}, {"out_channels", 1, 1 << 16}, {"weight_bits", 1, 2},
    {"act_bits", 1, 32},   {"sign_zero", -1, 1},        {"pre_relu", 0, 1},           {"post_relu", 0, 1},
};
enum { COUNT = sizeof ranges / sizeof ranges[0], MAX_TAPS = 1 << 24 };
_Static_assert(sizeof(edgelm_qconv_attrs) == COUNT * sizeof(int32_t), "one range for each attribute");

static int check_attrs(const edgelm_qconv_attrs* a, char* error, size_t size) {
  int32_t values[COUNT];
  memcpy(values, a, sizeof values);
  for (size_t i = 0; i < COUNT; ++i) {
    if (values[i] >= ranges[i].low && values[i] <= ranges[i].high) continue;
    snprintf(error, size, "QuantConv2d: %s is %d..%d, got %d", ranges[i].name, ranges[i].low, ranges[i].high,
             values[i]);
    return -1;
  }
  if (a->act_bits > 8 && a->act_bits != 32) {
    snprintf(error, size, "QuantConv2d: act_bits is 1..8 or 32, got %d", a->act_bits);
    return -1;
  }
  const struct {
    const char* name;
    int32_t pad, kernel;
  } pads[] = {{"pad_top", a->pad_top, a->kernel_h},
              {"pad_left", a->pad_left, a->kernel_w},
              {"pad_bottom", a->pad_bottom, a->kernel_h},
              {"pad_right", a->pad_right, a->kernel_w}};
  for (size_t i = 0; i < 4; ++i) {
    if (pads[i].pad < pads[i].kernel) continue;
    snprintf(error, size, "QuantConv2d: %s is less than the kernel's %d, got %d", pads[i].name, pads[i].kernel,
             pads[i].pad);
    return -1;
  }
  return 0;
}

int edgelm_check(const edgelm_qconv_attrs* attrs, const uint8_t* weight, size_t weight_bytes, char* error,
                 size_t size) {
  if (check_attrs(attrs, error, size)) return -1;
  /* At most 2^24 taps of levels up to 127 stay inside int32, and inside size_t on 32-bit machines. */
  const uint64_t taps = (uint64_t)attrs->kernel_h * attrs->kernel_w * attrs->in_channels;
  const uint64_t row_bytes = (taps * attrs->weight_bits + 7) / 8;
  if (taps > MAX_TAPS) {
    snprintf(error, size, "QuantConv2d: a filter has at most %d weights, got %llu", MAX_TAPS, (unsigned long long)taps);
    return -1;
  }
  if (!weight || weight_bytes != row_bytes * attrs->out_channels) {
    snprintf(error, size, "QuantConv2d: packed weights of %d filters of %llu bytes each are %llu bytes, got %llu",
             attrs->out_channels, (unsigned long long)row_bytes, (unsigned long long)(row_bytes * attrs->out_channels),
             (unsigned long long)(weight ? weight_bytes : 0));
    return -1;
  }
  if (attrs->weight_bits == 1) return 0;
  for (size_t i = 0; i < weight_bytes; ++i) {
    if (!(weight[i] & weight[i] >> 1 & 0x55)) continue;
    snprintf(error, size,
             "QuantConv2d: packed ternary weights hold the unused code 3 in byte %llu; the file is damaged",
             (unsigned long long)i);
    return -1;
  }
  return 0;
}
