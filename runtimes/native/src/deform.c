/* Deformable convolution, NHWC: a tile of output pixels at a time, their taps are interpolated into rows of a buffer,
 * and those are multiplied with the weights as a 1x1 convolution, by the library's own kernels for float weights.
 *
 * A tap at or beyond one pixel outside the image, or at NaN, is zero: it is never followed into memory.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conv.h"

enum { MOST_TAPS = 1 << 16, MOST_SIDE = 1 << 16 };

/* All weights pass by once for each tile; with larger ones that cost no less, with smaller ones more. */
static const size_t tile_bytes = (size_t)1 << 19;

struct edgelm_deform {
  edgelm_deform_attrs attrs;
  size_t taps; /* values of a buffer's row: kernel_h * kernel_w * in_channels */
  edgelm_graph* multiply;
};

static int check_attrs(const edgelm_deform_attrs* attrs, char* error, size_t size) {
  if (edgelm_check_ranges("DeformConv2d", attrs, sizeof *attrs, error, size)) return -1;
  const uint64_t taps = (uint64_t)attrs->kernel_h * attrs->kernel_w * attrs->in_channels;
  if (taps > MOST_TAPS) {
    snprintf(error, size, "DeformConv2d: a filter has at most %d weights, got %llu", MOST_TAPS,
             (unsigned long long)taps);
    return -1;
  }
  return 0;
}

edgelm_deform* edgelm_deform_create(const edgelm_deform_attrs* attrs, const float* weight, size_t weights,
                                    const float* bias, const char* isa, char* error, size_t error_size) {
  if (check_attrs(attrs, error, error_size)) return NULL;
  const int32_t taps = attrs->kernel_h * attrs->kernel_w * attrs->in_channels;
  if (!weight || weights != (size_t)taps * (size_t)attrs->out_channels) {
    snprintf(error, error_size, "DeformConv2d: %d filters of %d weights are %llu, got %llu", attrs->out_channels, taps,
             (unsigned long long)taps * (unsigned long long)attrs->out_channels,
             (unsigned long long)(weight ? weights : 0));
    return NULL;
  }
  edgelm_deform* self = calloc(1, sizeof *self);
  if (!self) {
    snprintf(error, error_size, "DeformConv2d: out of memory");
    return NULL;
  }
  self->attrs = *attrs;
  self->taps = (size_t)taps;
  const edgelm_qconv_attrs multiply = {
      .version = 1,
      .kernel_h = 1,
      .kernel_w = 1,
      .stride_h = 1,
      .stride_w = 1,
      .dilation_h = 1,
      .dilation_w = 1,
      .in_channels = taps,
      .out_channels = attrs->out_channels,
      .weight_bits = 32,
      .act_bits = 32,
      .sign_zero = 1,
  };
  self->multiply = edgelm_graph_of_conv(&multiply, (const uint8_t*)weight, weights * sizeof *weight, NULL, NULL, NULL,
                                        bias, 1, 0, isa, error, error_size);
  if (!self->multiply) {
    free(self);
    return NULL;
  }
  return self;
}

void edgelm_deform_free(edgelm_deform* deform) {
  if (!deform) return;
  edgelm_graph_free(deform->multiply);
  free(deform);
}

static int64_t out_side(int64_t side, int32_t before, int32_t after, int32_t kernel, int32_t dilation, int32_t stride) {
  const int64_t room = side + before + after - (int64_t)(kernel - 1) * dilation - 1;
  return room < 0 ? 0 : room / stride + 1;
}

static int fits(const edgelm_tensor* t) {
  return t->channels > 0 && t->height > 0 && t->width > 0 && t->height <= MOST_SIDE && t->width <= MOST_SIDE;
}

/* ---- one run ---- */

