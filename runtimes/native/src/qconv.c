/* Making, describing and freeing a QuantConv2d operator; running it is qconv_run.c. */
#define _GNU_SOURCE
#include "qconv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int32_t max_side = 1 << 16;

/* `count` zeroed elements of `size` bytes at a cache line; NULL where memory is out. */
static void* zeros(size_t count, size_t size) {
  void* memory = NULL;
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || posix_memalign(&memory, 64, bytes)) return NULL;
  return memset(memory, 0, bytes);
}

/* `count` floats: `values` and then the filler, which is all there is where the operand is absent. */
static float* operand(const float* values, size_t given, size_t count, float filler) {
  float* copy = zeros(count, sizeof *copy);
  for (size_t i = 0; copy && i < count; ++i) copy[i] = values && i < given ? values[i] : filler;
  return copy;
}

/* 0, or -1 where the expanded weights are more than this machine can address. */
static int lay_out(edgelm_qconv* op) {
  const edgelm_qconv_attrs* a = &op->attrs;
  const size_t lanes = op->kernel->lanes;
  op->group = op->kind == EDGELM_F32 ? 1 : op->kind == EDGELM_I8 ? 4 : 32;
  op->groups = (a->in_channels + op->group - 1) / op->group;
  op->planes = a->weight_bits == 2 || (op->kind == EDGELM_B1 && a->sign_zero == 0) ? 2 : 1;
  const size_t planes = op->kind == EDGELM_B1 ? op->planes : 1;
  const size_t steps = (size_t)a->kernel_h * a->kernel_w * op->groups;
  op->pixel_words = op->groups * planes;
  op->panels = (a->out_channels + lanes - 1) / lanes;
  op->panel_words = steps * planes * lanes;
  op->packed_panel_bytes = steps * op->planes * lanes * op->group / 8;
  if (!op->kernel->expand) return 0;
  if (__builtin_mul_overflow(op->panels, op->panel_words, &op->expanded_words)) return -1;
  if (__builtin_add_overflow(op->expanded_words, 15, &op->expanded_words)) return -1;
  op->expanded_words = op->expanded_words / 16 * 16;
  return 0;
}

/* Copies of all operands, the weights repacked; 0, or -1 where memory is out. */
static int take(edgelm_qconv* op, const uint8_t* weight, const float* in_scale, const float* in_bias,
                const float* out_scale, const float* out_bias) {
  const edgelm_qconv_attrs* a = &op->attrs;
  const size_t C = a->in_channels, O = a->out_channels, lanes = op->panels * op->kernel->lanes;
  const int padded = a->pad_top || a->pad_left || a->pad_bottom || a->pad_right;
  const int border = padded && op->kind == EDGELM_B1 && op->planes == 1;
  /* 1 and -0 change no value at all, not even -0, so that an absent operand needs no code of its own. */
  op->in_scale = operand(in_scale, C, C, 1.0f);
  op->in_bias = operand(in_bias, C, C, -0.0f);
  op->out_scale = operand(out_scale, O, lanes, 1.0f);
  op->out_bias = operand(out_bias, O, lanes, -0.0f);
  op->packed = zeros(op->panels, op->packed_panel_bytes);
  if (border) op->border = zeros(lanes, (size_t)a->kernel_h * a->kernel_w * sizeof *op->border);
  if (!op->in_scale || !op->in_bias || !op->out_scale || !op->out_bias || !op->packed || !border != !op->border)
    return -1;
  edgelm_pack(op, weight);
  if (border) edgelm_border_sums(op, weight);
  return 0;
}

edgelm_qconv* edgelm_qconv_create(const edgelm_qconv_attrs* attrs, const uint8_t* weight, size_t weight_bytes,
                                  const float* in_scale, const float* in_bias, const float* out_scale,
                                  const float* out_bias, const char* isa, char* error, size_t error_size) {
  if (edgelm_check(attrs, weight, weight_bytes, error, error_size)) return NULL;
  if (!in_scale != !in_bias) {
    snprintf(error, error_size, "QuantConv2d: in_scale and in_bias come together, got %s alone",
             in_scale ? "in_scale" : "in_bias");
    return NULL;
  }
  const edgelm_kind kind = attrs->act_bits == 32 ? EDGELM_F32 : attrs->act_bits == 1 ? EDGELM_B1 : EDGELM_I8;
  const char* found = NULL;
  const edgelm_kernel* kernel = edgelm_find_kernel(kind, isa, &found, error, error_size);
  if (!kernel) return NULL;
  edgelm_qconv* op = calloc(1, sizeof *op);
  if (op) *op = (edgelm_qconv){.attrs = *attrs, .kind = kind, .isa = found, .kernel = kernel};
  if (op && !lay_out(op) && !take(op, weight, in_scale, in_bias, out_scale, out_bias)) return op;
  edgelm_qconv_free(op);
  snprintf(error, error_size, "QuantConv2d: out of memory for %d filters of %d channels", attrs->out_channels,
           attrs->in_channels);
  return NULL;
}

void edgelm_qconv_free(edgelm_qconv* op) {
  if (!op) return;
  free(op->in_scale);
  free(op->in_bias);
  free(op->out_scale);
  free(op->out_bias);
  free(op->packed);
  free(op->border);
  free(op);
}

const char* edgelm_qconv_isa(const edgelm_qconv* op) { return op->isa; }

int edgelm_qconv_out_size(const edgelm_qconv* op, int32_t H, int32_t W, int32_t* OH, int32_t* OW) {
  const edgelm_qconv_attrs* a = &op->attrs;
  if (H < 1 || W < 1 || H > max_side || W > max_side) return -1;
  const int32_t height = a->pad_top + H + a->pad_bottom, width = a->pad_left + W + a->pad_right;
  if (height < a->kernel_h || width < a->kernel_w) return -1;
  *OH = (height - a->kernel_h) / a->stride_h + 1;
  *OW = (width - a->kernel_w) / a->stride_w + 1;
  return 0;
}

size_t edgelm_qconv_scratch_bytes(const edgelm_qconv* op, int32_t H, int32_t W, int32_t threads) {
  (void)threads; /* the jobs of a run share the image and the expanded weights and need nothing of their own */
  int32_t OH, OW;
  size_t words;
  if (edgelm_qconv_out_size(op, H, W, &OH, &OW)) return SIZE_MAX;
  const size_t height = op->attrs.pad_top + H + op->attrs.pad_bottom;
  const size_t width = op->attrs.pad_left + W + op->attrs.pad_right;
  if (__builtin_mul_overflow(height, width, &words) || __builtin_mul_overflow(words, op->pixel_words, &words) ||
      __builtin_add_overflow(words, op->expanded_words, &words) ||
      __builtin_mul_overflow(words, sizeof(uint32_t), &words))
    return SIZE_MAX;
  return words;
}
