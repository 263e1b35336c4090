/* The C ABI of edgelm's native library: graphs of quantized convolutions, the kernel table, the engines' entries.
 *
 * What QuantConv2d and QuantGraph compute is defined by export/ops.py and export/quant_graph.py, and the packed weights
 * by edgelm/bits.py; this header is the only prose about them on the C side.
 *
 * N = batch, C = input channels, O = output channels, H, W = input size, OH, OW = output size.
 *
 * Packed weights: one row per output channel, in (kernel_h, kernel_w, C) order with channels innermost.
 *   1 bit: least significant bits first, 0 is +1, 1 is -1, padded with zero bits to a whole byte
 *   2 bits: least significant first, code 0 is 0, 1 is +1, 2 is -1, 3 is refused, padded to a whole byte
 *   8 bits: int8 levels; 32 bits: little-endian floats
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

/* The attributes in the record's order; TFLite's custom options hold exactly these bytes (little-endian), or all but
 * those of pad_value, which is 0 then. */
typedef struct edgelm_qconv_attrs {
  int32_t version;
  int32_t kernel_h, kernel_w;
  int32_t stride_h, stride_w;
  int32_t dilation_h, dilation_w;
  int32_t pad_top, pad_left, pad_bottom, pad_right;
  int32_t in_channels, out_channels;
  int32_t weight_bits; /* 1 binary, 2 ternary, 8 int8, 32 float */
  int32_t act_bits;    /* 1 sign, 2..14 k-bit grid, 32 float */
  int32_t sign_zero;   /* -1, 0, +1 */
  int32_t pre_relu, post_relu;
  int32_t pad_value; /* 0; -1, +1 around signs */
} edgelm_qconv_attrs;

typedef enum edgelm_layout { EDGELM_NCHW = 0, EDGELM_NHWC = 1 } edgelm_layout;

/* A float32 tensor (N, channels, H, W) or (N, H, W, channels); `data` may be NULL where only the shape is asked. */
typedef struct edgelm_tensor {
  float* data;
  int32_t channels, height, width;
} edgelm_tensor;

/* How to run `total` independent jobs; NULL where a parameter takes it means one after the other on the caller. */
typedef struct edgelm_parallel {
  void (*run)(const struct edgelm_parallel* self, void (*job)(void* user, size_t index), size_t total, void* user);
  void* context;
  int32_t threads; /* how many may run at once, >= 1 */
} edgelm_parallel;

/* A piece of a network with its weights repacked for the chosen kernels. Immutable: many threads may run it at once. */
typedef struct edgelm_graph edgelm_graph;

/* From a program and the data it points into (export/quant_graph.py defines both); copies what it needs. `isa` NULL
 * takes the best kernels this CPU can run, or at most what the environment variable EDGELM_ISA names. On failure
 * returns NULL and writes a sentence into error. */
EDGELM_API edgelm_graph* edgelm_graph_create(const int32_t* program, size_t words, const uint8_t* data, size_t bytes,
                                             const char* isa, char* error, size_t error_size);

/* Whether graphs that this thread creates from now on keep low-bit weights in the smallest form, under two bits for
 * each (four for ternary ones), even where that is slower; at first the environment variable EDGELM_LOW_MEMORY decides
 * (set and not "0": yes). */
EDGELM_API void edgelm_graph_low_memory(int32_t on);

/* Memory of all graphs that live in this process. */
typedef struct edgelm_memory_info {
  int64_t weight_count, resident_bytes; /* of repacked weights */
  int64_t scratch_bytes;                /* the most that a run was given so far */
} edgelm_memory_info;
EDGELM_API void edgelm_graph_memory(edgelm_memory_info* out);

/* The graph of a single QuantConv2d: `parts` inputs (their channels add up to in_channels when it runs), then a
 * residual of the output's shape if has_residual; one output. NULL pointers: absent operands. */
EDGELM_API edgelm_graph* edgelm_graph_of_conv(const edgelm_qconv_attrs* attrs, const uint8_t* weight,
                                              size_t weight_bytes, const float* in_scale, const float* in_bias,
                                              const float* out_scale, const float* out_bias, int32_t parts,
                                              int32_t has_residual, const char* isa, char* error, size_t error_size);
EDGELM_API void edgelm_graph_free(edgelm_graph* graph); /* NULL is fine */

EDGELM_API int32_t edgelm_graph_input_count(const edgelm_graph* graph);
EDGELM_API int32_t edgelm_graph_output_count(const edgelm_graph* graph);

/* Shapes of all outputs for these input shapes, and the bytes of scratch (64-byte aligned) that a run needs with so
 * many threads. 0, or -1 and a sentence where the shapes do not fit the program. */
EDGELM_API int edgelm_graph_shape(const edgelm_graph* graph, const edgelm_tensor* inputs, int32_t threads,
                                  edgelm_tensor* outputs, size_t* scratch_bytes, char* error, size_t error_size);

/* Runs N images; outputs' data have the layout of the inputs. `scratch` as edgelm_graph_shape said for
 * parallel->threads (NULL: 1). 0, or -1 as edgelm_graph_shape. Allocates nothing. */
EDGELM_API int edgelm_graph_run(const edgelm_graph* graph, edgelm_layout layout, int32_t N, const edgelm_tensor* inputs,
                                const edgelm_tensor* outputs, void* scratch, const edgelm_parallel* parallel);

