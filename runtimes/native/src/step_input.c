/* Input of a convolution that prepares its pixels: gathered from its parts, quantized where they are floats, and built.
 */
#include <string.h>

#include "step.h"

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

static void gather_pad(const edgelm_conv* conv, uint8_t* out) {
  memset(out, conv->offset, (size_t)conv->attrs.in_channels * conv->kernel->element / 8);
}

/* The levels of one input pixel, channels innermost. */
static void gather(const edgelm_task* t, int32_t y, int32_t x, uint8_t* out) {
  const edgelm_conv* conv = t->conv;
  const edgelm_plan* plan = &t->run->plan;
  const int32_t first = plan->graph->first_part[t->step->node];
  for (int32_t i = 0; i < t->node->count; ++i) {
    const int32_t value = t->node->x[i], channel = plan->channel[first + i], C = plan->shape[value].C;
    if (conv->kernel->element == 32) {
      const edgelm_place from = edgelm_place_floats(t->run, value);
      const edgelm_quantizer q = {
          .scale = conv->in_scale + channel, .bias = conv->in_bias + channel, .relu = conv->attrs.pre_relu};
      conv->kernel->stages->affine((const float*)(const void*)(from.at + y * from.row + x * from.pixel), &q, (size_t)C,
                                   (float*)(void*)out + channel);
    } else {
      const size_t element = (size_t)conv->kernel->element / 8, bytes = C * element;
      const uint8_t* from = plan->memory + plan->offset[plan->graph->parts[first + i]];
      memcpy(out + channel * element, from + ((size_t)y * plan->shape[value].W + x) * bytes, bytes);
    }
  }
}

void edgelm_prepare(const edgelm_task* t, const int32_t* y, const int32_t* x, size_t count, uint8_t* out) {
  const edgelm_conv* conv = t->conv;
  const size_t batch = conv->kernel->build ? GATHERED : count;
  const size_t stride = conv->kernel->build ? t->levels_stride : conv->pixel_bytes;
  for (size_t first = 0; first < count; first += batch) {
    const size_t some = edgelm_min(batch, count - first);
    uint8_t* levels = conv->kernel->build ? t->desk.levels : out;
    for (size_t i = 0; i < some; ++i) {
      if (y[first + i] < 0)
        gather_pad(conv, levels + i * stride);
      else
        gather(t, y[first + i], x[first + i], levels + i * stride);
    }
    if (conv->kernel->build) conv->kernel->build(conv, levels, stride, some, out + first * conv->pixel_bytes);
  }
}

/* Floats that need no affine lie in their image as the tile reads them. */
static int is_copy(const edgelm_task* t) {
  const edgelm_conv* conv = t->conv;
  return conv->kernel->element == 32 && !conv->kernel->build && conv->plain && t->node->count == 1;
}

static void copy_row(const edgelm_task* t, int32_t py, int32_t px, size_t columns, uint8_t* out) {
  const edgelm_qconv_attrs* a = &t->conv->attrs;
  const edgelm_shape in = t->run->plan.shape[t->node->x[0]];
  const edgelm_place from = edgelm_place_floats(t->run, t->node->x[0]);
  const int32_t y = py - a->pad_top, end = px + (int32_t)columns;
  const int32_t inside = y < 0 || y >= in.H ? 0 : in.W; /* columns of this row that there are */
  int32_t first = px < a->pad_left ? a->pad_left : px, last = end < a->pad_left + inside ? end : a->pad_left + inside;
  if (last < first) first = last = end;
  const size_t pixel = t->conv->pixel_bytes;
  memset(out, 0, (size_t)(first - px) * pixel);
  if (last > first)
    memcpy(out + (size_t)(first - px) * pixel, from.at + (size_t)y * from.row + (size_t)(first - a->pad_left) * pixel,
           (size_t)(last - first) * pixel);
  memset(out + (size_t)(last - px) * pixel, 0, (size_t)(end - last) * pixel);
}

void edgelm_prepare_row(const edgelm_task* t, int32_t py, int32_t px, size_t columns, uint8_t* out) {
  const edgelm_qconv_attrs* a = &t->conv->attrs;
  const edgelm_shape in = t->run->plan.shape[t->node->x[0]];
  int32_t y[EDGELM_CHUNK], x[EDGELM_CHUNK];
  if (is_copy(t)) {
    copy_row(t, py, px, columns, out);
    return;
  }
  for (size_t first = 0; first < columns; first += EDGELM_CHUNK) {
    const size_t some = edgelm_min(EDGELM_CHUNK, columns - first);
    for (size_t i = 0; i < some; ++i) {
      x[i] = px + (int32_t)(first + i) - a->pad_left;
      y[i] = x[i] < 0 || x[i] >= in.W || py < a->pad_top || py >= a->pad_top + in.H ? -1 : py - a->pad_top;
    }
    edgelm_prepare(t, y, x, some, out + first * t->conv->pixel_bytes);
  }
}
