/* Sizes for given inputs: the shape of every value, where every buffer lies and how each step is cut into jobs.
 *
 * Buffers are laid out in the order in which they are first written, each into the first gap that is free of those that
 * live at the same time. A plan is made in scratch at each run: it takes some microseconds and keeps graphs immutable.
 */
#include <stdio.h>
#include <string.h>

#include "graph.h"

static const size_t most_bytes = (size_t)1 << 31; /* offsets of pixels are int32 */
static const size_t line = 64;

typedef struct planner {
  edgelm_plan* plan;
  const edgelm_graph* graph;
  int32_t threads;
  char* error;
  size_t error_size;
} planner;

static int fail(const planner* p, const char* what) {
  snprintf(p->error, p->error_size, "QuantGraph: %s", what);
  return -1;
}

static int shape_node(const planner* p, const edgelm_node* node, edgelm_shape* out) {
  const edgelm_graph* graph = p->graph;
  const edgelm_shape *shapes = p->plan->shape, first = shapes[node->x[0]];
  int64_t channels = 0;
  for (int32_t i = 0; i < node->count; ++i) {
    const edgelm_shape s = shapes[node->x[i]];
    if (s.H != first.H || s.W != first.W) return fail(p, "inputs of one node differ in height or width");
    channels += s.C;
  }
  *out = first;
  if (node->op == EDGELM_OP_POOL) {
    if (first.H < 2 || first.W < 2) return fail(p, "a map is too small to be pooled");
    out->H /= 2;
    out->W /= 2;
  } else if (node->op == EDGELM_OP_UP) {
    out->H *= 2;
    out->W *= 2;
    if (out->H > 1 << 16 || out->W > 1 << 16) return fail(p, "a map is too large");
  } else if (node->op == EDGELM_OP_ADD) {
    if (channels != 2 * (int64_t)first.C) return fail(p, "summands differ in channels");
  } else {
    const edgelm_qconv_attrs* a = &graph->conv[node->conv].attrs;
    if (channels != a->in_channels) {
      snprintf(p->error, p->error_size, "QuantConv2d expects %d input channels in all, got %lld", a->in_channels,
               (long long)channels);
      return -1;
    }
    out->C = a->out_channels;
    if (edgelm_conv_out_size(a, first.H, first.W, &out->H, &out->W))
      return fail(p, "an image, padded, is smaller than the kernel or too large");
    if (node->residual >= 0 && memcmp(&shapes[node->residual], out, sizeof *out))
      return fail(p, "a residual must have the output's shape");
  }
  return 0;
}

static int shape_values(const planner* p, const edgelm_tensor* inputs) {
  const edgelm_graph* graph = p->graph;
  for (int32_t i = 0; i < graph->inputs; ++i) {
    const edgelm_tensor* t = &inputs[i];
    const int32_t C = graph->input_channels[i];
    if (t->channels < 1 || t->height < 1 || t->width < 1 || t->channels > 1 << 16 || t->height > 1 << 16 ||
        t->width > 1 << 16)
      return fail(p, "an input is empty or too large");
    if (C > 0 && C != t->channels) return fail(p, "an input has other channels than the program says");
    p->plan->shape[i] = (edgelm_shape){t->channels, t->height, t->width};
  }
  for (int32_t n = 0; n < graph->nodes; ++n) {
    const edgelm_node* node = &graph->node[n];
    if (shape_node(p, node, &p->plan->shape[graph->inputs + n])) return -1;
    for (int32_t i = 0, channel = 0; i < node->count; ++i) {
      p->plan->channel[graph->first_part[n] + i] = channel;
      channel += p->plan->shape[node->x[i]].C;
    }
  }
  return 0;
}

/* A convolution's image has gaps where bits of a pixel are left over or parts begin inside a byte. */
static int has_gaps(const planner* p, int32_t n) {
  const edgelm_node* node = &p->graph->node[n];
  const edgelm_conv* conv = &p->graph->conv[node->conv];
  if (edgelm_image_pixel(conv) * 8 != (size_t)conv->attrs.in_channels * conv->kernel->element) return 1;
  for (int32_t i = 0; i < node->count; ++i)
    if (conv->kernel->element == 1 && p->plan->shape[node->x[i]].C % 8) return 1;
  return 0;
}

