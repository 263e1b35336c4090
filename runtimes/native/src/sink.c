/* What becomes of a chunk of output pixels: floats, graph outputs, and levels for each convolution that reads them. */
#include <string.h>

#include "chunk.h"

static const edgelm_conv* reader_of(const edgelm_run* run, const edgelm_sink* sink) {
  const edgelm_graph* graph = run->plan.graph;
  return &graph->conv[graph->node[sink->node].conv];
}

/* A value's floats in an input tensor need no copy. */
static int is_alias(const edgelm_run* run, const edgelm_sink* sink) {
  return sink->kind == EDGELM_SINK_FLOATS && sink->value < run->plan.graph->inputs && run->layout == EDGELM_NHWC;
}

/* Whether a part's bits have whole bytes of the image to themselves. */
static int owns_bytes(const edgelm_run* run, const edgelm_sink* sink) {
  const edgelm_conv* conv = reader_of(run, sink);
  const size_t C = (size_t)run->plan.shape[sink->value].C, first = (size_t)run->plan.channel[sink->part];
  return conv->planes == 1 && first % 8 == 0 && (C % 8 == 0 || first + C == (size_t)conv->attrs.in_channels);
}

/* Where the levels of a sink lie: (0, 0) of the part itself, or inside the dense image. */
static edgelm_place place_levels(const edgelm_run* run, const edgelm_sink* sink) {
  const edgelm_plan* plan = &run->plan;
  const edgelm_conv* conv = reader_of(run, sink);
  const edgelm_shape s = plan->shape[sink->value];
  uint8_t* at = plan->memory + plan->offset[sink->buffer];
  if (conv->kernel->gathers) {
    const size_t pixel = (size_t)s.C * conv->kernel->element / 8;
    return (edgelm_place){at, pixel, pixel * s.W};
  }
  const edgelm_qconv_attrs* a = &conv->attrs;
  const size_t pixel = conv->pixel_bytes, row = pixel * (size_t)(a->pad_left + s.W + a->pad_right);
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
  const size_t pixel = (size_t)s.C * sizeof(float), row = pixel * s.W;
  return (edgelm_place){(uint8_t*)run->outputs[sink->output].data + run->batch * row * s.H, pixel, row};
}

/* A copy whose size is nearly always one of these few, which need no call. */
static inline void copy(uint8_t* to, const uint8_t* from, size_t bytes) {
  if (bytes == 16)
    memcpy(to, from, 16);
  else if (bytes == 4)
    memcpy(to, from, 4);
  else if (bytes == 128)
    memcpy(to, from, 128);
  else
    memcpy(to, from, bytes);
}

/* An upsampled pixel stands four times; `bytes` of it were written at the first place. */
static void spread(const edgelm_sink* sink, edgelm_place to, uint8_t* const* targets, size_t count, size_t bytes) {
  if (sink->way != EDGELM_UPSAMPLED) return;
  for (size_t i = 0; i < count; ++i) {
    uint8_t* from = targets[i];
    if (!from) continue;
    copy(from + to.pixel, from, bytes);
    copy(from + to.row, from, bytes);
    copy(from + to.row + to.pixel, from, bytes);
  }
}

static void set_bit(uint8_t* pixel, size_t word, size_t bit) { pixel[4 * word + bit / 8] |= (uint8_t)(1u << bit % 8); }

