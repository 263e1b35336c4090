/* Making a convolution: its weights from the file's rows into the panels of the chosen kernel, once, at load. */
#define _GNU_SOURCE
#include "conv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int32_t max_side = 1 << 16;

int32_t edgelm_weight(const edgelm_conv* conv, const edgelm_weights* weights, size_t o, size_t tap, size_t c) {
  const uint8_t* row = weights->rows + o * weights->row_bytes;
  const size_t k = tap * conv->attrs.in_channels + c;
  if (conv->attrs.weight_bits == 1) return 1 - 2 * (row[k / 8] >> k % 8 & 1);
  if (conv->attrs.weight_bits == 8) return (int8_t)row[k];
  const int32_t code = row[k / 4] >> k % 4 * 2 & 3;
  return code - code / 2 * 3; /* 0, 1, 2 -> 0, 1, -1 */
}

float edgelm_real_weight(const edgelm_conv* conv, const edgelm_weights* weights, size_t o, size_t tap, size_t c) {
  float value;
  const size_t k = tap * conv->attrs.in_channels + c;
  memcpy(&value, weights->rows + o * weights->row_bytes + k * sizeof value, sizeof value);
  return value;
}

/* `count` zeroed elements of `size` bytes at a cache line, and slack behind them; NULL where memory is out. */
static void* zeros(size_t count, size_t size) {
  void* memory = NULL;
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || __builtin_add_overflow(bytes, EDGELM_SLACK, &bytes) ||
      posix_memalign(&memory, 64, bytes))
    return NULL;
  return memset(memory, 0, bytes);
}

/* `count` floats: `values` and then the filler, which is all there is where the operand is absent. */
static float* operand(const float* values, size_t given, size_t count, float filler) {
  float* copy = zeros(count, sizeof *copy);
  for (size_t i = 0; copy && i < count; ++i) copy[i] = filler;
  if (copy && values) memcpy(copy, values, given * sizeof *copy);
  return copy;
}

/* What a tap outside the image adds to a sum that it should not, for a weight of 1: kernels read signs there as +1, or
 * as 0 where those have a plane of their own. */
static int32_t surplus(const edgelm_conv* conv) { return (conv->planes == 1) - conv->attrs.pad_value; }

static void fill_border(edgelm_conv* conv, const edgelm_weights* weights) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels, width = conv->panels * conv->lanes;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  for (size_t o = 0; o < O; ++o)
    for (size_t tap = 0; tap < taps; ++tap)
      for (size_t c = 0; c < C; ++c)
        conv->border[tap * width + o] += surplus(conv) * (int32_t)edgelm_weight(conv, weights, o, tap, c);
}

/* 0, or -1 where memory is out. */
static int take(edgelm_conv* conv, const edgelm_operands* given) {
  const edgelm_qconv_attrs* a = &conv->attrs;
  const size_t C = a->in_channels, O = a->out_channels, width = conv->panels * conv->lanes;
  const size_t taps = (size_t)a->kernel_h * a->kernel_w;
  const int padded = a->pad_top || a->pad_left || a->pad_bottom || a->pad_right;
  const int border = padded && conv->kind == EDGELM_B1 && surplus(conv);
  /* 1 and -0 change no value at all, not even -0, so that an absent operand needs no code of its own. */
  conv->plain = !given->in_scale && !a->pre_relu;
  conv->in_scale = operand(given->in_scale, C, C, 1.0f);
  conv->in_bias = operand(given->in_bias, C, C, -0.0f);
  conv->out_scale = operand(given->out_scale, O, width, 1.0f);
  conv->out_bias = operand(given->out_bias, O, width, -0.0f);
  conv->weights = zeros(conv->panels, conv->panel_bytes);
  if (border) conv->border = zeros(taps, width * sizeof *conv->border);
  if (!conv->in_scale || !conv->in_bias || !conv->out_scale || !conv->out_bias || !conv->weights ||
      !border != !conv->border)
    return -1;
  const edgelm_weights weights = {given->weight, (taps * C * a->weight_bits + 7) / 8};
  uint8_t* whole = conv->squeezed ? malloc(conv->expanded_bytes) : NULL;
  if (conv->squeezed && !whole) return -1;
  for (size_t panel = 0; panel < conv->panels; ++panel) {
    uint8_t* to = conv->weights + panel * conv->panel_bytes;
    if (whole) memset(whole, 0, conv->expanded_bytes);
    conv->kernel->pack(conv, &weights, panel, whole ? whole : to);
    if (whole) edgelm_squeeze(conv, whole, to);
  }
  free(whole);
  if (border) fill_border(conv, &weights);
  return 0;
}