/* SIZE_MAX where it is too much. */
static size_t buffer_bytes(const planner* p, const edgelm_buffer* buffer) {
  const edgelm_shape* shapes = p->plan->shape;
  const edgelm_node* node = buffer->node >= 0 ? &p->graph->node[buffer->node] : NULL;
  const edgelm_conv* conv = node ? &p->graph->conv[node->conv] : NULL;
  size_t H, W, pixel;
  if (buffer->kind == EDGELM_EXPANDED) {
    H = 1;
    W = conv->panels;
    pixel = conv->expanded_bytes;
  } else if (buffer->kind == EDGELM_IMAGE) {
    const edgelm_shape s = shapes[node->x[0]];
    H = (size_t)s.H + conv->attrs.pad_top + conv->attrs.pad_bottom;
    W = (size_t)s.W + conv->attrs.pad_left + conv->attrs.pad_right;
    pixel = edgelm_image_pixel(conv);
  } else {
    const edgelm_shape s = shapes[buffer->value];
    H = (size_t)s.H;
    W = (size_t)s.W;
    pixel = (size_t)s.C * sizeof(float);
  }
  size_t bytes;
  if (__builtin_mul_overflow(H, W, &bytes) || __builtin_mul_overflow(bytes, pixel, &bytes) ||
      bytes > most_bytes - 2 * EDGELM_SLACK)
    return SIZE_MAX;
  return edgelm_up(bytes + EDGELM_SLACK, line);
}

/* The first place where `bytes` fit between the buffers that live at the same time; `taken` is sorted by offset. */
static size_t find_gap(const edgelm_plan* plan, const size_t* size, const int32_t* taken, size_t count, size_t bytes) {
  size_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    if (plan->offset[taken[i]] >= at + bytes) break;
    at = edgelm_max(at, plan->offset[taken[i]] + size[taken[i]]);
  }
  return at;
}

static int lay_out_buffers(const planner* p, size_t* size, int32_t* taken) {
  const edgelm_graph* graph = p->graph;
  edgelm_plan* plan = p->plan;
  size_t count = 0;
  plan->memory_bytes = 0;
  for (int32_t s = 0; s < graph->steps; ++s) {
    size_t kept = 0; /* forget those that nobody reads any more when this step begins, which may be early */
    const int32_t ahead = p->threads > 1 ? EDGELM_AHEAD : 0;
    for (size_t i = 0; i < count; ++i)
      if (graph->buffer[taken[i]].to + ahead >= s) taken[kept++] = taken[i];
    count = kept;
    for (int32_t b = graph->step[s].first_buffer; b >= 0; b = graph->buffer[b].next) {
      size[b] = buffer_bytes(p, &graph->buffer[b]);
      if (size[b] == SIZE_MAX) return fail(p, "an input is too large: a map of 2 GiB would be needed");
      const size_t at = find_gap(plan, size, taken, count, size[b]);
      size_t i = count++;
      for (; i > 0 && plan->offset[taken[i - 1]] > at; --i) taken[i] = taken[i - 1];
      taken[i] = b;
      plan->offset[b] = at;
      plan->memory_bytes = edgelm_max(plan->memory_bytes, at + size[b]);
    }
  }
  return 0;
}

