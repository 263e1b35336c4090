/* Input of a convolution that prepares its pixels: from its image of levels, or gathered from floats.
 */
#include <string.h>

#include "step.h"

/* Room for a pixel's levels, and zeros behind them. */
size_t edgelm_levels_stride(const edgelm_conv* conv) {
  return edgelm_up((size_t)conv->attrs.in_channels * conv->kernel->element / 8, 64) + 64;
}

edgelm_place edgelm_place_floats(const edgelm_run* run, int32_t value) {
  const edgelm_graph* graph = run->plan.graph;
  const edgelm_shape s = run->plan.shape[value];
  const size_t pixel = (size_t)s.C * sizeof(float), row = pixel * s.W;
  if (value < graph->inputs && run->layout == EDGELM_NHWC)
    return (edgelm_place){(uint8_t*)run->inputs[value].data + run->batch * row * s.H, pixel, row};
  return (edgelm_place){run->plan.memory + run->plan.offset[graph->floats[value]], pixel, row};
}

static void build_levels(const edgelm_task* t, int32_t py, int32_t px, size_t count, uint8_t* out) {
  const edgelm_conv* conv = t->conv;
  const edgelm_plan* plan = &t->run->plan;
  const edgelm_qconv_attrs* a = &conv->attrs;
  const size_t pixel = edgelm_image_pixel(conv);
  const size_t width = (size_t)(a->pad_left + plan->shape[t->node->x[0]].W + a->pad_right);
  const uint8_t* image = plan->memory + plan->offset[plan->graph->image[t->step->node]];
  const uint8_t* from = image + ((size_t)py * width + (size_t)px) * pixel;
  if (a->in_channels % 32 == 0) {
    conv->kernel->build(conv, from, pixel, count, out);
    return;
  }
  for (size_t first = 0, some; first < count;
       first += some) { /* what follows a pixel is the next one: put zeros there */
    some = edgelm_min(GATHERED, count - first);
    for (size_t i = 0; i < some; ++i) memcpy(t->desk.levels + i * t->levels_stride, from + (first + i) * pixel, pixel);
    conv->kernel->build(conv, t->desk.levels, t->levels_stride, some, out + first * conv->pixel_bytes);
  }
}

/* Pixels inside the image: side by side in row y, the first in column x. */
static void gather(const edgelm_task* t, int32_t y, int32_t x, size_t count, uint8_t* out, size_t stride) {
  const edgelm_conv* conv = t->conv;
  const edgelm_plan* plan = &t->run->plan;
  const int32_t first = plan->graph->first_part[t->step->node];
  for (int32_t i = 0; i < t->node->count; ++i) {
    const int32_t value = t->node->x[i], channel = plan->channel[first + i];
    const size_t C = (size_t)plan->shape[value].C;
    const edgelm_place from = edgelm_place_floats(t->run, value);
    const float* values = (const float*)(const void*)(from.at + (size_t)y * from.row + (size_t)x * from.pixel);
    float* to = (float*)(void*)out + channel;
    if (conv->plain && t->node->count == 1 && stride == C * sizeof(float)) {
      memcpy(to, values, count * stride);
      return;
    }
    const edgelm_quantizer q = {
        .scale = conv->in_scale + channel, .bias = conv->in_bias + channel, .relu = conv->attrs.pre_relu};
    conv->kernel->stages->affine(values, C, &q, C, count, to, stride / sizeof(float));
  }
}

/* Of `count` padded columns from px on in row py: which ones lie inside the image, *from .. *to of them; none: both are
 * `count`. */
static void find_inside(const edgelm_task* t, int32_t py, int32_t px, size_t count, size_t* from, size_t* to) {
  const edgelm_qconv_attrs* a = &t->conv->attrs;
  const edgelm_shape in = t->run->plan.shape[t->node->x[0]];
  const int32_t y = py - a->pad_top, x = px - a->pad_left, end = x + (int32_t)count;
  const int32_t first = x < 0 ? 0 : x, last = end < in.W ? end : in.W;
  const int none = y < 0 || y >= in.H || first >= last;
  *from = none ? count : (size_t)(first - x);
  *to = none ? count : (size_t)(last - x);
}

/* Whether all parts begin and end with whole groups of channels that a kernel builds by itself. */
static int builds_parts(const edgelm_task* t) {
  const edgelm_shape* shapes = t->run->plan.shape;
  for (int32_t i = 0; i < t->node->count; ++i)
    if (shapes[t->node->x[i]].C % 16) return 0;
  return t->conv->kernel->build_parts != NULL;
}

static void build_floats(const edgelm_task* t, int32_t py, int32_t px, size_t count, uint8_t* out) {
  const edgelm_conv* conv = t->conv;
  const edgelm_plan* plan = &t->run->plan;
  const int32_t part = plan->graph->first_part[t->step->node];
  const size_t pixel = conv->pixel_bytes;
  size_t from, to;
  find_inside(t, py, px, count, &from, &to);
  memset(out, 0, from * pixel);
  memset(out + to * pixel, 0, (count - to) * pixel);
  if (from == to) return;
  const size_t y = (size_t)(py - conv->attrs.pad_top), x = (size_t)(px + (int32_t)from - conv->attrs.pad_left);
  enum { SOME = 32 };
  edgelm_part parts[SOME];
  int32_t number = 0;
  for (int32_t i = 0; i < t->node->count; ++i) {
    const edgelm_place at = edgelm_place_floats(t->run, t->node->x[i]);
    const float* values = (const float*)(const void*)(at.at + y * at.row + x * at.pixel);
    const size_t C = (size_t)plan->shape[t->node->x[i]].C;
    parts[number++] = (edgelm_part){values, (size_t)plan->channel[part + i], C};
    if (number < SOME && i + 1 < t->node->count) continue;
    conv->kernel->build_parts(conv, parts, (size_t)number, to - from, out + from * pixel);
    number = 0;
  }
}

static void gather_floats(const edgelm_task* t, int32_t py, int32_t px, size_t count, uint8_t* out) {
  const edgelm_conv* conv = t->conv;
  const edgelm_qconv_attrs* a = &conv->attrs;
  const size_t bytes = (size_t)a->in_channels * sizeof(float);
  const size_t batch = conv->kernel->build ? GATHERED : count;
  const size_t stride = conv->kernel->build ? t->levels_stride : conv->pixel_bytes;
  for (size_t first = 0, some; first < count; first += some) {
    some = edgelm_min(batch, count - first);
    uint8_t* levels = conv->kernel->build ? t->desk.levels : out;
    const int32_t left = px + (int32_t)first;
    size_t from, to;
    find_inside(t, py, left, some, &from, &to);
    for (size_t i = 0; i < some; ++i)
      if (i < from || i >= to) memset(levels + i * stride, 0, bytes);
    if (from < to)
      gather(t, py - a->pad_top, left + (int32_t)from - a->pad_left, to - from, levels + from * stride, stride);
    if (conv->kernel->build) conv->kernel->build(conv, levels, stride, some, out + first * conv->pixel_bytes);
  }
}

void edgelm_prepare(const edgelm_task* t, int32_t py, int32_t px, size_t count, uint8_t* out) {
  if (t->conv->kernel->element == 32 && builds_parts(t))
    build_floats(t, py, px, count, out);
  else if (t->conv->kernel->element == 32)
    gather_floats(t, py, px, count, out);
  else
    build_levels(t, py, px, count, out);
}