typedef struct run {
  const edgelm_deform* deform;
  const edgelm_tensor *x, *offset, *y;
  size_t pixels;     /* of one output map */
  size_t tile;       /* output pixels of a tile; the last one of a map may be smaller */
  size_t tiles;      /* of all images */
  size_t row_bytes;  /* of the buffer that a tile is gathered in */
  size_t work_bytes; /* of one worker: that buffer, and scratch for the multiplication */
  size_t workers;
  uint8_t* scratch;
} run;

/* Sizes that do not depend on the batch. */
static int plan(run* run, char* error, size_t error_size) {
  const edgelm_deform* deform = run->deform;
  const size_t bytes = deform->taps * sizeof(float), wanted = tile_bytes / bytes;
  run->pixels = (size_t)run->y->height * (size_t)run->y->width;
  run->tile = wanted < 1 ? 1 : wanted < run->pixels ? wanted : run->pixels;
  run->row_bytes = edgelm_up(run->tile * bytes, 64);
  size_t most = 0;
  const size_t sizes[] = {run->tile, run->pixels % run->tile};
  for (size_t i = 0; i < 2; ++i) {
    if (!sizes[i]) continue;
    const edgelm_tensor rows = {NULL, (int32_t)deform->taps, 1, (int32_t)sizes[i]};
    edgelm_tensor out;
    size_t scratch;
    if (edgelm_graph_shape(deform->multiply, &rows, 1, &out, &scratch, error, error_size)) return -1;
    if (scratch > most) most = scratch;
  }
  run->work_bytes = run->row_bytes + edgelm_up(most, 64);
  return 0;
}

int edgelm_deform_shape(const edgelm_deform* deform, const edgelm_tensor* x, const edgelm_tensor* offset,
                        int32_t threads, edgelm_tensor* y, size_t* scratch_bytes, char* error, size_t error_size) {
  const edgelm_deform_attrs* a = &deform->attrs;
  if (!fits(x) || x->channels != a->in_channels) {
    snprintf(error, error_size, "DeformConv2d: x of %dx%d px has %d channels, expected %d", x->height, x->width,
             x->channels, a->in_channels);
    return -1;
  }
  const int64_t OH = out_side(x->height, a->pad_top, a->pad_bottom, a->kernel_h, a->dilation_h, a->stride_h);
  const int64_t OW = out_side(x->width, a->pad_left, a->pad_right, a->kernel_w, a->dilation_w, a->stride_w);
  if (OH < 1 || OW < 1 || OH > MOST_SIDE || OW > MOST_SIDE) {
    snprintf(error, error_size, "DeformConv2d: an image of %dx%d px, padded, is smaller than the kernel or too large",
             x->height, x->width);
    return -1;
  }
  const int32_t moves = 2 * a->kernel_h * a->kernel_w;
  if (offset->height != OH || offset->width != OW || offset->channels != moves) {
    snprintf(error, error_size, "DeformConv2d: offset is %dx%d px with %d channels, expected %dx%d with %d",
             offset->height, offset->width, offset->channels, (int)OH, (int)OW, moves);
    return -1;
  }
  *y = (edgelm_tensor){y->data, a->out_channels, (int32_t)OH, (int32_t)OW};
  run run = {.deform = deform, .x = x, .offset = offset, .y = y};
  if (plan(&run, error, error_size)) return -1;
  *scratch_bytes = run.work_bytes * (size_t)(threads < 1 ? 1 : threads);
  return 0;
}

