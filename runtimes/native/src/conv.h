/* A convolution of a graph, and what a kernel is: the contract between the driver (conv_run.c) and the kernel files.
 *
 * C = input channels, O = output channels. A `level` is an activation as the convolution sees it: -1/+1 bit, whole
 * number, or float.
 *
 * A kernel computes tiles: `pixels` output pixels times one panel of `lanes` output channels. For one output pixel the
 * weights of a filter fall into `runs`: stretches of (kernel_w, C) levels that lie one behind the other in the input
 * row, one run per kernel row; with a horizontal dilation, one run per tap. Within a run a kernel makes `steps` equal
 * steps. How weights lie in memory is the kernel's own business; the levels it finds in one of three ways:
 *
 *   image     the tile reads the image itself: dense (H + pads, W + pads, pixel_bytes), levels in `element` bits,
 *             channels innermost and without gaps but for the padding of a pixel to pixel_bytes; b1: words of 32
 *             channels, bit 1 is -1, bits beyond C are 0; with two planes each word of signs is followed by a word of
 *             masks (1: not zero). Padding pixels hold level 0, which is `offset`; for b1 zero bits, and the driver
 *             mends the sums (see `border`).
 *   build     a job makes the pixels it needs, pixel_bytes each, from such an image of whole numbers.
 *   floats    (`element` 32) there is no image: a job gathers the pixels it needs from the values' floats, through the
 *             input affine, and `build`, if there is one, makes pixel_bytes of each; padding pixels are zeros.
 *
 * Bytes beyond the last pixel may be read (EDGELM_SLACK of them), never used.
 */
#ifndef EDGELM_CONV_H
#define EDGELM_CONV_H

#include "edgelm.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "edgelm keeps several weights in a word, lowest byte first"
#endif

enum {
  EDGELM_MAX_LANES = 128,
  EDGELM_MAX_PIXELS = 16,
  EDGELM_SLACK = 128, /* bytes that may be read beyond any buffer */
};

/* What the convolution multiplies. Low-bit weights (1 or 2 bits): f32 floats, i16 levels of up to 14 bits, i8 of up to
 * 8 bits (9 where none is negative), i6 where high - low <= 63, b1 signs. Real weights: r32 floats, r8 int8. */
typedef enum edgelm_kind {
  EDGELM_F32,
  EDGELM_I16,
  EDGELM_I8,
  EDGELM_I6,
  EDGELM_B1,
  EDGELM_R32,
  EDGELM_R8,
  EDGELM_KINDS, /* how many there are */
} edgelm_kind;
extern const char* const edgelm_kind_names[EDGELM_KINDS];

typedef struct edgelm_conv edgelm_conv;

/* The final sums of a tile: int32, or float for f32 and r32, or int16 where conv->sum_bits says so; the one of a pixel
 * and a lane is element p * stride + lane, for `conv->pixels` pixels; `sums` lies at such an element.
 * runs: conv->runs pointers to the first byte that offset 0 sees; offsets: bytes to add for each pixel, >= 0. */
typedef void edgelm_tile(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,
                         const uint8_t* panel, uint32_t* sums, size_t stride);

/* The same for all pixels of a chunk, `count` of them and up to the next multiple of conv->pixels. */
typedef void edgelm_tiles(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, size_t count,
                          const uint8_t* panel, void* sums, size_t stride);

/* The file's weights. */
typedef struct edgelm_weights {
  const uint8_t* rows;
  size_t row_bytes;
} edgelm_weights;

/* The weight of filter o at tap (ky * kernel_w + kx) and channel c: -1, 0, +1 or an int8 level; float for r32. */
int32_t edgelm_weight(const edgelm_conv* conv, const edgelm_weights* weights, size_t o, size_t tap, size_t c);
float edgelm_real_weight(const edgelm_conv* conv, const edgelm_weights* weights, size_t o, size_t tap, size_t c);

struct edgelm_stages; /* the steps around the tiles, compiled for an instruction set: stages.h */

/* Floats of some of the input's channels: x of the first pixel, C floats a pixel, without gaps between pixels. */
typedef struct edgelm_part {
  const float* x;
  size_t channel, C;
} edgelm_part;

/* How a panel of table indices may be squeezed: bytes of an index (0: not at all) and how many groups its upper bits
 * tell apart, one after the other; bytes of first sums for each lane, before the indices. */
typedef struct edgelm_squeeze_rule {
  int32_t unit, groups, head;
} edgelm_squeeze_rule;

