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

static void gather_floats(const edgelm_task* t, int32_t py, int32_t px, size_t count, uint8_t* out) {
  const edgelm_conv* conv = t->conv;
  const edgelm_qconv_attrs* a = &conv->attrs;
  const edgelm_shape in = t->run->plan.shape[t->node->x[0]];
  const size_t bytes = (size_t)a->in_channels * sizeof(float);
  const size_t batch = conv->kernel->build ? GATHERED : count;
  const size_t stride = conv->kernel->build ? t->levels_stride : conv->pixel_bytes;
  for (size_t first = 0, some; first < count; first += some) {
    some = edgelm_min(batch, count - first);
    uint8_t* levels = conv->kernel->build ? t->desk.levels : out;
    const int32_t y = py - a->pad_top, x = px + (int32_t)first - a->pad_left, end = x + (int32_t)some;
    int32_t from = x < 0 ? 0 : x, to = end < in.W ? end : in.W;
    if (y < 0 || y >= in.H || from >= to) from = to = end;
    for (int32_t i = x; i < end; ++i)
      if (i < from || i >= to) memset(levels + (size_t)(i - x) * stride, 0, bytes);
    if (from < to) gather(t, y, from, (size_t)(to - from), levels + (size_t)(from - x) * stride, stride);
    if (conv->kernel->build) conv->kernel->build(conv, levels, stride, some, out + first * conv->pixel_bytes);
  }
}

void edgelm_prepare(const edgelm_task* t, int32_t py, int32_t px, size_t count, uint8_t* out) {
  if (t->conv->kernel->element == 32)
    gather_floats(t, py, px, count, out);
  else
    build_levels(t, py, px, count, out);
}
