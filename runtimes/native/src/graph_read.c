/* Reading a program: words and data from outside become nodes and convolutions, or a sentence says what is wrong. The
 * format is defined by export/quant_graph.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

enum { MAX_INPUTS = 256, MAX_NODES = 1 << 12, MAX_OUTPUTS = 256, HEADER = 4 };
enum { ATTRIBUTES = sizeof(edgelm_qconv_attrs) / sizeof(int32_t), OLD_ATTRIBUTES = ATTRIBUTES - 1 }; /* no pad_value */
enum { RESIDUAL = 2, WEIGHT, WEIGHT_BYTES, IN_SCALE, IN_BIAS, OUT_SCALE, OUT_BIAS, ATTRS };

typedef struct reader {
  edgelm_graph* graph;
  const uint8_t* data;
  size_t bytes;
  const char* isa;
  char* error;
  size_t error_size;
} reader;

static int fail(const reader* r, int32_t node, const char* what) {
  if (node < 0)
    snprintf(r->error, r->error_size, "QuantGraph: %s; the file is damaged or of a newer version", what);
  else
    snprintf(r->error, r->error_size, "QuantGraph: node %d: %s; the file is damaged", node, what);
  return -1;
}

/* `count` floats at `offset` of the data; NULL data where the operand is absent. */
static int floats(const reader* r, int32_t index, int32_t offset, int32_t count, const float** out) {
  *out = NULL;
  if (offset == -1) return 0;
  const size_t size = (size_t)count * sizeof(float);
  if (offset < 0 || offset % 4 || size > r->bytes || (size_t)offset > r->bytes - size)
    return fail(r, index, "an operand lies outside the data");
  *out = (const float*)(const void*)(r->data + offset);
  return 0;
}

static int read_conv(const reader* r, int32_t index, const int32_t* words, int32_t count, edgelm_node* node) {
  edgelm_graph* graph = r->graph;
  edgelm_qconv_attrs attrs = {0};
  edgelm_operands operands;
  const int32_t given = graph->program[0] == 1 ? OLD_ATTRIBUTES : ATTRIBUTES, head = ATTRS + given;
  if (count <= head) return fail(r, index, "a convolution is cut short");
  memcpy(&attrs, words + ATTRS, (size_t)given * sizeof *words);
  const int32_t at = words[WEIGHT], size = words[WEIGHT_BYTES];
  if (at < 0 || at % 4 || size < 0 || (size_t)size > r->bytes || (size_t)at > r->bytes - size)
    return fail(r, index, "the weights lie outside the data");
  operands.weight = r->data + at;
  operands.weight_bytes = (size_t)size;
  /* Ranges of channels are checked before they size the operands. */
  if (edgelm_check(&attrs, operands.weight, operands.weight_bytes, r->error, r->error_size)) return -1;
  if (floats(r, index, words[IN_SCALE], attrs.in_channels, &operands.in_scale) ||
      floats(r, index, words[IN_BIAS], attrs.in_channels, &operands.in_bias) ||
      floats(r, index, words[OUT_SCALE], attrs.out_channels, &operands.out_scale) ||
      floats(r, index, words[OUT_BIAS], attrs.out_channels, &operands.out_bias))
    return -1;
  *node = (edgelm_node){EDGELM_OP_CONV, graph->convs, words[RESIDUAL], count - head, words + head, attrs.out_channels};
  return edgelm_conv_init(&graph->conv[graph->convs++], &attrs, &operands, r->isa, r->error, r->error_size);
}

static int32_t channels_of(const edgelm_graph* graph, int32_t value) {
  return value < graph->inputs ? graph->input_channels[value] : graph->node[value - graph->inputs].channels;
}

