/* What the files of the native library share: the layout of a QuantConv2d operator and what a kernel is.
 *
 * Everything a kernel multiplies travels in 32-bit words, which hold `group` activations or weights each: one float
 * (f32), four int8 levels (i8) or 32 sign bits (b1). So one driver serves all kinds.
 *
 *   image    (H + pads, W + pads, pixel_words): the quantized concatenation of all inputs, channels innermost, in
 *            scratch. For one kernel row, the words of (kernel_w, channels) are contiguous.
 *   weights  (panels, kernel_h, kernel_w, groups, planes, lanes): a panel is the `lanes` output channels that a kernel
 *            computes at once. In memory they stay bits (`packed`: `group` bits for each word); f32 and i8 kernels
 *            expand them into scratch at each run, which costs little beside the convolution and keeps a network's
 *            weights at 1 or 2 bits in RAM.
 *
 * planes: 1, or 2 where a value may be 0: then each word of sign bits (bit 1 is -1) is followed by a word of masks (bit
 * 1 is "not zero"), in the packed weights of all kinds and, for b1, in the image and the weights alike.
 */
#ifndef EDGELM_QCONV_H
#define EDGELM_QCONV_H

#include "edgelm.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "edgelm keeps several weights in a word, lowest byte first"
#endif

enum {
  EDGELM_MAX_LANES = 16,
  EDGELM_CHUNK = 48, /* pixels prepared or finished at once: a multiple of every kernel's tile */
};

typedef enum edgelm_kind { EDGELM_F32, EDGELM_I8, EDGELM_B1 } edgelm_kind;

/* One call of edgelm_qconv_run, for one image of the batch. Pixels are counted row by row. */
typedef struct edgelm_call {
  const edgelm_qconv* op;
  edgelm_layout layout;
  int32_t W, OW;
  size_t in_pixels, out_pixels;
  const edgelm_input* inputs;
  size_t batch; /* index of the image */
  const float* residual;
  float* y;
  uint32_t* image;
  size_t row_words;        /* from one image row to the next */
  const uint32_t* weights; /* expanded, or op->packed itself */
} edgelm_call;

/* Sums for `pixels` output pixels and one panel: sums (pixels, lanes) is float (f32) or int32 (i8, b1).
 * pixel: the first image word that each output pixel sees; rows: kernel_h; steps: groups of one kernel row (kernel_w *
 * groups); taps: weights of one filter (a b1 sum without masks is taps - 2 * differing bits). */
typedef void edgelm_tile(const uint32_t* const* pixel, size_t row_words, const uint32_t* weights, size_t rows,
                         size_t steps, int32_t taps, uint32_t* sums);

typedef struct edgelm_kernel {
  int32_t lanes, pixels;
  edgelm_tile* tile;
  edgelm_tile* tile_masked;                                                /* b1 alone: with two planes */
  void (*expand)(const edgelm_qconv* op, size_t panel, uint32_t* weights); /* NULL: `packed` serves as it is */
  void (*prepare)(const edgelm_call* call, size_t first, size_t count);    /* input pixels into the image */
  void (*finish)(const edgelm_call* call, size_t panel, size_t first, size_t count, const uint32_t* sums);
} edgelm_kernel;

struct edgelm_qconv {
  edgelm_qconv_attrs attrs;
  edgelm_kind kind;
  const char* isa;
  const edgelm_kernel* kernel;
  size_t group, groups, planes; /* groups = ceil(in_channels / group), for each pixel */
  size_t pixel_words;           /* of the image */
  size_t panels, panel_words;   /* words of one panel as the tile reads it */
  size_t expanded_words;        /* of all panels in scratch, in whole cache lines; 0 where `packed` serves */
  size_t packed_panel_bytes;
  uint8_t* packed;
  float *in_scale, *in_bias;   /* (in_channels) */
  float *out_scale, *out_bias; /* (panels * lanes) */
  int32_t* border;             /* (panels, kernel_h, kernel_w, lanes) or NULL, see edgelm_border_sums */
};

static inline size_t edgelm_min(size_t a, size_t b) { return a < b ? a : b; }

/* The kernel of `kind` for `isa` (NULL: EDGELM_ISA, else the last able one); NULL and a sentence where there is none.
 */
const edgelm_kernel* edgelm_find_kernel(edgelm_kind kind, const char* isa, const char** found, char* error,
                                        size_t error_size);

/* 0, or -1 and a sentence. */
int edgelm_check(const edgelm_qconv_attrs* attrs, const uint8_t* weight, size_t weight_bytes, char* error, size_t size);

/* Fill op->packed, all zero before, from the file's rows. */
void edgelm_pack(const edgelm_qconv* op, const uint8_t* weight);

/* Fill op->border: for each tap, what a kernel without masks adds there when it reads zero bits outside the image, that
 * is the sum of the tap's weights. The driver subtracts it for the taps of border pixels that fall outside. */
void edgelm_border_sums(const edgelm_qconv* op, const uint8_t* weight);

#endif
