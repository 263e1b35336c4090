/* A graph: the program as it was read, and the steps that run it. graph_read.c reads and checks programs, graph_make.c
 * makes steps of them, graph_order.c says which
 * steps wait for which, graph_plan.c lays out memory for given sizes, graph_run.c runs the steps and step_run.c a step.
 *
 * A value is what an input or a node makes. Convolutions, inputs and sums are made by a step each; the pooling or
 * upsampling of such a value is only another way (`edgelm_way`) in which the same step hands it on.
 */
#ifndef EDGELM_GRAPH_H
#define EDGELM_GRAPH_H

#include "conv.h"
#include "stages.h"

enum { EDGELM_OP_CONV = 1, EDGELM_OP_POOL = 2, EDGELM_OP_UP = 3, EDGELM_OP_ADD = 4 };

typedef struct edgelm_node {
  int32_t op;
  int32_t conv;     /* index in graph->convs, else -1 */
  int32_t residual; /* value or -1 */
  int32_t count;    /* of x */
  const int32_t* x; /* values */
  int32_t channels; /* of its output; -1: unknown until run */
} edgelm_node;

typedef enum edgelm_way { EDGELM_SAME, EDGELM_POOLED, EDGELM_UPSAMPLED } edgelm_way;

/* Where a step writes: floats of a value, a graph's output, or levels of a part of a convolution's input. */
typedef enum edgelm_sink_kind { EDGELM_SINK_FLOATS, EDGELM_SINK_OUTPUT, EDGELM_SINK_LEVELS } edgelm_sink_kind;

typedef struct edgelm_sink {
  edgelm_sink_kind kind;
  edgelm_way way;
  int32_t value;           /* whose shape it has */
  int32_t buffer;          /* index; -1: an output */
  int32_t output;          /* index; -1: not one */
  int32_t node, part;      /* of levels: the convolution and which of its x */
  int32_t first;           /* 1: nobody wrote to the buffer before: clears its padding */
  edgelm_thresholds below; /* at NULL: none */
} edgelm_sink;

/* How many steps may begin, counted from the oldest that has not ended. Memory is not used again for as many steps. */
enum { EDGELM_AHEAD = 20 };

typedef enum edgelm_step_kind { EDGELM_STEP_LOAD, EDGELM_STEP_MOVE, EDGELM_STEP_CONV } edgelm_step_kind;

typedef struct edgelm_step {
  edgelm_step_kind kind;
  int32_t node;   /* -1: a load */
  int32_t value;  /* what it makes before any way; for a load or a move of one value, that value */
  int32_t pooled; /* 1: pixels go in squares of four, rows in pairs */
  int32_t first_sink, sinks;
  int32_t expanded; /* buffer or -1 */
  uint32_t after;   /* bit k: waits for the end of the step k + 1 before it; older ones than EDGELM_AHEAD have ended */
  int32_t first_buffer; /* head of the list of those that begin to live here; -1: none */
} edgelm_step;

/* Memory for a while: from the step that first writes it to the last that reads it. */
typedef enum edgelm_buffer_kind { EDGELM_FLOATS, EDGELM_IMAGE, EDGELM_EXPANDED } edgelm_buffer_kind;

typedef struct edgelm_buffer {
  edgelm_buffer_kind kind;
  int32_t value;    /* of floats */
  int32_t node;     /* image, expanded: the convolution that reads it */
  int32_t from, to; /* steps */
  int32_t next;     /* that begins to live at the same step; -1: none */
} edgelm_buffer;

struct edgelm_graph {
  int32_t inputs, nodes, outputs, values, convs, steps, sinks, buffers;
  int32_t* program; /* own copy: nodes' x and the outputs point into it */
  const int32_t* input_channels;
  const int32_t* output_values;
  edgelm_node* node;
  edgelm_conv* conv;
  edgelm_step* step;
  edgelm_sink* sink;
  edgelm_buffer* buffer;
  int32_t* floats;             /* (values) buffer of a value's floats, -1: none */
  int32_t* image;              /* (nodes) buffer of a convolution's dense image, -1: none */
  int32_t* first_part;         /* (nodes) the number of its first x among those of all nodes */
  int32_t part_count;          /* all of them */
  int32_t counted;             /* 1: its weights are among those of edgelm_graph_memory */
  void* thresholds;            /* one block for all sinks */
  const edgelm_stages* stages; /* for steps without a convolution */
};