/* How a step is cut into jobs, and what a worker needs for it. */
static void plan_step(const planner* p, int32_t index, size_t* worker_bytes) {
  const edgelm_graph* graph = p->graph;
  const edgelm_step* step = &graph->step[index];
  const edgelm_shape* shapes = p->plan->shape;
  const edgelm_shape out = shapes[step->value];
  const edgelm_conv* conv = step->kind == EDGELM_STEP_CONV ? &graph->conv[graph->node[step->node].conv] : NULL;
  edgelm_step_plan* plan = &p->plan->step[index];
  const int32_t unit = step->pooled ? 2 : 1, units = (out.H + unit - 1) / unit;
  double microseconds = (double)out.C * out.H * out.W / 2000;
  *plan = (edgelm_step_plan){units, units, 1, out.W, 0.0f, 0.0f};
  if (conv) {
    const edgelm_qconv_attrs* a = &conv->attrs;
    const double taps = (double)a->kernel_h * a->kernel_w * a->in_channels;
    microseconds += taps * out.C * out.H * out.W / conv->kernel->macs_per_us;
    if (edgelm_prepares(conv) && !edgelm_is_flat(conv)) { /* its rows of prepared pixels stay in the level-2 cache */
      const size_t budget = 192 << 10,
                   rows = (size_t)(a->kernel_h - 1) * a->dilation_h + 1 + (step->pooled ? a->stride_h : 0);
      const size_t columns = budget / (rows * conv->pixel_bytes), halo = (size_t)(a->kernel_w - 1) * a->dilation_w;
      const size_t room = columns > halo ? (columns - halo) / a->stride_w : 0, least = 2 * (size_t)conv->pixels;
      const size_t strip = edgelm_max(room / conv->pixels * conv->pixels, least);
      plan->strip = (int32_t)edgelm_min(step->pooled ? strip / 2 * 2 : strip, (size_t)out.W);
    }
  }
  if (p->threads > 1 && microseconds > 10) {
    const double most = conv && edgelm_prepares(conv) && !edgelm_is_flat(conv) ? 3.0 : 6.0; /* rings begin anew */
    const double wanted = microseconds / 5 < most * p->threads ? microseconds / 5 : most * p->threads;
    plan->unit_rows = (int32_t)((units + (int32_t)wanted - 1) / (int32_t)wanted);
    plan->jobs = (units + plan->unit_rows - 1) / plan->unit_rows;
  }
  plan->cost = (float)microseconds;
  *worker_bytes = edgelm_max(*worker_bytes, edgelm_worker_bytes(conv, out.C, plan->strip, step));
}

static void rank_steps(const planner* p) {
  edgelm_step_plan* plan = p->plan->step;
  for (int32_t s = p->graph->steps - 1; s >= 0; --s) {
    plan[s].rank += plan[s].cost;
    for (uint32_t after = p->graph->step[s].after; after; after &= after - 1) {
      edgelm_step_plan* before = &plan[s - 1 - __builtin_ctz(after)];
      if (before->rank < plan[s].rank) before->rank = plan[s].rank;
    }
  }
}

size_t edgelm_plan_make(edgelm_plan* plan, const edgelm_graph* graph, const edgelm_tensor* inputs, int32_t threads,
                        void* scratch, char* error, size_t error_size) {
  const planner p = {plan, graph, threads, error, error_size};
  const size_t counts[] = {
      (size_t)graph->values * sizeof *plan->shape,    (size_t)graph->buffers * sizeof *plan->offset,
      (size_t)graph->steps * sizeof *plan->step,      (size_t)(graph->part_count + 1) * sizeof *plan->channel,
      (size_t)graph->nodes * sizeof *plan->clear_all, (size_t)graph->buffers * sizeof(size_t),
      (size_t)graph->buffers * sizeof(int32_t)};
  uint8_t* at[sizeof counts / sizeof *counts];
  size_t used = 0;
  for (size_t i = 0; i < sizeof counts / sizeof *counts; used += edgelm_up(counts[i], line), ++i)
    at[i] = (uint8_t*)scratch + used;
  plan->graph = graph;
  plan->shape = (void*)at[0];
  plan->offset = (void*)at[1];
  plan->step = (void*)at[2];
  plan->channel = (void*)at[3];
  plan->clear_all = at[4];
  if (shape_values(&p, inputs)) return 0;
  for (int32_t n = 0; n < graph->nodes; ++n) plan->clear_all[n] = graph->image[n] >= 0 && has_gaps(&p, n);
  if (lay_out_buffers(&p, (void*)at[5], (void*)at[6])) return 0;
  plan->worker_bytes = 0;
  for (int32_t s = 0; s < graph->steps; ++s) plan_step(&p, s, &plan->worker_bytes);
  rank_steps(&p);
  plan->workers = (uint8_t*)scratch + used;
  plan->memory = plan->workers + plan->worker_bytes * (size_t)threads;
  return used + plan->worker_bytes * (size_t)threads + plan->memory_bytes;
}

size_t edgelm_plan_bytes(const edgelm_graph* graph) {
  return (size_t)graph->values * sizeof(edgelm_shape) + (size_t)graph->buffers * (2 * sizeof(size_t) + 4) +
         (size_t)graph->steps * sizeof(edgelm_step_plan) + (size_t)(graph->part_count + 1) * sizeof(int32_t) +
         (size_t)graph->nodes + 7 * line;
}