typedef struct edgelm_kernel {
  int32_t element;     /* bits of a level: 1, 8, 16 or 32 */
  int32_t offset;      /* 8-bit elements hold level + offset where levels may be negative; -1: level - low */
  int32_t macs_per_us; /* roughly; cuts the work into jobs */
  /* Sets pixel_bytes, steps, lanes, pixels, panel_bytes, expanded_bytes (0 without expand) and tile from the rest;
   * also sum_bits, which are 32 before, where sums fit 16. */
  void (*lay_out)(edgelm_conv* conv);
  /* Fills the panel's resident weights, all zero before; also of lanes beyond O and channels beyond C, which count 0.
   */
  void (*pack)(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out);
  /* NULL, or see above: makes `count` pixels of levels, `stride` bytes apart, into prepared ones. From C on to a
   * multiple of 32 channels levels are zero bytes. */
  void (*build)(const edgelm_conv* conv, const uint8_t* levels, size_t stride, size_t count, uint8_t* out);
  /* NULL, or the same straight from the floats of parts whose channels are multiples of sixteen, through the input
   * affine. What it makes of zeros is zero bytes. */
  void (*build_parts)(const edgelm_conv* conv, const edgelm_part* parts, size_t number, size_t count, uint8_t* out);
  /* NULL, or: the form that the tile reads, made anew for each run into expanded_bytes of scratch. */
  void (*expand)(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out);
  edgelm_squeeze_rule squeeze;
  int32_t wide; /* 1: keeps a byte for each low-bit weight; not taken where memory is to be low and another kind fits */
  const struct edgelm_stages* stages;
} edgelm_kernel;

struct edgelm_conv {
  edgelm_qconv_attrs attrs;
  edgelm_kind kind;
  const char* isa;
  const edgelm_kernel* kernel;
  int32_t low, high; /* range of the levels */
  int32_t offset;    /* what the image adds to them */
  int32_t planes;    /* 1, or 2 where a weight (or, b1, a sign) may be 0 */
  int32_t even;      /* int8 weights: 1 where none is -128 */
  size_t runs, run_taps;
  /* Set by lay_out. */
  size_t pixel_bytes, steps, panel_bytes, expanded_bytes;
  int32_t lanes, pixels, sum_bits;
  int32_t squeezed; /* 1: panels are, and are spread at each run */
  edgelm_tile* tile;
  edgelm_tiles* tiles; /* NULL, or what spares a call for each tile */
  /* Set by edgelm_conv_init. */
  size_t panels;
  uint8_t* weights;            /* (panels, panel_bytes) */
  float *in_scale, *in_bias;   /* (in_channels) */
  int32_t plain;               /* 1: they change nothing, and there is no ReLU before the convolution */
  float *out_scale, *out_bias; /* (panels * lanes) */
  int32_t* border; /* b1 with padding that zero bits do not stand for: (kernel_h * kernel_w, panels * lanes), what such
                      bits add of the tap's weights outside the image; the driver subtracts it. NULL else. */
};

typedef struct edgelm_operands {
  const uint8_t* weight;
  size_t weight_bytes;
  const float *in_scale, *in_bias, *out_scale, *out_bias;
} edgelm_operands;

/* Checks, chooses a kernel and repacks; 0, or -1 and a sentence. `conv` is zero before; edgelm_conv_clear in any case.
 */
int edgelm_conv_init(edgelm_conv* conv, const edgelm_qconv_attrs* attrs, const edgelm_operands* operands,
                     const char* isa, char* error, size_t error_size);
void edgelm_conv_clear(edgelm_conv* conv);

/* 0, or -1 where the padded image is smaller than the kernel or a size is not in 1..65536. */
int edgelm_conv_out_size(const edgelm_qconv_attrs* attrs, int32_t H, int32_t W, int32_t* OH, int32_t* OW);

/* 0, or -1 and a sentence: each attribute of `op` in its range. `attrs`: an edgelm_qconv_attrs or, which begins as that
 * does, an edgelm_deform_attrs. */
int edgelm_check_ranges(const char* op, const void* attrs, size_t bytes, char* error, size_t size);

/* 0, or -1 and a sentence: ranges of the attributes, size of the weights, unused codes. */
int edgelm_check(const edgelm_qconv_attrs* attrs, const uint8_t* weight, size_t weight_bytes, char* error, size_t size);

/* The best kernel for the attributes at most as good as `isa` (NULL: EDGELM_ISA, else any able one). */
const edgelm_kernel* edgelm_find_kernel(const edgelm_qconv_attrs* attrs, const char* isa, edgelm_kind* kind,
                                        const char** found, char* error, size_t error_size);

/* squeeze.c: whether this thread wants little memory; the layout and the panels where it does; counting what graphs
 * take.
 */
int edgelm_low_memory(void);
void edgelm_squeeze_layout(edgelm_conv* conv);
void edgelm_squeeze(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out);
void edgelm_unsqueeze(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out);
void edgelm_count_weights(int64_t count, int64_t bytes);
void edgelm_count_scratch(size_t bytes);

/* Whether jobs prepare pixels, and the bytes of a pixel in its image. */
static inline int edgelm_prepares(const edgelm_conv* conv) {
  return conv->kernel->element == 32 || conv->kernel->build;
}
static inline size_t edgelm_image_pixel(const edgelm_conv* conv) {
  return conv->kernel->build ? (size_t)conv->attrs.in_channels * conv->kernel->element / 8 : conv->pixel_bytes;
}

static inline size_t edgelm_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t edgelm_max(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t edgelm_up(size_t a, size_t b) { return (a + b - 1) / b * b; }

#endif
