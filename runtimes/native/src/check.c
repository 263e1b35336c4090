/* Validation of attributes and of a QuantConv2d's weights; the ranges are those of the op records in export/. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "conv.h"

static const struct {
  const char* name;
  int32_t low, high;
} ranges[] = {
    {"version", 1, 1},
    {"kernel_h", 1, 255},
    {"kernel_w", 1, 255},
    {"stride_h", 1, 255},
    {"stride_w", 1, 255},
    {"dilation_h", 1, 255},
    {"dilation_w", 1, 255},
    {"pad_top", 0, 65535},
    {"pad_left", 0, 65535},
    {"pad_bottom", 0, 65535},
    {"pad_right", 0, 65535},
    {"in_channels", 1, 1 << 16},
    {"out_channels", 1, 1 << 16},
    {"weight_bits", 1, 32},
    {"act_bits", 1, 32},
    {"sign_zero", -1, 1},
    {"pre_relu", 0, 1},
    {"post_relu", 0, 1},
    {"pad_value", -1, 1},
};
enum { COUNT = sizeof ranges / sizeof ranges[0] };
_Static_assert(sizeof(edgelm_qconv_attrs) == COUNT * sizeof(int32_t), "one range for each attribute");
_Static_assert(sizeof(edgelm_deform_attrs) == offsetof(edgelm_qconv_attrs, weight_bits),
               "the first ranges hold for it");

int edgelm_check_ranges(const char* op, const void* attrs, size_t bytes, char* error, size_t size) {
  int32_t values[COUNT];
  memcpy(values, attrs, bytes);
  for (size_t i = 0; i < bytes / sizeof *values; ++i) {
    if (values[i] >= ranges[i].low && values[i] <= ranges[i].high) continue;
    snprintf(error, size, "%s: %s is %d..%d, got %d", op, ranges[i].name, ranges[i].low, ranges[i].high, values[i]);
    return -1;
  }
  return 0;
}

/* Weights and activations that go together. */
static int check_bits(const edgelm_qconv_attrs* a, char* error, size_t size) {
  const int32_t w = a->weight_bits, x = a->act_bits;
  const int low = w == 1 || w == 2;
  if (!low && w != 8 && w != 32) {
    snprintf(error, size, "QuantConv2d: weight_bits is 1, 2, 8 or 32, got %d", w);
  } else if (x > 14 && x != 32) {
    snprintf(error, size, "QuantConv2d: act_bits is 1..14 or 32, got %d", x);
  } else if (w == 32 && x != 32) {
    snprintf(error, size, "QuantConv2d: weights of 32 bits go with act_bits 32, got %d", x);
  } else if (a->pad_value && x != 1) {
    snprintf(error, size, "QuantConv2d: pad_value is 0 where activations are no signs (act_bits 1), got %d",
             a->pad_value);
  } else if (w == 8 && (x < 2 || x > 9 || (x == 9 && !a->pre_relu))) {
    snprintf(error, size, "QuantConv2d: weights of 8 bits go with act_bits 2..8, and 9 with pre_relu, got %d", x);
  } else {
    return 0;
  }
  return -1;
}

static int check_attrs(const edgelm_qconv_attrs* a, char* error, size_t size) {
  if (edgelm_check_ranges("QuantConv2d", a, sizeof *a, error, size)) return -1;
  if (check_bits(a, error, size)) return -1;
  const struct {
    const char* name;
    int32_t pad, reach;
  } pads[] = {{"pad_top", a->pad_top, (a->kernel_h - 1) * a->dilation_h},
              {"pad_left", a->pad_left, (a->kernel_w - 1) * a->dilation_w},
              {"pad_bottom", a->pad_bottom, (a->kernel_h - 1) * a->dilation_h},
              {"pad_right", a->pad_right, (a->kernel_w - 1) * a->dilation_w}};
  for (size_t i = 0; i < 4; ++i) {
    if (pads[i].pad <= pads[i].reach) continue;
    snprintf(error, size, "QuantConv2d: %s is less than the dilated kernel's %d, got %d", pads[i].name,
             pads[i].reach + 1, pads[i].pad);
    return -1;
  }
  return 0;
}

/* So that sums stay inside int32, also twice the sum of a ternary filter; float sums are bounded by memory alone. */
static uint64_t most_taps(const edgelm_qconv_attrs* a) {
  if (a->weight_bits == 8) return 1 << 16; /* 127 * 255 each */
  if (a->act_bits == 1 || a->act_bits == 32) return 1 << 24;
  const uint64_t highest = ((uint64_t)1 << (a->act_bits - 1)) - 1;
  const uint64_t most = ((uint64_t)INT32_MAX + 1) / highest / a->weight_bits;
  return most < 1 << 24 ? most : 1 << 24;
}

int edgelm_check(const edgelm_qconv_attrs* attrs, const uint8_t* weight, size_t weight_bytes, char* error,
                 size_t size) {
  if (check_attrs(attrs, error, size)) return -1;
  const uint64_t taps = (uint64_t)attrs->kernel_h * attrs->kernel_w * attrs->in_channels;
  const uint64_t row_bytes = (taps * attrs->weight_bits + 7) / 8;
  const uint64_t most = most_taps(attrs);
  if (taps > most) {
    snprintf(error, size, "QuantConv2d: a filter of this kind has at most %llu weights, got %llu",
             (unsigned long long)most, (unsigned long long)taps);
    return -1;
  }
  if (!weight || weight_bytes != row_bytes * attrs->out_channels) {
    snprintf(error, size, "QuantConv2d: packed weights of %d filters of %llu bytes each are %llu bytes, got %llu",
             attrs->out_channels, (unsigned long long)row_bytes, (unsigned long long)(row_bytes * attrs->out_channels),
             (unsigned long long)(weight ? weight_bytes : 0));
    return -1;
  }
  if (attrs->weight_bits != 2) return 0;
  for (size_t i = 0; i < weight_bytes; ++i) {
    if (!(weight[i] & weight[i] >> 1 & 0x55)) continue;
    snprintf(error, size,
             "QuantConv2d: packed ternary weights hold the unused code 3 in byte %llu; the file is damaged",
             (unsigned long long)i);
    return -1;
  }
  return 0;
}