/* A deformable convolution (export/deform.py defines it), NHWC. The attributes in its record's order. */
typedef struct edgelm_deform_attrs {
  int32_t version;
  int32_t kernel_h, kernel_w;
  int32_t stride_h, stride_w;
  int32_t dilation_h, dilation_w;
  int32_t pad_top, pad_left, pad_bottom, pad_right;
  int32_t in_channels, out_channels;
} edgelm_deform_attrs;

/* Immutable: many threads may run it at once. */
typedef struct edgelm_deform edgelm_deform;

/* Weights (O, kernel_h, kernel_w, C), `weights` of them, and bias (O) or NULL for zeros; copies them. `isa` as in
 * edgelm_graph_create. NULL and a sentence where attributes are out of range. */
EDGELM_API edgelm_deform* edgelm_deform_create(const edgelm_deform_attrs* attrs, const float* weight, size_t weights,
                                               const float* bias, const char* isa, char* error, size_t error_size);
EDGELM_API void edgelm_deform_free(edgelm_deform* deform); /* NULL is fine */

/* Shape of the output for x and offset, and the bytes of scratch (64-byte aligned) of a run with so many threads. 0,
 * or -1 and a sentence where the shapes do not fit. */
EDGELM_API int edgelm_deform_shape(const edgelm_deform* deform, const edgelm_tensor* x, const edgelm_tensor* offset,
                                   int32_t threads, edgelm_tensor* y, size_t* scratch_bytes, char* error,
                                   size_t error_size);

/* Runs N images, with scratch for parallel->threads (NULL: 1). 0, or -1 as edgelm_deform_shape. Allocates nothing. */
EDGELM_API int edgelm_deform_run(const edgelm_deform* deform, int32_t N, const edgelm_tensor* x,
                                 const edgelm_tensor* offset, const edgelm_tensor* y, void* scratch,
                                 const edgelm_parallel* parallel);

/* One step of a run, for profiles: what it is and what it was given. */
typedef struct edgelm_step_info {
  const char* op;   /* "conv", "load", "move" */
  const char* kind; /* of a convolution: "f32", "i16", "i8", "i6", "b1", "r32", "r8"; else "" */
  const char* isa;
  int32_t node; /* index in the program; -1 for a load */
  int64_t macs; /* of one image, at the sizes of the last edgelm_graph_profile */
  int64_t weight_count;
  int64_t resident_bytes; /* of the repacked weights */
  double ms;              /* of one image, in edgelm_graph_profile */
} edgelm_step_info;

/* Fills at most `count` steps and returns how many there are. */
EDGELM_API int32_t edgelm_graph_steps(const edgelm_graph* graph, edgelm_step_info* steps, int32_t count);

/* As edgelm_graph_run for one image and one thread, timing every step. */
EDGELM_API int edgelm_graph_profile(const edgelm_graph* graph, edgelm_layout layout, const edgelm_tensor* inputs,
                                    const edgelm_tensor* outputs, void* scratch, edgelm_step_info* steps,
                                    int32_t count);

/* As edgelm_graph_profile, but of one step alone, `rounds` times: ms[round]. 0, or -1 where there is no such step. */
EDGELM_API int edgelm_graph_repeat(const edgelm_graph* graph, edgelm_layout layout, const edgelm_tensor* inputs,
                                   const edgelm_tensor* outputs, void* scratch, int32_t step, int32_t rounds,
                                   double* ms);

/* What a heatmap's score is, see edgelm/decode.py. */
typedef enum edgelm_score {
  EDGELM_SCORE_MAX = 0,
  EDGELM_SCORE_SIGMOID = 1,
  EDGELM_SCORE_SOFTMAX_NEAR = 2
} edgelm_score;

/* The peaks of `count` heatmaps of height x width, both at least 1: uv[m] = x, y as edgelm/decode.py's rules say,
 * refined from pixel `first` on, pixel 0 lying at `half`; and score[m]. Allocates nothing. */
EDGELM_API void edgelm_heatmap_peaks(const float* maps, size_t count, int32_t height, int32_t width, int32_t first,
                                     float half, edgelm_score rule, float* uv, float* score);

/* A crop of an image (height, width, 3) uint8 as edgelm/geometry.py draws and normalizes it: `matrix` (2, 3) from the
 * image's pixel centres to those of the crop drawn `times` (1 to 8) as large. A byte v of the image's channel c becomes
 * table[256 * c + v] at out[(row * out_width + column) * pixel + place[c]]. 0, or -1 for sizes that cannot be.
 * Allocates nothing. */
EDGELM_API int edgelm_crop(const uint8_t* image, int32_t height, int32_t width, const double matrix[6], int32_t times,
                           const float* table, const int32_t place[3], int32_t pixel, int32_t out_height,
                           int32_t out_width, float* out);

/* One line of the kernel table. */
typedef struct edgelm_kernel_info {
  const char* kind;
  const char* isa;
  int32_t able; /* 1 where this CPU can run it */
} edgelm_kernel_info;

EDGELM_API int32_t edgelm_kernels(const edgelm_kernel_info** first); /* returns the length of the table */
/* Products a second that the arithmetic of a line's inner loop reaches on registers, measured now; 0 where unknown. */
EDGELM_API double edgelm_kernels_peak(int32_t line);
EDGELM_API const char* edgelm_version(void);

/* ONNX Runtime: `RegisterCustomOps(OrtSessionOptions*, const OrtApiBase*)`, found by that name (ort_ops.c).
 * TFLite: `tflite_plugin_create_delegate` and `tflite_plugin_destroy_delegate` (tflite_delegate.c). */

#ifdef __cplusplus
}
#endif
#endif
