/* From nodes to steps: which value is made by which step, who reads it in which form, and for how long.
 *
 * Floats are kept only of a value that somebody reads as floats; every other reader gets levels of its own, quantized
 * with its own affine by the step that makes the value.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "graph.h"

static int is_made(const edgelm_graph* graph, int32_t value) {
  if (value < graph->inputs) return 1;
  const int32_t op = graph->node[value - graph->inputs].op;
  return op == EDGELM_OP_CONV || op == EDGELM_OP_ADD;
}

/* Whether a pooling or upsampling is done by the step that makes its input. */
static int is_carried(const edgelm_graph* graph, const edgelm_node* node) {
  return (node->op == EDGELM_OP_POOL || node->op == EDGELM_OP_UP) && is_made(graph, node->x[0]);
}

static int reads_floats(const edgelm_graph* graph, const edgelm_node* node) {
  if (node->op == EDGELM_OP_CONV) return graph->conv[node->conv].kernel->element == 32;
  return !is_carried(graph, node);
}

static int32_t add_buffer(edgelm_graph* graph, edgelm_buffer_kind kind, int32_t value, int32_t node) {
  graph->buffer[graph->buffers] = (edgelm_buffer){kind, value, node, -1, -1, -1};
  return graph->buffers++;
}

static void add_buffers(edgelm_graph* graph) {
  for (int32_t v = 0; v < graph->values; ++v) graph->floats[v] = -1;
  for (int32_t n = 0, part = 0; n < graph->nodes; ++n) {
    const edgelm_node* node = &graph->node[n];
    const edgelm_conv* conv = node->op == EDGELM_OP_CONV ? &graph->conv[node->conv] : NULL;
    const int floats = reads_floats(graph, node);
    graph->first_part[n] = part;
    graph->image[n] = conv && !floats ? add_buffer(graph, EDGELM_IMAGE, -1, n) : -1;
    for (int32_t i = 0; i < node->count; ++i, ++part) {
      const int32_t v = node->x[i];
      if (floats && graph->floats[v] < 0) graph->floats[v] = add_buffer(graph, EDGELM_FLOATS, v, -1);
    }
    if (node->residual >= 0 && graph->floats[node->residual] < 0)
      graph->floats[node->residual] = add_buffer(graph, EDGELM_FLOATS, node->residual, -1);
  }
}

static void touch(edgelm_graph* graph, int32_t buffer, int32_t step) {
  if (buffer < 0) return;
  edgelm_buffer* b = &graph->buffer[buffer];
  if (b->from < 0) {
    b->from = step;
    b->next = graph->step[step].first_buffer;
    graph->step[step].first_buffer = buffer;
  }
  if (b->to < step) b->to = step;
}

static void add_sink(edgelm_graph* graph, edgelm_step* step, edgelm_sink sink) {
  const int32_t index = (int32_t)(step - graph->step);
  sink.first = sink.buffer >= 0 && graph->buffer[sink.buffer].from < 0;
  touch(graph, sink.buffer, index);
  if (sink.way == EDGELM_POOLED) step->pooled = 1;
  graph->sink[graph->sinks++] = sink;
  ++step->sinks;
}

/* Everybody who reads `value`, which `step` hands on in this way. */
static void add_sinks(edgelm_graph* graph, edgelm_step* step, int32_t value, edgelm_way way) {
  const edgelm_sink plain = {.kind = EDGELM_SINK_FLOATS,
                             .way = way,
                             .value = value,
                             .buffer = graph->floats[value],
                             .output = -1,
                             .node = -1,
                             .part = -1};
  edgelm_sink sink = plain;
  if (sink.buffer >= 0) add_sink(graph, step, sink);
  for (int32_t i = 0; i < graph->outputs; ++i) {
    if (graph->output_values[i] != value) continue;
    sink = plain;
    sink.kind = EDGELM_SINK_OUTPUT;
    sink.buffer = -1;
    sink.output = i;
    add_sink(graph, step, sink);
  }
  for (int32_t n = 0; n < graph->nodes; ++n) {
    const edgelm_node* node = &graph->node[n];
    if (node->op != EDGELM_OP_CONV || reads_floats(graph, node)) continue;
    for (int32_t i = 0; i < node->count; ++i) {
      if (node->x[i] != value) continue;
      sink = plain;
      sink.kind = EDGELM_SINK_LEVELS;
      sink.node = n;
      sink.part = graph->first_part[n] + i;
      sink.buffer = graph->image[n];
      add_sink(graph, step, sink);
    }
  }
}

static edgelm_step* add_step(edgelm_graph* graph, edgelm_step_kind kind, int32_t node, int32_t value) {
  edgelm_step* step = &graph->step[graph->steps++];
  *step = (edgelm_step){kind, node, value, 0, graph->sinks, 0, -1, 0, -1};
  return step;
}

