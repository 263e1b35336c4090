/* Which steps a step waits for: those that make what it reads, and those that must write to the same image before it.
 *
 * Memory that is used again is no reason to wait: graph_plan.c leaves EDGELM_AHEAD steps between two uses, and nobody
 * begins a step so far ahead of one that has not ended.
 */
#define _GNU_SOURCE
#include <stdlib.h>

#include "graph.h"

static void wait_for(edgelm_step* step, int32_t index, int32_t other) {
  const int32_t back = index - other - 1;
  if (other >= 0 && back < EDGELM_AHEAD) step->after |= 1u << back;
}

/* Parts may share bytes of the image where signs have masks, or where a part's channels are no whole number of bytes.
 */
static int shares_bytes(const edgelm_graph* graph, const edgelm_node* node) {
  const edgelm_conv* conv = &graph->conv[node->conv];
  if (conv->kernel->element != 1) return 0;
  for (int32_t i = 0; i < node->count; ++i) {
    const int32_t v = node->x[i];
    const int32_t C = v < graph->inputs ? graph->input_channels[v] : graph->node[v - graph->inputs].channels;
    if (C < 1 || C % 8) return 1;
  }
  return conv->planes == 2;
}

/* A buffer's writers: the first one clears its padding, so that the others follow; readers wait for all of them. */
typedef struct writers {
  int32_t first, last; /* steps, -1: none */
  int32_t chained;     /* 1: each waits for the one before */
} writers;

static void write_buffer(edgelm_graph* graph, writers* of, const edgelm_sink* sink, int32_t index) {
  if (sink->buffer < 0) return;
  writers* w = &of[sink->buffer];
  if (w->first < 0) {
    w->first = index;
    w->chained = sink->kind == EDGELM_SINK_LEVELS && shares_bytes(graph, &graph->node[sink->node]);
  }
  if (w->first != index) wait_for(&graph->step[index], index, w->chained && w->last != index ? w->last : w->first);
  w->last = index;
}

int edgelm_graph_order(edgelm_graph* graph) {
  writers* of = malloc((size_t)(graph->buffers + 1) * sizeof *of);
  int32_t* maker = malloc((size_t)(graph->values + 1) * sizeof *maker); /* the step that hands a value on */
  const int failed = !of || !maker;
  for (int32_t b = 0; !failed && b < graph->buffers; ++b) of[b] = (writers){-1, -1, 0};
  for (int32_t v = 0; !failed && v < graph->values; ++v) maker[v] = -1;
  for (int32_t s = 0; !failed && s < graph->steps; ++s) {
    edgelm_step* step = &graph->step[s];
    const edgelm_node* node = step->node >= 0 ? &graph->node[step->node] : NULL;
    for (int32_t i = 0; node && i < node->count; ++i) wait_for(step, s, maker[node->x[i]]);
    if (node && node->residual >= 0) wait_for(step, s, maker[node->residual]);
    maker[step->value] = s;
    for (const edgelm_sink* sink = graph->sink + step->first_sink; sink < graph->sink + step->first_sink + step->sinks;
         ++sink) {
      maker[sink->value] = s;
      write_buffer(graph, of, sink, s);
    }
  }
  free(of);
  free(maker);
  return failed ? -1 : 0;
}
