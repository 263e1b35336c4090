/* Running a QuantConv2d: two rounds of jobs for each image of the batch, first into the quantized image, then through
 * the kernel. A job's work does not depend on how many threads there are, so neither do the results. */
#include <string.h>

#include "qconv.h"

enum { BLOCK = 4 * EDGELM_CHUNK }; /* output pixels that one job sends through one panel */

static void run_jobs(const edgelm_parallel* parallel, void (*job)(void*, size_t), size_t total, void* user) {
  if (parallel && total > 1) {
    parallel->run(parallel, job, total, user);
    return;
  }
  for (size_t i = 0; i < total; ++i) job(user, i);
}

static void prepare_job(void* user, size_t index) {
  const edgelm_call* call = user;
  const size_t first = index * EDGELM_CHUNK;
  call->op->kernel->prepare(call, first, edgelm_min(EDGELM_CHUNK, call->in_pixels - first));
}

static void expand_job(void* user, size_t index) {
  const edgelm_call* call = user;
  /* The image and the weights are both scratch; only the readers see them as const. */
  call->op->kernel->expand(call->op, index, (uint32_t*)call->weights + index * call->op->panel_words);
}

/* Subtract what the taps outside the H x W input added: zero bits count as +1. */
static void mend_border(const edgelm_call* call, size_t panel, size_t out_pixel, int32_t* sums) {
  const edgelm_qconv* op = call->op;
  const edgelm_qconv_attrs* a = &op->attrs;
  const int32_t lanes = op->kernel->lanes, W = call->W, H = (int32_t)(call->in_pixels / call->W);
  const int32_t top = (int32_t)(out_pixel / call->OW) * a->stride_h - a->pad_top;
  const int32_t left = (int32_t)(out_pixel % call->OW) * a->stride_w - a->pad_left;
  if (top >= 0 && left >= 0 && top + a->kernel_h <= H && left + a->kernel_w <= W) return;
  const int32_t* tap = op->border + panel * a->kernel_h * a->kernel_w * lanes;
  for (int32_t y = top; y < top + a->kernel_h; ++y) {
    for (int32_t x = left; x < left + a->kernel_w; ++x, tap += lanes) {
      if (y >= 0 && y < H && x >= 0 && x < W) continue;
      for (int32_t lane = 0; lane < lanes; ++lane) sums[lane] -= tap[lane];
    }
  }
}

static void convolve_chunk(const edgelm_call* call, size_t panel, size_t first, size_t count) {
  const edgelm_qconv* op = call->op;
  const edgelm_qconv_attrs* a = &op->attrs;
  const edgelm_kernel* kernel = op->kernel;
  const size_t kernel_h = a->kernel_h, steps = a->kernel_w * op->groups, lanes = kernel->lanes;
  const int32_t taps = a->kernel_h * a->kernel_w * a->in_channels;
  const int masked = op->kind == EDGELM_B1 && op->planes == 2;
  edgelm_tile* tile = masked ? kernel->tile_masked : kernel->tile;
  const uint32_t* pixel[EDGELM_CHUNK];
  uint32_t sums[EDGELM_CHUNK * EDGELM_MAX_LANES] __attribute__((aligned(64)));
  for (size_t i = 0; i < EDGELM_CHUNK; ++i) {
    const size_t p = first + edgelm_min(i, count - 1); /* the last tile repeats the last pixel */
    pixel[i] =
        call->image + p / call->OW * a->stride_h * call->row_words + p % call->OW * a->stride_w * op->pixel_words;
  }
  for (size_t i = 0; i < count; i += kernel->pixels)
    tile(pixel + i, call->row_words, call->weights + panel * op->panel_words, kernel_h, steps, taps, sums + i * lanes);
  for (size_t i = 0; op->border && i < count; ++i) mend_border(call, panel, first + i, (int32_t*)(sums + i * lanes));
  kernel->finish(call, panel, first, count, sums);
}

static void convolve_job(void* user, size_t index) {
  const edgelm_call* call = user;
  const size_t panel = index % call->op->panels, block = index / call->op->panels * BLOCK;
  const size_t end = edgelm_min(block + BLOCK, call->out_pixels);
  for (size_t first = block; first < end; first += EDGELM_CHUNK)
    convolve_chunk(call, panel, first, edgelm_min(EDGELM_CHUNK, end - first));
}

/* Zero around the H x W pixels that `prepare` writes. */
static void clear_border(const edgelm_call* call) {
  const edgelm_qconv* op = call->op;
  const edgelm_qconv_attrs* a = &op->attrs;
  const size_t H = call->in_pixels / call->W, left = a->pad_left * op->pixel_words * sizeof(uint32_t);
  const size_t right = a->pad_right * op->pixel_words * sizeof(uint32_t), row = call->row_words * sizeof(uint32_t);
  memset(call->image, 0, a->pad_top * row);
  for (size_t y = a->pad_top; y < a->pad_top + H; ++y) {
    uint8_t* bytes = (uint8_t*)(call->image + y * call->row_words);
    memset(bytes, 0, left);
    memset(bytes + row - right, 0, right);
  }
  memset(call->image + (a->pad_top + H) * call->row_words, 0, a->pad_bottom * row);
}

static int channels_add_up(const edgelm_input* inputs, int32_t count, int32_t C) {
  int64_t sum = 0;
  for (int32_t i = 0; i < count; ++i) {
    if (inputs[i].channels < 1) return 0;
    sum += inputs[i].channels;
  }
  return sum == C;
}

int edgelm_qconv_run(const edgelm_qconv* op, edgelm_layout layout, int32_t N, int32_t H, int32_t W,
                     const edgelm_input* inputs, int32_t input_count, const float* residual, float* y, void* scratch,
                     const edgelm_parallel* parallel) {
  int32_t OH, OW;
  if (N < 0 || edgelm_qconv_out_size(op, H, W, &OH, &OW)) return -1;
  if (!channels_add_up(inputs, input_count, op->attrs.in_channels)) return -1;
  const edgelm_kernel* kernel = op->kernel;
  uint32_t* words = scratch;
  edgelm_call call = {
      .op = op,
      .layout = layout,
      .W = W,
      .OW = OW,
      .in_pixels = (size_t)H * W,
      .out_pixels = (size_t)OH * OW,
      .inputs = inputs,
      .residual = residual,
      .y = y,
      .image = words + op->expanded_words,
      .row_words = (size_t)(op->attrs.pad_left + W + op->attrs.pad_right) * op->pixel_words,
      .weights = kernel->expand ? words : (const uint32_t*)op->packed,
  };
  const size_t chunks = (call.in_pixels + EDGELM_CHUNK - 1) / EDGELM_CHUNK;
  const size_t blocks = (call.out_pixels + BLOCK - 1) / BLOCK;
  if (N > 0 && kernel->expand) run_jobs(parallel, expand_job, op->panels, &call);
  if (N > 0) clear_border(&call);
  for (int32_t n = 0; n < N; ++n) {
    call.batch = n;
    run_jobs(parallel, prepare_job, chunks, &call);
    run_jobs(parallel, convolve_job, blocks * op->panels, &call);
  }
  return 0;
}