/* Bits that share bytes with other parts, or with masks: into an image that was cleared. */
static void put_bits(const edgelm_run* run, const edgelm_sink* sink, const edgelm_quantizer* q, edgelm_place to,
                     const float* values, size_t stride, uint8_t* const* targets, size_t count) {
  const edgelm_conv* conv = reader_of(run, sink);
  const size_t C = (size_t)run->plan.shape[sink->value].C, first = (size_t)run->plan.channel[sink->part];
  const size_t copies = sink->way == EDGELM_UPSAMPLED ? 4 : 1, planes = (size_t)conv->planes;
  for (size_t i = 0; i < count; ++i) {
    for (size_t copy = 0; targets[i] && copy < copies; ++copy) {
      uint8_t* pixel = targets[i] + (copy & 1) * to.pixel + (copy >> 1) * to.row;
      for (size_t c = 0; c < C; ++c) {
        const float v = edgelm_affine(values[i * stride + c], q->scale[c], q->bias[c], q->relu);
        const size_t channel = first + c, word = channel / 32 * planes;
        if (edgelm_negative(v, q->sign_zero)) set_bit(pixel, word, channel % 32);
        if (planes == 2 && (q->sign_zero || v < 0.0f || v > 0.0f)) set_bit(pixel, word + 1, channel % 32);
      }
    }
  }
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

/* Bytes of few channels whose pixels lie side by side, as in the input of a stem: sixteen pixels are one row. */
static void write_runs(const edgelm_chunk* c, const edgelm_quantizer* given, edgelm_place to, const float* values,
                       const edgelm_stages* stages) {
  float scale[16 * 16], bias[16 * 16];
  const size_t C = c->channels, row = 16 * C;
  for (size_t i = 0; i < row; ++i) {
    scale[i] = given->scale[i % C];
    bias[i] = given->bias[i % C];
  }
  edgelm_quantizer q = *given;
  q.scale = scale;
  q.bias = bias;
  for (const edgelm_span* s = c->span; s < c->span + c->spans; values += (size_t)s->count * C, ++s) {
    uint8_t* targets[EDGELM_CHUNK / 16 + 1];
    const size_t rows = (size_t)s->count / 16, rest = (size_t)s->count % 16;
    for (size_t i = 0; i <= rows; ++i) targets[i] = to.at + (size_t)s->y * to.row + (size_t)s->x * C + i * row;
    stages->levels8(values, row, &q, row, rows, targets);
    stages->levels8(values + rows * row, row, &q, rest * C, 1, targets + rows);
  }
}

static void write_levels(const edgelm_chunk* c, const edgelm_sink* sink, const float* values) {
  const edgelm_conv* conv = reader_of(c->run, sink);
  const edgelm_stages* stages = conv->kernel->stages;
  const edgelm_quantizer q = quantizer_of(c->run, sink);
  const edgelm_place to = place_levels(c->run, sink);
  const size_t C = c->channels;
  if (conv->kernel->element == 8 && C < 16 && c->stride == C && to.pixel == C && sink->way == EDGELM_SAME &&
      !c->squares) {
    write_runs(c, &q, to, values, stages);
    return;
  }
  uint8_t* targets[EDGELM_CHUNK];
  const size_t count = edgelm_chunk_aim(c, sink->way, to, targets);
  if (conv->kernel->element == 8) {
    stages->levels8(values, c->stride, &q, C, count, targets);
    spread(sink, to, targets, count, C);
  } else if (conv->kernel->element == 16) {
    stages->levels16(values, c->stride, &q, C, count, targets);
    spread(sink, to, targets, count, 2 * C);
  } else if (owns_bytes(c->run, sink)) {
    stages->signs(values, c->stride, &q, C, count, targets);
    spread(sink, to, targets, count, (C + 7) / 8);
  } else {
    put_bits(c->run, sink, &q, to, values, c->stride, targets, count);
  }
}

static void write_signs_of_sums(const edgelm_chunk* c, const edgelm_sink* sink, const void* sums) {
  const edgelm_place to = place_levels(c->run, sink);
  uint8_t* targets[EDGELM_CHUNK];
  const size_t count = edgelm_chunk_aim(c, sink->way, to, targets);
  const edgelm_stages* stages = c->conv->kernel->stages;
  if (c->conv->sum_bits == 16)
    stages->thresholds16(sums, c->stride, &sink->below, c->channels, count, targets);
  else
    stages->thresholds(sums, c->stride, &sink->below, c->channels, count, targets);
  spread(sink, to, targets, count, (c->channels + 7) / 8);
}

static void write_floats(const edgelm_chunk* c, const edgelm_sink* sink, edgelm_place to, const float* values) {
  uint8_t* targets[EDGELM_CHUNK];
  const size_t count = edgelm_chunk_aim(c, sink->way, to, targets), bytes = c->channels * sizeof(float);
  for (size_t i = 0; i < count; ++i)
    if (targets[i]) memcpy(targets[i], values + i * c->stride, bytes);
  spread(sink, to, targets, count, bytes);
}

/* NCHW: channels lie far apart; pixels that are neighbours in a row go together. */
static void write_planes(const edgelm_chunk* c, const edgelm_sink* sink, const float* values) {
  const edgelm_shape s = c->run->plan.shape[sink->value];
  const size_t plane = (size_t)s.H * s.W;
  float* out = c->run->outputs[sink->output].data + c->run->batch * plane * s.C;
  const edgelm_place index = {NULL, sizeof(float), sizeof(float) * s.W};
  uint8_t* targets[EDGELM_CHUNK]; /* NULL is a place here too: the marks tell what has none */
  const edgelm_place base = {(uint8_t*)out, index.pixel, index.row};
  const size_t count = edgelm_chunk_aim(c, sink->way, base, targets), copies = sink->way == EDGELM_UPSAMPLED ? 4 : 1;
  for (size_t i = 0, some; i < count; i += some) {
    some = 1;
    if (!targets[i]) continue;
    if (copies == 1)
      while (i + some < count && targets[i + some] == targets[i] + some * sizeof(float)) ++some;
    for (size_t copy = 0; copy < copies; ++copy) {
      float* to = (float*)(void*)(targets[i] + (copy & 1) * base.pixel + (copy >> 1) * base.row);
      c->run->plan.graph->stages->transpose(values + i * c->stride, c->stride, to, plane, some, (size_t)s.C);
    }
  }
}

/* y = sums, transformed, plus the residual. */
static void finish_floats(const edgelm_chunk* c) {
  const edgelm_conv* conv = c->conv;
  const edgelm_node* node = &c->run->plan.graph->node[c->step->node];
  conv->kernel->stages->outputs(c->sums, c->stride, edgelm_sums_of(conv), conv->out_scale, conv->out_bias,
                                conv->attrs.post_relu, c->channels, c->count, c->floats, c->stride);
  if (node->residual < 0) return;
  const edgelm_place from = edgelm_place_floats(c->run, node->residual);
  uint8_t* pixels[EDGELM_CHUNK];
  edgelm_chunk_aim(c, EDGELM_SAME, from, pixels);
  for (size_t i = 0; i < c->count; ++i) {
    if (!pixels[i]) continue;
    const float* residual = (const float*)(const void*)pixels[i];
    float* y = c->floats + i * c->stride;
    for (size_t k = 0; k < c->channels; ++k) y[k] += residual[k];
  }
}

static int uses_sums(const edgelm_chunk* c, const edgelm_sink* sink) {
  return c->conv && sink->below.at && owns_bytes(c->run, sink);
}

void edgelm_sink_chunk(edgelm_chunk* c) {
  const edgelm_sink* sinks = c->run->plan.graph->sink + c->step->first_sink;
  enum { SUMS, FLOATS, POOLED_SUMS, POOLED_FLOATS };
  int needs[4] = {0};
  for (int32_t i = 0; i < c->step->sinks; ++i)
    if (!is_alias(c->run, &sinks[i]))
      needs[(uses_sums(c, &sinks[i]) ? SUMS : FLOATS) + 2 * (sinks[i].way == EDGELM_POOLED)] = 1;
  const edgelm_stages* stages = c->run->plan.graph->stages;
  if (c->conv && (needs[FLOATS] || needs[POOLED_FLOATS])) finish_floats(c);
  for (int pass = SUMS; pass <= POOLED_FLOATS; ++pass) {
    if (!needs[pass]) continue;
    const void* values = pass == SUMS ? c->sums : pass == FLOATS ? c->floats : c->pooled;
    if (pass == POOLED_SUMS && c->conv->sum_bits == 16)
      stages->pool_sums16(c->sums, c->stride, c->conv->out_scale, c->channels, c->count / 4, c->pooled);
    if (pass == POOLED_SUMS && c->conv->sum_bits == 32)
      stages->pool_sums(c->sums, c->stride, c->conv->out_scale, c->channels, c->count / 4, c->pooled);
    if (pass == POOLED_FLOATS) stages->pool(c->floats, c->stride, c->channels, c->count / 4, c->pooled);
    for (int32_t i = 0; i < c->step->sinks; ++i) {
      const edgelm_sink* sink = &sinks[i];
      const int which = (uses_sums(c, sink) ? SUMS : FLOATS) + 2 * (sink->way == EDGELM_POOLED);
      if (which != pass || is_alias(c->run, sink)) continue;
      if (which == SUMS || which == POOLED_SUMS)
        write_signs_of_sums(c, sink, values);
      else if (sink->kind == EDGELM_SINK_LEVELS)
        write_levels(c, sink, values);
      else if (sink->kind == EDGELM_SINK_FLOATS)
        write_floats(c, sink, edgelm_place_floats(c->run, sink->value), values);
      else if (c->run->layout == EDGELM_NHWC)
        write_floats(c, sink, place_output(c->run, sink), values);
      else
        write_planes(c, sink, values);
    }
  }
}

void edgelm_sink_clear(const edgelm_run* run, const edgelm_step* step, int32_t first_row, int32_t end_row) {
  const edgelm_sink* sinks = run->plan.graph->sink + step->first_sink;
  for (int32_t i = 0; i < step->sinks; ++i) {
    const edgelm_sink* sink = &sinks[i];
    if (sink->kind != EDGELM_SINK_LEVELS || !sink->first || reader_of(run, sink)->kernel->gathers) continue;
    const edgelm_conv* conv = reader_of(run, sink);
    const edgelm_qconv_attrs* a = &conv->attrs;
    const edgelm_shape s = run->plan.shape[sink->value];
    const int32_t H = run->plan.shape[step->value].H;
    int32_t first = first_row, end = end_row;
    if (sink->way == EDGELM_UPSAMPLED) first *= 2, end *= 2;
    if (sink->way == EDGELM_POOLED) first /= 2, end /= 2;
    if (end_row == H) end = s.H;
    const int32_t width = a->pad_left + s.W + a->pad_right;
    const size_t row = (size_t)width * conv->pixel_bytes, left = a->pad_left * conv->pixel_bytes;
    const size_t right = a->pad_right * conv->pixel_bytes;
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
