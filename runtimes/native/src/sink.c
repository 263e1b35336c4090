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
static void spread(const edgelm_sink* sink, edgelm_place to, const edgelm_line* line, size_t bytes) {
  if (sink->way != EDGELM_UPSAMPLED) return;
  uint8_t* from = line->at;
  for (size_t i = 0; i < line->count; ++i, from += line->step) {
    copy(from + to.pixel, from, bytes);
    copy(from + to.row, from, bytes);
    copy(from + to.row + to.pixel, from, bytes);
  }
}

static void set_bit(uint8_t* pixel, size_t word, size_t bit) { pixel[4 * word + bit / 8] |= (uint8_t)(1u << bit % 8); }

/* Bits that share bytes with other parts, or with masks: into an image that was cleared. */
static void put_bits(const edgelm_run* run, const edgelm_sink* sink, const edgelm_quantizer* q, edgelm_place to,
                     const float* values, size_t stride, const edgelm_line* line) {
  const edgelm_conv* conv = reader_of(run, sink);
  const size_t C = (size_t)run->plan.shape[sink->value].C, first = (size_t)run->plan.channel[sink->part];
  const size_t copies = sink->way == EDGELM_UPSAMPLED ? 4 : 1, planes = (size_t)conv->planes;
  for (size_t i = 0; i < line->count; ++i, values += stride) {
    for (size_t copy = 0; copy < copies; ++copy) {
      uint8_t* pixel = line->at + i * line->step + (copy & 1) * to.pixel + (copy >> 1) * to.row;
      for (size_t c = 0; c < C; ++c) {
        const float v = edgelm_affine(values[c], q->scale[c], q->bias[c], q->relu);
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
static void write_runs(const edgelm_chunk* c, const edgelm_quantizer* given, const edgelm_line* line,
                       const float* values, const edgelm_stages* stages) {
  float scale[16 * 16], bias[16 * 16];
  const size_t C = c->channels, row = 16 * C, rows = line->count / 16;
  for (size_t i = 0; i < row; ++i) {
    scale[i] = given->scale[i % C];
    bias[i] = given->bias[i % C];
  }
  edgelm_quantizer q = *given;
  q.scale = scale;
  q.bias = bias;
  stages->levels8(values, row, &q, row, rows, line->at, row);
  stages->levels8(values + rows * row, row, &q, line->count % 16 * C, 1, line->at + rows * row, row);
}

static void write_levels(edgelm_chunk* c, const edgelm_sink* sink, const float* all) {
  const edgelm_conv* conv = reader_of(c->run, sink);
  const edgelm_stages* stages = conv->kernel->stages;
  const edgelm_quantizer q = quantizer_of(c->run, sink);
  const edgelm_place to = place_levels(c->run, sink);
  const size_t C = c->channels, count = edgelm_chunk_lines(c, sink->way, to, c->line);
  const int bits = conv->kernel->element == 1, owns = bits && owns_bytes(c->run, sink);
  for (const edgelm_line* line = c->line; line < c->line + count; ++line) {
    const float* values = all + line->first * c->stride;
    const size_t stride = line->every * c->stride;
    if (conv->kernel->element == 8 && C < 16 && stride == C && line->step == C)
      write_runs(c, &q, line, values, stages);
    else if (conv->kernel->element == 8)
      stages->levels8(values, stride, &q, C, line->count, line->at, line->step);
    else if (conv->kernel->element == 16)
      stages->levels16(values, stride, &q, C, line->count, line->at, line->step);
    else if (owns)
      stages->signs(values, stride, &q, C, line->count, line->at, line->step);
    else
      put_bits(c->run, sink, &q, to, values, stride, line);
    if (!bits || owns) spread(sink, to, line, bits ? (C + 7) / 8 : C * (size_t)conv->kernel->element / 8);
  }
}

static void write_signs_of_sums(edgelm_chunk* c, const edgelm_sink* sink, const void* sums) {
  const edgelm_place to = place_levels(c->run, sink);
  const edgelm_stages* stages = c->conv->kernel->stages;
  const size_t n = c->channels, count = edgelm_chunk_lines(c, sink->way, to, c->line);
  for (const edgelm_line* line = c->line; line < c->line + count; ++line) {
    const size_t at = line->first * c->stride, stride = line->every * c->stride;
    if (c->conv->sum_bits == 16)
      stages->thresholds16((const int16_t*)sums + at, stride, &sink->below, n, line->count, line->at, line->step);
    else
      stages->thresholds((const int32_t*)sums + at, stride, &sink->below, n, line->count, line->at, line->step);
    spread(sink, to, line, (n + 7) / 8);
  }
}

static void write_floats(edgelm_chunk* c, const edgelm_sink* sink, edgelm_place to, const float* values) {
  const size_t bytes = c->channels * sizeof(float), count = edgelm_chunk_lines(c, sink->way, to, c->line);
  for (const edgelm_line* line = c->line; line < c->line + count; ++line) {
    const float* from = values + line->first * c->stride;
    for (size_t i = 0; i < line->count; ++i, from += line->every * c->stride)
      memcpy(line->at + i * line->step, from, bytes);
    spread(sink, to, line, bytes);
  }
}

/* NCHW: channels lie far apart; pixels that are neighbours in a row go together. */
static void write_planes(edgelm_chunk* c, const edgelm_sink* sink, const float* values) {
  const edgelm_shape s = c->run->plan.shape[sink->value];
  const size_t plane = (size_t)s.H * s.W, copies = sink->way == EDGELM_UPSAMPLED ? 4 : 1;
  float* out = c->run->outputs[sink->output].data + c->run->batch * plane * s.C;
  const edgelm_place to = {(uint8_t*)out, sizeof(float), sizeof(float) * s.W};
  const size_t count = edgelm_chunk_lines(c, sink->way, to, c->line);
  for (const edgelm_line* line = c->line; line < c->line + count; ++line) {
    const size_t some = line->step == sizeof(float) ? line->count : 1, stride = line->every * c->stride;
    for (size_t i = 0; i < line->count; i += some) {
      for (size_t copy = 0; copy < copies; ++copy) {
        uint8_t* at = line->at + i * line->step + (copy & 1) * to.pixel + (copy >> 1) * to.row;
        c->run->plan.graph->stages->transpose(values + line->first * c->stride + i * stride, stride, (float*)(void*)at,
                                              plane, some, (size_t)s.C);
      }
    }
  }
}

/* y = sums, transformed, plus the residual. */
static void finish_floats(edgelm_chunk* c) {
  const edgelm_conv* conv = c->conv;
  const edgelm_node* node = &c->run->plan.graph->node[c->step->node];
  conv->kernel->stages->outputs(c->sums, c->stride, edgelm_sums_of(conv), conv->out_scale, conv->out_bias,
                                conv->attrs.post_relu, c->channels, c->count, c->floats, c->stride);
  if (node->residual < 0) return;
  const edgelm_place from = edgelm_place_floats(c->run, node->residual);
  const size_t count = edgelm_chunk_lines(c, EDGELM_SAME, from, c->line);
  for (const edgelm_line* line = c->line; line < c->line + count; ++line) {
    for (size_t i = 0; i < line->count; ++i) {
      const float* residual = (const float*)(const void*)(line->at + i * line->step);
      float* y = c->floats + (line->first + i * line->every) * c->stride;
      for (size_t k = 0; k < c->channels; ++k) y[k] += residual[k];
    }
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
