/* What becomes of a chunk of output pixels: floats, graph outputs, and levels for each convolution that reads them. */
#include <string.h>

#include "chunk.h"

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
static void spread(const edgelm_port* port, const edgelm_line* line, size_t bytes) {
  if (port->sink->way != EDGELM_UPSAMPLED) return;
  const edgelm_place to = port->to;
  uint8_t* from = line->at;
  for (size_t i = 0; i < line->count; ++i, from += line->step) {
    copy(from + to.pixel, from, bytes);
    copy(from + to.row, from, bytes);
    copy(from + to.row + to.pixel, from, bytes);
  }
}

static void set_bit(uint8_t* pixel, size_t word, size_t bit) { pixel[4 * word + bit / 8] |= (uint8_t)(1u << bit % 8); }

/* Bits that share bytes with other parts, or with masks: into an image that was cleared. */
static void put_bits(const edgelm_chunk* c, const edgelm_port* port, const float* values, size_t stride,
                     const edgelm_line* line) {
  const edgelm_quantizer* q = &port->quantizer;
  const size_t first = (size_t)c->run->plan.channel[port->sink->part];
  const size_t copies = port->sink->way == EDGELM_UPSAMPLED ? 4 : 1, planes = (size_t)port->reader->planes;
  for (size_t i = 0; i < line->count; ++i, values += stride) {
    for (size_t copy = 0; copy < copies; ++copy) {
      uint8_t* pixel = line->at + i * line->step + (copy & 1) * port->to.pixel + (copy >> 1) * port->to.row;
      for (size_t k = 0; k < c->channels; ++k) {
        const float v = edgelm_affine(values[k], q->scale[k], q->bias[k], q->relu);
        const size_t channel = first + k, word = channel / 32 * planes;
        if (edgelm_negative(v, q->sign_zero)) set_bit(pixel, word, channel % 32);
        if (planes == 2 && (q->sign_zero || v < 0.0f || v > 0.0f)) set_bit(pixel, word + 1, channel % 32);
      }
    }
  }
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

/* NCHW: channels lie far apart; pixels that are neighbours in a row go together. */
static void write_planes(const edgelm_chunk* c, const edgelm_port* port, const float* values, size_t stride,
                         const edgelm_line* line) {
  const edgelm_shape s = c->run->plan.shape[port->sink->value];
  const size_t plane = (size_t)s.H * s.W, copies = port->sink->way == EDGELM_UPSAMPLED ? 4 : 1;
  const size_t some = line->step == sizeof(float) ? line->count : 1;
  for (size_t i = 0; i < line->count; i += some) {
    for (size_t copy = 0; copy < copies; ++copy) {
      uint8_t* at = line->at + i * line->step + (copy & 1) * port->to.pixel + (copy >> 1) * port->to.row;
      c->run->plan.graph->stages->transpose(values + i * stride, stride, (float*)(void*)at, plane, some, (size_t)s.C);
    }
  }
}

static void write_signs_of_sums(const edgelm_chunk* c, const edgelm_port* port, const void* sums,
                                const edgelm_line* line) {
  const edgelm_stages* stages = c->conv->kernel->stages;
  const edgelm_thresholds* below = &port->sink->below;
  const size_t at = line->first * c->stride, stride = c->stride, n = c->channels;
  if (c->conv->sum_bits == 16)
    stages->thresholds16((const int16_t*)sums + at, stride, below, n, line->count, line->at, line->step);
  else
    stages->thresholds((const int32_t*)sums + at, stride, below, n, line->count, line->at, line->step);
}

static void write_line(const edgelm_chunk* c, const edgelm_port* port, const float* values, const edgelm_line* line) {
  const edgelm_quantizer* q = &port->quantizer;
  const size_t C = c->channels, stride = c->stride;
  const edgelm_stages* stages = port->reader ? port->reader->kernel->stages : NULL;
  values += line->first * c->stride;
  switch (port->form) {
    case EDGELM_FORM_LEVELS8:
      if (C < 16 && stride == C && line->step == C)
        write_runs(c, q, line, values, stages);
      else
        stages->levels8(values, stride, q, C, line->count, line->at, line->step);
      break;
    case EDGELM_FORM_LEVELS16:
      stages->levels16(values, stride, q, C, line->count, line->at, line->step);
      break;
    case EDGELM_FORM_SIGNS:
      stages->signs(values, stride, q, C, line->count, line->at, line->step);
      break;
    case EDGELM_FORM_MASKED_SIGNS:
      put_bits(c, port, values, stride, line);
      break;
    case EDGELM_FORM_PLANES:
      write_planes(c, port, values, stride, line);
      break;
    default:
      for (size_t i = 0; i < line->count; ++i)
        memcpy(line->at + i * line->step, values + i * stride, C * sizeof(float));
  }
}

/* Bytes that a pixel takes where it stands alone; 0 where upsampling was done on the way. */
static size_t pixel_bytes(const edgelm_chunk* c, const edgelm_port* port) {
  static const size_t bits[] = {[EDGELM_FORM_SIGNS_OF_SUMS] = 1, [EDGELM_FORM_SIGNS] = 1,   [EDGELM_FORM_LEVELS8] = 8,
                                [EDGELM_FORM_LEVELS16] = 16,     [EDGELM_FORM_FLOATS] = 32, [EDGELM_FORM_PLANES] = 0,
                                [EDGELM_FORM_MASKED_SIGNS] = 0};
  return (c->channels * bits[port->form] + 7) / 8;
}

static void write_port(edgelm_chunk* c, const edgelm_port* port, const void* values) {
  const size_t count = edgelm_chunk_lines(c, port->sink->way, port->to, c->line), bytes = pixel_bytes(c, port);
  for (const edgelm_line* line = c->line; line < c->line + count; ++line) {
    if (port->form == EDGELM_FORM_SIGNS_OF_SUMS)
      write_signs_of_sums(c, port, values, line);
    else
      write_line(c, port, values, line);
    if (bytes) spread(port, line, bytes);
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
      float* y = c->floats + (line->first + i) * c->stride;
      for (size_t k = 0; k < c->channels; ++k) y[k] += residual[k];
    }
  }
}

