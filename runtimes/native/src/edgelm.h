/* The C ABI of edgelm's native library: QuantConv2d, the kernel table and the entries of the two engines.
 *
 * What QuantConv2d computes is defined by `quant_conv_reference` in export/ops.py, and the packed weights by
 * edgelm/bits.py; this header is the only prose about them on the C side.
 *
 * N = batch, C = input channels, O = output channels, H, W = input size, OH, OW = output size.
 *
 * Packed weights: one row per output channel, in (kernel_h, kernel_w, C) order with channels innermost, least
 * significant bits first, padded with zero bits to a whole byte. 1 bit: 0 is +1, 1 is -1. 2 bits: code 0 is 0, 1 is +1,
 * 2 is -1, 3 is refused.
 *
 * Arithmetic: every float step rounds to float32 by itself (no fused multiply-add in the affine, the quantizer or the
 * output transform; the library is built with -ffp-contract=off), levels round half to even, integer sums are exact.
 * sign: v < 0 is -1, v > 0 is +1, else (also NaN) sign_zero; k-bit: NaN gives level 0; ReLU keeps NaN.
 */
#ifndef EDGELM_H
#define EDGELM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EDGELM_API __attribute__((visibility("default")))

/* The attributes in the record's order; TFLite's custom options hold exactly these bytes (little-endian). */
typedef struct edgelm_qconv_attrs {
  int32_t version;
  int32_t kernel_h, kernel_w;
  int32_t stride_h, stride_w;
  int32_t pad_top, pad_left, pad_bottom, pad_right;
  int32_t in_channels, out_channels;
  int32_t weight_bits; /* 1 binary, 2 ternary */
  int32_t act_bits;    /* 1 sign, 2..8 k-bit grid, 32 float */
  int32_t sign_zero;   /* -1, 0, +1 */
  int32_t pre_relu, post_relu;
} edgelm_qconv_attrs;

typedef enum edgelm_layout { EDGELM_NCHW = 0, EDGELM_NHWC = 1 } edgelm_layout;

/* One input tensor of the virtual concatenation along channels. */
typedef struct edgelm_input {
  const float* data;
  int32_t channels;
} edgelm_input;

/* How to run `total` independent jobs; NULL where a parameter takes it means one after the other on the caller. */
typedef struct edgelm_parallel {
  void (*run)(const struct edgelm_parallel* self, void (*job)(void* user, size_t index), size_t total, void* user);
  void* context;
  int32_t threads; /* how many may run at once, >= 1: a hint for cutting the work */
} edgelm_parallel;

/* A convolution with its weights repacked for the chosen kernel. Immutable: many threads may run it at once. */
typedef struct edgelm_qconv edgelm_qconv;

/* Copies everything it needs. NULL pointers: absent operands (in_scale and in_bias come together). `isa` NULL takes the
 * last able kernel of the table, or what the environment variable EDGELM_ISA names. On failure returns NULL and writes
 * a sentence into error. */
EDGELM_API edgelm_qconv* edgelm_qconv_create(const edgelm_qconv_attrs* attrs, const uint8_t* weight,
                                             size_t weight_bytes, const float* in_scale, const float* in_bias,
                                             const float* out_scale, const float* out_bias, const char* isa,
                                             char* error, size_t error_size);
EDGELM_API void edgelm_qconv_free(edgelm_qconv* op); /* NULL is fine */

/* Name of the instruction set that `op` runs on, for example "avx2". */
EDGELM_API const char* edgelm_qconv_isa(const edgelm_qconv* op);

/* 0, or -1 where the padded image is smaller than the kernel or a size is not in 1..65536. */
EDGELM_API int edgelm_qconv_out_size(const edgelm_qconv* op, int32_t H, int32_t W, int32_t* OH, int32_t* OW);

/* Bytes of scratch, 64-byte aligned, that one run at this size and thread count needs. SIZE_MAX where it overflows. */
EDGELM_API size_t edgelm_qconv_scratch_bytes(const edgelm_qconv* op, int32_t H, int32_t W, int32_t threads);

/* y (N, O, OH, OW) or (N, OH, OW, O) by `layout`; residual has y's layout or is NULL. The inputs' channels add up to C.
 * Returns 0, or -1 for channels that do not add up or sizes that edgelm_qconv_out_size refuses. Allocates nothing. */
EDGELM_API int edgelm_qconv_run(const edgelm_qconv* op, edgelm_layout layout, int32_t N, int32_t H, int32_t W,
                                const edgelm_input* inputs, int32_t input_count, const float* residual, float* y,
                                void* scratch, const edgelm_parallel* parallel);

/* One line of the kernel table: kind is "f32", "i8" or "b1" (the activations a kernel takes). */
typedef struct edgelm_kernel_info {
  const char* kind;
  const char* isa;
  int32_t able; /* 1 where this CPU can run it */
} edgelm_kernel_info;

EDGELM_API int32_t edgelm_kernels(const edgelm_kernel_info** first); /* returns the length of the table */
EDGELM_API const char* edgelm_version(void);

/* ONNX Runtime: `RegisterCustomOps(OrtSessionOptions*, const OrtApiBase*)`, found by that name (ort_ops.c).
 * TFLite: `tflite_plugin_create_delegate` and `tflite_plugin_destroy_delegate` (tflite_delegate.c). */

#ifdef __cplusplus
}
#endif
#endif