static void add_carried(edgelm_graph* graph, edgelm_step* step) {
  add_sinks(graph, step, step->value, EDGELM_SAME);
  for (int32_t n = 0; n < graph->nodes; ++n) {
    const edgelm_node* node = &graph->node[n];
    if (!is_carried(graph, node) || node->x[0] != step->value) continue;
    add_sinks(graph, step, graph->inputs + n, node->op == EDGELM_OP_POOL ? EDGELM_POOLED : EDGELM_UPSAMPLED);
  }
}

static void add_node(edgelm_graph* graph, int32_t n) {
  const edgelm_node* node = &graph->node[n];
  if (is_carried(graph, node)) return;
  const int32_t index = graph->steps, made = graph->inputs + n;
  const int conv = node->op == EDGELM_OP_CONV;
  const int32_t value = conv || node->op == EDGELM_OP_ADD ? made : node->x[0];
  edgelm_step* step = add_step(graph, conv ? EDGELM_STEP_CONV : EDGELM_STEP_MOVE, n, value);
  for (int32_t i = 0; i < node->count; ++i) touch(graph, graph->floats[node->x[i]], index);
  if (node->op == EDGELM_OP_POOL || node->op == EDGELM_OP_UP) {
    add_sinks(graph, step, made, node->op == EDGELM_OP_POOL ? EDGELM_POOLED : EDGELM_UPSAMPLED);
    return;
  }
  if (node->residual >= 0) touch(graph, graph->floats[node->residual], index);
  touch(graph, graph->image[n], index);
  if (conv && (graph->conv[node->conv].kernel->expand || graph->conv[node->conv].squeezed)) {
    step->expanded = add_buffer(graph, EDGELM_EXPANDED, -1, n);
    touch(graph, step->expanded, index);
  }
  add_carried(graph, step);
}

/* Sums that go straight to signs need no floats; all such thresholds lie in one block. */
static int add_thresholds(edgelm_graph* graph) {
  size_t total = 0;
  for (int pass = 0; pass < 2; ++pass) {
    uint8_t* at = graph->thresholds;
    for (int32_t s = 0; s < graph->steps; ++s) {
      const edgelm_step* step = &graph->step[s];
      if (step->kind != EDGELM_STEP_CONV || graph->node[step->node].residual >= 0) continue;
      const edgelm_conv* maker = &graph->conv[graph->node[step->node].conv];
      const size_t width = edgelm_up(maker->attrs.out_channels, 32), bytes = width * 4 + width / 8;
      for (edgelm_sink* sink = graph->sink + step->first_sink; sink < graph->sink + step->first_sink + step->sinks;
           ++sink) {
        if (sink->kind != EDGELM_SINK_LEVELS) continue;
        const edgelm_node* reader = &graph->node[sink->node];
        int32_t channel = 0, known = 1;
        for (int32_t i = 0; i < sink->part - graph->first_part[sink->node]; ++i) {
          const int32_t v = reader->x[i];
          const int32_t channels =
              v < graph->inputs ? graph->input_channels[v] : graph->node[v - graph->inputs].channels;
          known = known && channels > 0;
          channel += channels;
        }
        const edgelm_conv* consumer = &graph->conv[reader->conv];
        if (!known || consumer->kind != EDGELM_B1 || consumer->planes != 1) continue;
        if (channel + maker->attrs.out_channels > consumer->attrs.in_channels) continue;
        total += pass ? 0 : bytes;
        if (!pass) continue;
        uint16_t* flip = (uint16_t*)(void*)(at + width * 4);
        if (edgelm_find_thresholds(maker, consumer, channel, at, flip)) sink->below = (edgelm_thresholds){at, flip};
        at += bytes;
      }
    }
    if (!pass && total && posix_memalign(&graph->thresholds, 64, total + EDGELM_SLACK)) {
      graph->thresholds = NULL;
      return -1;
    }
    if (!pass && total) memset(graph->thresholds, 0, total + EDGELM_SLACK);
  }
  return 0;
}

int edgelm_graph_make(edgelm_graph* graph) {
  const size_t V = (size_t)graph->values, N = (size_t)graph->nodes, parts = (size_t)graph->part_count;
  graph->step = calloc(V, sizeof *graph->step);
  graph->sink = calloc(parts + V + (size_t)graph->outputs, sizeof *graph->sink);
  graph->buffer = calloc(V + 2 * N, sizeof *graph->buffer);
  graph->floats = calloc(V, sizeof *graph->floats);
  graph->image = calloc(N, sizeof *graph->image);
  graph->first_part = calloc(N, sizeof *graph->first_part);
  if (!graph->step || !graph->sink || !graph->buffer || !graph->floats || !graph->image || !graph->first_part)
    return -1;
  add_buffers(graph);
  for (int32_t i = 0; i < graph->inputs; ++i) add_carried(graph, add_step(graph, EDGELM_STEP_LOAD, -1, i));
  for (int32_t n = 0; n < graph->nodes; ++n) add_node(graph, n);
  return edgelm_graph_order(graph) || add_thresholds(graph) ? -1 : 0;
}