/* The largest of each square, span by span. */
static void pool(const edgelm_chunk* c, int source) {
  const edgelm_stages* stages = c->run->plan.graph->stages;
  const size_t sum_bytes = source == EDGELM_POOLED_SUMS ? (size_t)c->conv->sum_bits / 8 : sizeof(float);
  const uint8_t* from = source == EDGELM_POOLED_SUMS ? c->sums : (const uint8_t*)c->floats;
  uint8_t* to = c->pooled;
  for (const edgelm_span* s = c->span; s < c->span + c->spans; ++s) {
    const size_t squares = (size_t)s->count, bytes = squares * c->stride * sum_bytes;
    const void* rows = from;
    if (source == EDGELM_POOLED_VALUES)
      stages->pool(rows, c->stride, c->channels, squares, (void*)to);
    else if (c->conv->sum_bits == 16)
      stages->pool_sums16(rows, c->stride, c->conv->out_scale, c->channels, squares, (void*)to);
    else
      stages->pool_sums(rows, c->stride, c->conv->out_scale, c->channels, squares, (void*)to);
    from += 4 * bytes;
    to += bytes;
  }
}

/* Floats that nobody wants in another form are made where they are to lie. */
static int write_in_place(edgelm_chunk* c) {
  const edgelm_port* port = c->port;
  if (!c->conv || c->ports != 1 || port->form != EDGELM_FORM_FLOATS || port->sink->way != EDGELM_SAME) return 0;
  if (c->run->plan.graph->node[c->step->node].residual >= 0) return 0;
  const edgelm_conv* conv = c->conv;
  const size_t count = edgelm_chunk_lines(c, EDGELM_SAME, port->to, c->line);
  for (const edgelm_line* line = c->line; line < c->line + count; ++line)
    conv->kernel->stages->outputs((const uint8_t*)c->sums + line->first * c->stride * (size_t)conv->sum_bits / 8,
                                  c->stride, edgelm_sums_of(conv), conv->out_scale, conv->out_bias,
                                  conv->attrs.post_relu, c->channels, line->count, (float*)(void*)line->at,
                                  line->step / sizeof(float));
  return 1;
}

void edgelm_sink_chunk(edgelm_chunk* c) {
  if (write_in_place(c)) return;
  if (c->conv && (c->needs[EDGELM_VALUES] || c->needs[EDGELM_POOLED_VALUES])) finish_floats(c);
  for (int source = EDGELM_SUMS; source <= EDGELM_POOLED_VALUES; ++source) {
    if (!c->needs[source]) continue;
    const void* values = source == EDGELM_SUMS ? c->sums : source == EDGELM_VALUES ? c->floats : c->pooled;
    if (source >= EDGELM_POOLED_SUMS) pool(c, source);
    for (const edgelm_port* port = c->port; port < c->port + c->ports; ++port)
      if (port->source == source) write_port(c, port, values);
  }
}
