/* Making, describing and freeing a graph; running it is graph_run.c. */
#define _GNU_SOURCE
#include "graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const edgelm_stages edgelm_stages_scalar;

static void set_stages(edgelm_graph* graph) {
  graph->stages = graph->convs ? graph->conv[0].kernel->stages : &edgelm_stages_scalar;
}

/* Counts the weights of a graph that begins (1) or ends (-1) to live. */
static void count_weights(const edgelm_graph* graph, int64_t sign) {
  for (int32_t i = 0; i < graph->convs; ++i) {
    const edgelm_conv* conv = &graph->conv[i];
    const edgelm_qconv_attrs* a = &conv->attrs;
    edgelm_count_weights(sign * a->kernel_h * a->kernel_w * a->in_channels * a->out_channels,
                         sign * (int64_t)(conv->panels * conv->panel_bytes));
  }
}

edgelm_graph* edgelm_graph_create(const int32_t* program, size_t words, const uint8_t* data, size_t bytes,
                                  const char* isa, char* error, size_t error_size) {
  edgelm_graph* graph = calloc(1, sizeof *graph);
  if (error_size) *error = 0;
  if (graph && words && words < SIZE_MAX / sizeof *program) graph->program = malloc(words * sizeof *program);
  if (graph && graph->program) {
    memcpy(graph->program, program, words * sizeof *program);
    if (!edgelm_graph_read(graph, words, data, bytes, isa, error, error_size)) {
      set_stages(graph);
      if (!edgelm_graph_make(graph)) {
        count_weights(graph, 1);
        graph->counted = 1;
        return graph;
      }
    }
  }
  if (error_size && !*error)
    snprintf(error, error_size, words ? "QuantGraph: out of memory" : "QuantGraph: the program is empty");
  edgelm_graph_free(graph);
  return NULL;
}

void edgelm_graph_free(edgelm_graph* graph) {
  if (!graph) return;
  if (graph->counted) count_weights(graph, -1);
  for (int32_t i = 0; graph->conv && i < graph->convs; ++i) edgelm_conv_clear(&graph->conv[i]);
  free(graph->program);
  free(graph->node);
  free(graph->conv);
  free(graph->step);
  free(graph->sink);
  free(graph->buffer);
  free(graph->floats);
  free(graph->image);
  free(graph->first_part);
  free(graph->thresholds);
  free(graph);
}

/* A program is data from outside; a single convolution becomes one, so that there is one way only. */
edgelm_graph* edgelm_graph_of_conv(const edgelm_qconv_attrs* attrs, const uint8_t* weight, size_t weight_bytes,
                                   const float* in_scale, const float* in_bias, const float* out_scale,
                                   const float* out_bias, int32_t parts, int32_t has_residual, const char* isa,
                                   char* error, size_t error_size) {
  enum { MAX_PARTS = 255, ATTRIBUTES = sizeof *attrs / sizeof(int32_t) };
  if (parts < 1 || parts > MAX_PARTS) {
    snprintf(error, error_size, "QuantConv2d: 1 to %d inputs are expected, got %d", MAX_PARTS, parts);
    return NULL;
  }
  if (edgelm_check(attrs, weight, weight_bytes, error, error_size)) return NULL;
  const float* operands[4] = {in_scale, in_bias, out_scale, out_bias};
  const size_t counts[4] = {attrs->in_channels, attrs->in_channels, attrs->out_channels, attrs->out_channels};
  size_t bytes = edgelm_up(weight_bytes, 4);
  int32_t offsets[4];
  for (int i = 0; i < 4; ++i) {
    offsets[i] = operands[i] ? (int32_t)bytes : -1;
    if (operands[i]) bytes += counts[i] * sizeof(float);
  }
  if (weight_bytes > INT32_MAX || bytes > INT32_MAX) {
    snprintf(error, error_size, "QuantConv2d: the weights are too large");
    return NULL;
  }
  uint8_t* data = malloc(bytes);
  const int32_t inputs = parts + (has_residual != 0);
  int32_t program[4 + MAX_PARTS + 1 + 9 + ATTRIBUTES + MAX_PARTS + 1], *p = program;
  if (!data) {
    snprintf(error, error_size, "QuantConv2d: out of memory");
    return NULL;
  }
  memcpy(data, weight, weight_bytes);
  for (int i = 0; i < 4; ++i)
    if (operands[i]) memcpy(data + offsets[i], operands[i], counts[i] * sizeof(float));
  const int32_t head[4] = {2, inputs, 1, 1};
  memcpy(p, head, sizeof head);
  p += 4;
  for (int32_t i = 0; i < inputs; ++i) *p++ = -1;
  const int32_t node[9] = {EDGELM_OP_CONV,
                           9 + ATTRIBUTES + parts,
                           has_residual ? parts : -1,
                           0,
                           (int32_t)weight_bytes,
                           offsets[0],
                           offsets[1],
                           offsets[2],
                           offsets[3]};
  memcpy(p, node, sizeof node);
  p += 9;
  memcpy(p, attrs, sizeof *attrs);
  p += ATTRIBUTES;
  for (int32_t i = 0; i < parts; ++i) *p++ = i;
  *p++ = inputs; /* the value of node 0 */
  edgelm_graph* graph = edgelm_graph_create(program, (size_t)(p - program), data, bytes, isa, error, error_size);
  free(data);
  return graph;
}

int32_t edgelm_graph_input_count(const edgelm_graph* graph) { return graph->inputs; }

int32_t edgelm_graph_output_count(const edgelm_graph* graph) { return graph->outputs; }

int edgelm_graph_shape(const edgelm_graph* graph, const edgelm_tensor* inputs, int32_t threads, edgelm_tensor* outputs,
                       size_t* scratch_bytes, char* error, size_t error_size) {
  edgelm_plan plan = {0};
  void* memory = NULL;
  if (posix_memalign(&memory, 64, edgelm_plan_bytes(graph))) {
    snprintf(error, error_size, "QuantGraph: out of memory");
    return -1;
  }
  const size_t bytes = edgelm_plan_make(&plan, graph, inputs, threads < 1 ? 1 : threads, memory, error, error_size);
  for (int32_t i = 0; bytes && i < graph->outputs; ++i) {
    const edgelm_shape s = plan.shape[graph->output_values[i]];
    outputs[i].channels = s.C;
    outputs[i].height = s.H;
    outputs[i].width = s.W;
  }
  free(memory);
  *scratch_bytes = bytes ? bytes + edgelm_run_bytes(graph) : 0;
  return bytes ? 0 : -1;
}

int32_t edgelm_graph_steps(const edgelm_graph* graph, edgelm_step_info* steps, int32_t count) {
  static const char* const names[] = {"load", "move", "conv"};
  for (int32_t s = 0; s < graph->steps && s < count; ++s) {
    const edgelm_step* step = &graph->step[s];
    steps[s] = (edgelm_step_info){names[step->kind], "", "", step->node, 0, 0, 0, 0.0};
    if (step->kind != EDGELM_STEP_CONV) continue;
    const edgelm_conv* conv = &graph->conv[graph->node[step->node].conv];
    const edgelm_qconv_attrs* a = &conv->attrs;
    steps[s].kind = edgelm_kind_names[conv->kind];
    steps[s].isa = conv->isa;
    steps[s].weight_count = (int64_t)a->kernel_h * a->kernel_w * a->in_channels * a->out_channels;
    steps[s].resident_bytes = (int64_t)(conv->panels * conv->panel_bytes);
  }
  return graph->steps;
}