int edgelm_conv_init(edgelm_conv* conv, const edgelm_qconv_attrs* attrs, const edgelm_operands* operands,
                     const char* isa, char* error, size_t error_size) {
  if (edgelm_check(attrs, operands->weight, operands->weight_bytes, error, error_size)) return -1;
  if (!operands->in_scale != !operands->in_bias) {
    snprintf(error, error_size, "QuantConv2d: in_scale and in_bias come together, got %s alone",
             operands->in_scale ? "in_scale" : "in_bias");
    return -1;
  }
  const edgelm_kernel* kernel = edgelm_find_kernel(attrs, isa, &conv->kind, &conv->isa, error, error_size);
  if (!kernel) return -1;
  const int32_t bits = attrs->act_bits;
  conv->attrs = *attrs;
  conv->kernel = kernel;
  conv->high = bits == 1 || bits == 32 ? 1 : (1 << (bits - 1)) - 1;
  conv->low = attrs->pre_relu && bits > 1 ? 0 : -conv->high;
  conv->offset = conv->low == 0 || kernel->element != 8 ? 0 : kernel->offset < 0 ? -conv->low : kernel->offset;
  conv->planes = attrs->weight_bits == 2 || (conv->kind == EDGELM_B1 && attrs->sign_zero == 0) ? 2 : 1;
  const int per_tap = attrs->dilation_w > 1 && attrs->kernel_w > 1;
  conv->runs = (size_t)attrs->kernel_h * (per_tap ? attrs->kernel_w : 1);
  conv->run_taps = per_tap ? 1 : attrs->kernel_w;
  conv->sum_bits = 32;
  conv->even = attrs->weight_bits == 8 && !memchr(operands->weight, 0x80, operands->weight_bytes);
  kernel->lay_out(conv);
  edgelm_squeeze_layout(conv);
  conv->panels = (attrs->out_channels + conv->lanes - 1) / conv->lanes;
  if (!take(conv, operands)) return 0;
  snprintf(error, error_size, "QuantConv2d: out of memory for %d filters of %d channels", attrs->out_channels,
           attrs->in_channels);
  return -1;
}

void edgelm_conv_clear(edgelm_conv* conv) {
  free(conv->in_scale);
  free(conv->in_bias);
  free(conv->out_scale);
  free(conv->out_bias);
  free(conv->weights);
  free(conv->border);
}

int edgelm_conv_out_size(const edgelm_qconv_attrs* a, int32_t H, int32_t W, int32_t* OH, int32_t* OW) {
  if (H < 1 || W < 1 || H > max_side || W > max_side) return -1;
  const int32_t height = a->pad_top + H + a->pad_bottom, width = a->pad_left + W + a->pad_right;
  const int32_t kernel_h = (a->kernel_h - 1) * a->dilation_h + 1, kernel_w = (a->kernel_w - 1) * a->dilation_w + 1;
  if (height < kernel_h || width < kernel_w) return -1;
  *OH = (height - kernel_h) / a->stride_h + 1;
  *OW = (width - kernel_w) / a->stride_w + 1;
  return *OH > max_side || *OW > max_side ? -1 : 0;
}