typedef struct edgelm_shape {
  int32_t C, H, W;
} edgelm_shape;

/* What a step needs to know of the sizes at hand. */
typedef struct edgelm_step_plan {
  int32_t units, unit_rows; /* rows of output pixels, or pairs of them, and how many one job takes */
  int32_t jobs;
  int32_t strip; /* output columns that go together */
  float cost;    /* roughly, in microseconds */
  float rank;    /* with the costliest chain of steps that wait for it */
} edgelm_step_plan;

/* A run's view of its memory; made in scratch for each run. */
typedef struct edgelm_plan {
  const edgelm_graph* graph;
  edgelm_shape* shape;    /* (values) */
  size_t* offset;         /* (buffers) bytes from `memory` */
  edgelm_step_plan* step; /* (steps) */
  int32_t* channel;       /* (part_count) first channel of a part in its convolution's input */
  uint8_t* clear_all;     /* (nodes) 1: the image has gaps that nobody writes */
  uint8_t* memory;
  uint8_t* workers;
  size_t worker_bytes, memory_bytes;
} edgelm_plan;

/* One image of a run. */
typedef struct edgelm_run {
  edgelm_plan plan;
  edgelm_layout layout;
  const edgelm_tensor *inputs, *outputs;
  size_t batch;
} edgelm_run;

/* 1x1 without stride or padding: an output pixel sees one input pixel, and their order does not matter. */
static inline int edgelm_is_flat(const edgelm_conv* conv) {
  const edgelm_qconv_attrs* a = &conv->attrs;
  return a->kernel_h == 1 && a->kernel_w == 1 && a->stride_h == 1 && a->stride_w == 1 && !a->pad_top && !a->pad_left &&
         !a->pad_bottom && !a->pad_right;
}

/* graph_read.c: 0, or -1 and a sentence; the nodes and convolutions of a program. */
int edgelm_graph_read(edgelm_graph* graph, size_t words, const uint8_t* data, size_t bytes, const char* isa,
                      char* error, size_t error_size);

/* graph_make.c: 0, or -1 where memory is out. */
int edgelm_graph_make(edgelm_graph* graph);

/* graph_order.c: fills `after` of all steps; 0, or -1 where memory is out. */
int edgelm_graph_order(edgelm_graph* graph);

/* threshold.c: the sum below (or from) which a part of the consumer's input is negative, for each channel, in as
 * many bits as sums have; 0 where that is not one whole number. */
int edgelm_find_thresholds(const edgelm_conv* maker, const edgelm_conv* consumer, int32_t channel, void* at,
                           uint16_t* flip);

/* graph_plan.c: bytes of scratch, or 0 and a sentence. The plan itself lies at the beginning of scratch and takes at
 * most edgelm_plan_bytes; only that much is touched. */
size_t edgelm_plan_bytes(const edgelm_graph* graph);
/* graph_run.c: what a run keeps in scratch before the plan. */
size_t edgelm_run_bytes(const edgelm_graph* graph);
size_t edgelm_plan_make(edgelm_plan* plan, const edgelm_graph* graph, const edgelm_tensor* inputs, int32_t threads,
                        void* scratch, char* error, size_t error_size);

/* step_run.c: `count` jobs of a step, from `job` on; `worker`: memory of plan.worker_bytes. */
void edgelm_step_jobs(const edgelm_run* run, int32_t step, int32_t job, int32_t count, uint8_t* worker);
size_t edgelm_worker_bytes(const edgelm_conv* conv, int32_t channels, int32_t strip, const edgelm_step* step);
void edgelm_expand_job(const edgelm_run* run, int32_t step, int32_t job);

#endif