/* The bilinear value of every channel at a place; of the four pixels around it those inside the image count. */
static void interpolate(const float* image, int32_t H, int32_t W, int32_t C, float row, float column, float* out) {
  if (!(row > -1 && row < (float)H && column > -1 && column < (float)W)) { /* also NaN */
    memset(out, 0, (size_t)C * sizeof *out);
    return;
  }
  const float top = floorf(row), left = floorf(column), down = row - top, right = column - left;
  const float share[4] = {(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right};
  const float* corner[4];
  float part[4];
  int count = 0;
  for (int i = 0; i < 4; ++i) {
    const int32_t r = (int32_t)top + i / 2, c = (int32_t)left + i % 2;
    if (r < 0 || r >= H || c < 0 || c >= W) continue;
    corner[count] = image + ((size_t)r * (size_t)W + (size_t)c) * (size_t)C;
    part[count++] = share[i];
  }
  if (count == 4) {
    const float *a = corner[0], *b = corner[1], *d = corner[2], *e = corner[3];
    for (int32_t i = 0; i < C; ++i) out[i] = part[0] * a[i] + part[1] * b[i] + part[2] * d[i] + part[3] * e[i];
    return;
  }
  memset(out, 0, (size_t)C * sizeof *out); /* beside a border two or one are left, and a map of one row has no more */
  for (int k = 0; k < count; ++k)
    for (int32_t i = 0; i < C; ++i) out[i] += part[k] * corner[k][i];
}

static void gather(const run* run, size_t n, size_t pixel, float* out) {
  const edgelm_deform_attrs* a = &run->deform->attrs;
  const edgelm_tensor* x = run->x;
  const size_t size = (size_t)x->height * (size_t)x->width * (size_t)x->channels;
  const float* offset = run->offset->data + (n * run->pixels + pixel) * (size_t)run->offset->channels;
  const int32_t top = (int32_t)(pixel / (size_t)run->y->width) * a->stride_h - a->pad_top;
  const int32_t left = (int32_t)(pixel % (size_t)run->y->width) * a->stride_w - a->pad_left;
  for (int32_t ky = 0; ky < a->kernel_h; ++ky)
    for (int32_t kx = 0; kx < a->kernel_w; ++kx, offset += 2, out += x->channels)
      interpolate(x->data + n * size, x->height, x->width, x->channels, (float)(top + ky * a->dilation_h) + offset[0],
                  (float)(left + kx * a->dilation_w) + offset[1], out);
}

static void work(void* user, size_t worker) {
  const run* run = user;
  const edgelm_deform* deform = run->deform;
  uint8_t* memory = run->scratch + worker * run->work_bytes;
  float* rows = (float*)(void*)memory;
  const size_t each = (run->pixels + run->tile - 1) / run->tile, O = (size_t)deform->attrs.out_channels;
  for (size_t i = worker; i < run->tiles; i += run->workers) {
    const size_t n = i / each, first = i % each * run->tile;
    const size_t count = run->pixels - first < run->tile ? run->pixels - first : run->tile;
    for (size_t p = 0; p < count; ++p) gather(run, n, first + p, rows + p * deform->taps);
    const edgelm_tensor in = {rows, (int32_t)deform->taps, 1, (int32_t)count};
    const edgelm_tensor out = {run->y->data + (n * run->pixels + first) * O, (int32_t)O, 1, (int32_t)count};
    (void)edgelm_graph_run(deform->multiply, EDGELM_NHWC, 1, &in, &out, memory + run->row_bytes, NULL);
  }
}

int edgelm_deform_run(const edgelm_deform* deform, int32_t N, const edgelm_tensor* x, const edgelm_tensor* offset,
                      const edgelm_tensor* y, void* scratch, const edgelm_parallel* parallel) {
  char error[200];
  size_t bytes;
  edgelm_tensor out = *y;
  const int32_t threads = parallel && parallel->threads > 1 ? parallel->threads : 1;
  if (N < 0 || edgelm_deform_shape(deform, x, offset, threads, &out, &bytes, error, sizeof error)) return -1;
  run run = {.deform = deform, .x = x, .offset = offset, .y = &out, .workers = (size_t)threads, .scratch = scratch};
  if (plan(&run, error, sizeof error)) return -1;
  run.tiles = (size_t)N * ((run.pixels + run.tile - 1) / run.tile);
  if (threads > 1)
    parallel->run(parallel, work, (size_t)threads, &run);
  else
    work(&run, 0);
  return 0;
}
