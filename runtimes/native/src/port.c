/* Where and in which form a step hands its values on: worked out once for a job, used for each of its chunks. */
#include <string.h>

#include "chunk.h"

static const edgelm_conv* reader_of(const edgelm_run* run, const edgelm_sink* sink) {
  const edgelm_graph* graph = run->plan.graph;
  return &graph->conv[graph->node[sink->node].conv];
}

/* Whether a part's bits have whole bytes of the image to themselves. */
static int owns_bytes(const edgelm_run* run, const edgelm_sink* sink) {
  const edgelm_conv* conv = reader_of(run, sink);
  const size_t C = (size_t)run->plan.shape[sink->value].C, first = (size_t)run->plan.channel[sink->part];
  return conv->planes == 1 && first % 8 == 0 && (C % 8 == 0 || first + C == (size_t)conv->attrs.in_channels);
}

/* Where the levels of a sink lie in the dense image. */
static edgelm_place place_levels(const edgelm_run* run, const edgelm_sink* sink) {
  const edgelm_plan* plan = &run->plan;
  const edgelm_conv* conv = reader_of(run, sink);
  const edgelm_shape s = plan->shape[sink->value];
  uint8_t* at = plan->memory + plan->offset[sink->buffer];
  const edgelm_qconv_attrs* a = &conv->attrs;
  const size_t pixel = edgelm_image_pixel(conv), row = pixel * (size_t)(a->pad_left + s.W + a->pad_right);
  const size_t channel = (size_t)plan->channel[sink->part];
  at += a->pad_top * row + a->pad_left * pixel;
  /* Bits with masks, or that begin inside a byte, are put in one by one from the pixel's first byte. */
  if (conv->kernel->element == 8) at += channel;
  if (conv->kernel->element == 16) at += 2 * channel;
  if (conv->kernel->element == 1 && owns_bytes(run, sink)) at += channel / 8;
  return (edgelm_place){at, pixel, row};
}

static edgelm_place place_output(const edgelm_run* run, const edgelm_sink* sink) {
  const edgelm_shape s = run->plan.shape[sink->value];
  uint8_t* at = (uint8_t*)run->outputs[sink->output].data + run->batch * sizeof(float) * s.C * s.H * s.W;
  if (run->layout == EDGELM_NCHW) return (edgelm_place){at, sizeof(float), sizeof(float) * s.W};
  const size_t pixel = (size_t)s.C * sizeof(float), row = pixel * s.W;
  return (edgelm_place){at, pixel, row};
}

static edgelm_quantizer quantizer_of(const edgelm_run* run, const edgelm_sink* sink) {
  const edgelm_conv* conv = reader_of(run, sink);
  const edgelm_qconv_attrs* a = &conv->attrs;
  const int32_t channel = run->plan.channel[sink->part];
  return (edgelm_quantizer){.scale = conv->in_scale + channel,
                            .bias = conv->in_bias + channel,
                            .relu = a->pre_relu,
                            .steps = a->act_bits > 1 ? (float)(1 << (a->act_bits - 1)) : 1.0f,
                            .low = (float)conv->low,
                            .high = (float)conv->high,
                            .offset = conv->offset,
                            .sign_zero = a->sign_zero};
}

/* A value's floats in an input tensor need no copy. */
static int is_alias(const edgelm_run* run, const edgelm_sink* sink) {
  return sink->kind == EDGELM_SINK_FLOATS && sink->value < run->plan.graph->inputs && run->layout == EDGELM_NHWC;
}

static edgelm_form form_of(const edgelm_run* run, const edgelm_conv* maker, const edgelm_sink* sink) {
  if (sink->kind == EDGELM_SINK_FLOATS) return EDGELM_FORM_FLOATS;
  if (sink->kind == EDGELM_SINK_OUTPUT) return run->layout == EDGELM_NHWC ? EDGELM_FORM_FLOATS : EDGELM_FORM_PLANES;
  const int32_t element = reader_of(run, sink)->kernel->element;
  if (element == 16) return EDGELM_FORM_LEVELS16;
  if (element == 8) return EDGELM_FORM_LEVELS8;
  if (!owns_bytes(run, sink)) return EDGELM_FORM_MASKED_SIGNS;
  return maker && sink->below.at ? EDGELM_FORM_SIGNS_OF_SUMS : EDGELM_FORM_SIGNS;
}

void edgelm_open_ports(edgelm_chunk* c, edgelm_port* ports) {
  const edgelm_sink* sinks = c->run->plan.graph->sink + c->step->first_sink;
  c->port = ports;
  c->ports = 0;
  memset(c->needs, 0, sizeof c->needs);
  for (const edgelm_sink* sink = sinks; sink < sinks + c->step->sinks; ++sink) {
    if (is_alias(c->run, sink)) continue;
    edgelm_port* port = &ports[c->ports++];
    *port = (edgelm_port){.sink = sink, .form = form_of(c->run, c->conv, sink)};
    port->source = (port->form == EDGELM_FORM_SIGNS_OF_SUMS ? EDGELM_SUMS : EDGELM_VALUES);
    if (sink->way == EDGELM_POOLED) port->source += EDGELM_POOLED_SUMS;
    c->needs[port->source] = 1;
    if (sink->kind == EDGELM_SINK_FLOATS) port->to = edgelm_place_floats(c->run, sink->value);
    if (sink->kind == EDGELM_SINK_OUTPUT) port->to = place_output(c->run, sink);
    if (sink->kind != EDGELM_SINK_LEVELS) continue;
    port->to = place_levels(c->run, sink);
    port->reader = reader_of(c->run, sink);
    port->quantizer = quantizer_of(c->run, sink);
  }
}

void edgelm_clear_images(const edgelm_run* run, const edgelm_step* step, int32_t first_row, int32_t end_row) {
  const edgelm_sink* sinks = run->plan.graph->sink + step->first_sink;
  for (int32_t i = 0; i < step->sinks; ++i) {
    const edgelm_sink* sink = &sinks[i];
    if (sink->kind != EDGELM_SINK_LEVELS || !sink->first) continue;
    const edgelm_conv* conv = reader_of(run, sink);
    const edgelm_qconv_attrs* a = &conv->attrs;
    const edgelm_shape s = run->plan.shape[sink->value];
    const int32_t H = run->plan.shape[step->value].H;
    int32_t first = first_row, end = end_row;
    if (sink->way == EDGELM_UPSAMPLED) first *= 2, end *= 2;
    if (sink->way == EDGELM_POOLED) first /= 2, end /= 2;
    if (end_row == H) end = s.H;
    const size_t width = (size_t)(a->pad_left + s.W + a->pad_right);
    const size_t pixel = edgelm_image_pixel(conv), row = width * pixel;
    const size_t left = a->pad_left * pixel, right = a->pad_right * pixel;
    uint8_t* image = run->plan.memory + run->plan.offset[sink->buffer];
    if (first == 0) memset(image, conv->offset, a->pad_top * row);
    for (int32_t y = first; y < end; ++y) {
      uint8_t* at = image + (size_t)(a->pad_top + y) * row;
      if (run->plan.clear_all[sink->node]) {
        memset(at, conv->offset, row);
      } else {
        memset(at, conv->offset, left);
        memset(at + row - right, conv->offset, right);
      }
    }
    if (end == s.H) memset(image + (size_t)(a->pad_top + s.H) * row, conv->offset, a->pad_bottom * row);
  }
}