/* All values that a node reads exist before it; what is known of their channels fits. */
static int check_values(const reader* r, int32_t index, const edgelm_node* node) {
  const int32_t before = r->graph->inputs + index;
  int64_t sum = 0;
  int known = 1;
  for (int32_t i = 0; i < node->count; ++i) {
    if (node->x[i] < 0 || node->x[i] >= before) return fail(r, index, "it reads a value that is not made yet");
    const int32_t channels = channels_of(r->graph, node->x[i]);
    known = known && channels > 0;
    sum += channels;
  }
  if (node->residual < -1 || node->residual >= before)
    return fail(r, index, "its residual is a value that is not made yet");
  if (node->op == EDGELM_OP_CONV && known && sum != r->graph->conv[node->conv].attrs.in_channels)
    return fail(r, index, "the channels of its inputs do not add up to in_channels");
  return 0;
}

static int read_node(const reader* r, int32_t index, const int32_t* words, size_t left, int32_t* taken) {
  edgelm_graph* graph = r->graph;
  edgelm_node* node = &graph->node[index];
  if (left < 2 || words[1] < 3 || (size_t)words[1] > left) return fail(r, index, "it is cut short");
  *taken = words[1];
  const int32_t op = words[0], arguments = words[1] - 2;
  if (op == EDGELM_OP_CONV) {
    if (read_conv(r, index, words, words[1], node)) return -1;
  } else if (op == EDGELM_OP_POOL || op == EDGELM_OP_UP || op == EDGELM_OP_ADD) {
    if (arguments != (op == EDGELM_OP_ADD ? 2 : 1)) return fail(r, index, "it has a wrong number of inputs");
    *node = (edgelm_node){op, -1, -1, arguments, words + 2, -1};
  } else {
    return fail(r, index, "it is of an unknown kind");
  }
  if (check_values(r, index, node)) return -1;
  if (op != EDGELM_OP_CONV) node->channels = channels_of(graph, node->x[0]);
  return 0;
}

int edgelm_graph_read(edgelm_graph* graph, size_t words, const uint8_t* data, size_t bytes, const char* isa,
                      char* error, size_t error_size) {
  const reader r = {graph, data, bytes, isa, error, error_size};
  const int32_t* p = graph->program;
  if (words < HEADER) return fail(&r, -1, "the program is cut short");
  if (p[0] != 1 && p[0] != 2) return fail(&r, -1, "the program is not of version 1 or 2");
  if (p[1] < 1 || p[1] > MAX_INPUTS || p[2] < 1 || p[2] > MAX_NODES || p[3] < 1 || p[3] > MAX_OUTPUTS)
    return fail(&r, -1, "the program has no or too many inputs, nodes or outputs");
  if (words < (size_t)HEADER + p[1] + 3 * (size_t)p[2] + p[3]) return fail(&r, -1, "the program is cut short");
  graph->inputs = p[1];
  graph->nodes = p[2];
  graph->outputs = p[3];
  graph->values = graph->inputs + graph->nodes;
  graph->input_channels = p + HEADER;
  graph->node = calloc((size_t)graph->nodes, sizeof *graph->node);
  graph->conv = calloc((size_t)graph->nodes, sizeof *graph->conv);
  if (!graph->node || !graph->conv) {
    snprintf(error, error_size, "QuantGraph: out of memory");
    return -1;
  }
  for (int32_t i = 0; i < graph->inputs; ++i)
    if (graph->input_channels[i] != -1 && (graph->input_channels[i] < 1 || graph->input_channels[i] > 1 << 16))
      return fail(&r, -1, "an input has no or too many channels");
  size_t at = HEADER + (size_t)graph->inputs;
  for (int32_t i = 0; i < graph->nodes; ++i) {
    int32_t taken = 0;
    if (read_node(&r, i, p + at, words - at, &taken)) return -1;
    graph->part_count += graph->node[i].count;
    at += (size_t)taken;
  }
  if (words - at != (size_t)graph->outputs) return fail(&r, -1, "the program's length does not fit its nodes");
  graph->output_values = p + at;
  for (int32_t i = 0; i < graph->outputs; ++i)
    if (p[at + i] < 0 || p[at + i] >= graph->values) return fail(&r, -1, "an output is no value of the program");
  return 0;
}
