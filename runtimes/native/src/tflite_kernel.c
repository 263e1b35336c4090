/* One QuantConv2d or QuantGraph node of a TFLite graph, NHWC: constants are read once, when the delegate is applied;
 * sizes whenever they change; all arithmetic is left to edgelm_graph_*. An interpreter may outlive its delegate: a
 * kernel holds the thread pool by reference and never touches the delegate afterwards.
 */
#define _GNU_SOURCE
#include "tflite_kernel.h"

#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "tflite_node.h"

/* Operands in the records' order; x repeats. -1 in a node: left out. */
enum { WEIGHT, IN_SCALE, IN_BIAS, OUT_SCALE, OUT_BIAS, RESIDUAL, X };
enum { PROGRAM, DATA, GRAPH_X };
enum { MAX_INPUTS = 255, MAX_OUTPUTS = 256 };

static const char* const operands[] = {"weight", "in_scale", "in_bias", "out_scale", "out_bias", "residual", "x"};

typedef struct kernel {
  edgelm_graph* graph;
  edgelm_pool* pool;
  int32_t threads;
  int scratch;         /* tensor index; -1: not made yet */
  int inputs, outputs; /* how many */
  int tensors[];       /* indices of the inputs (all x, then a residual), then of the outputs */
} kernel;

/* ---- when the delegate is applied ---- */

/* A per-channel operand, copied because a file may hold it unaligned. */
static TfStatus read_floats(TfContext* context, const TfInts* inputs, int operand, int32_t count, float** out) {
  const TfTensor* tensor;
  *out = NULL;
  if (edgelm_tflite_constant(context, inputs, operands[operand], operand, TF_FLOAT32, &tensor) != TF_OK)
    return TF_ERROR;
  if (!tensor) return TF_OK;
  if (tensor->bytes != (size_t)count * sizeof(float))
    FAIL(context, "%s has %d values, expected %d; export the model again", operands[operand],
         (int)(tensor->bytes / sizeof(float)), (int)count);
  *out = malloc(tensor->bytes);
  if (!*out) FAIL(context, "out of memory");
  memcpy(*out, tensor->data, tensor->bytes);
  return TF_OK;
}

static TfStatus make_conv(TfContext* context, const TfNode* node, kernel* self) {
  edgelm_qconv_attrs attrs = {0};
  const TfTensor* weight;
  float* floats[RESIDUAL] = {NULL};
  char sentence[400];
  const int most = (int)sizeof attrs, least = most - (int)sizeof attrs.pad_value;
  if ((node->custom_size != most && node->custom_size != least) || !node->custom_data)
    FAIL(context, "custom options have %d bytes, expected %d or %d; export the model again", node->custom_size, least,
         most);
  memcpy(&attrs, node->custom_data, (size_t)node->custom_size); /* little-endian, as every machine this runs on */
  TfStatus status = edgelm_tflite_constant(context, node->inputs, operands[WEIGHT], WEIGHT, TF_UINT8, &weight);
  if (status == TF_OK && !weight) FAIL(context, "weight is left out; export the model again");
  for (int i = IN_SCALE; i < RESIDUAL && status == TF_OK; ++i)
    status = read_floats(context, node->inputs, i, i < OUT_SCALE ? attrs.in_channels : attrs.out_channels, &floats[i]);
  if (status == TF_OK) {
    const int residual = node->inputs->data[RESIDUAL] >= 0;
    self->graph =
        edgelm_graph_of_conv(&attrs, weight->data, weight->bytes, floats[IN_SCALE], floats[IN_BIAS], floats[OUT_SCALE],
                             floats[OUT_BIAS], self->inputs - residual, residual, NULL, sentence, sizeof sentence);
    if (!self->graph) context->report_error(context, "edgelm: %s", sentence);
  }
  for (int i = IN_SCALE; i < RESIDUAL; ++i) free(floats[i]);
  return self->graph ? TF_OK : TF_ERROR;
}

static TfStatus make_graph(TfContext* context, const TfNode* node, kernel* self) {
  const TfTensor *program, *data;
  char sentence[400];
  if (edgelm_tflite_constant(context, node->inputs, "program", PROGRAM, TF_INT32, &program) != TF_OK ||
      edgelm_tflite_constant(context, node->inputs, "data", DATA, TF_UINT8, &data) != TF_OK)
    return TF_ERROR;
  if (!program || !data) FAIL(context, "program or data is left out; export the model again");
  int32_t* words = malloc(program->bytes + sizeof *words); /* a file may hold them unaligned */
  uint8_t* bytes = malloc(data->bytes + 1);
  if (words && bytes) {
    memcpy(words, program->data, program->bytes);
    memcpy(bytes, data->data, data->bytes);
    self->graph =
        edgelm_graph_create(words, program->bytes / sizeof *words, bytes, data->bytes, NULL, sentence, sizeof sentence);
    if (!self->graph) context->report_error(context, "edgelm: %s", sentence);
  } else {
    context->report_error(context, "edgelm: QuantGraph: out of memory");
  }
  free(words);
  free(bytes);
  return self->graph ? TF_OK : TF_ERROR;
}

static void kernel_free(TfContext* context, void* user_data) {
  (void)context;
  kernel* self = user_data;
  if (!self) return;
  edgelm_graph_free(self->graph);
  edgelm_pool_release(self->pool);
  free(self);
}

/* A kernel with its tensors' indices; `first` is the operand of the first x, `residual` an operand or -1. */
static kernel* take_tensors(TfContext* context, const TfNode* node, int first, int residual) {
  const int parts = node->inputs->size - first, outputs = node->outputs->size;
  if (parts < 1 || parts > MAX_INPUTS || outputs < 1 || outputs > MAX_OUTPUTS) {
    context->report_error(context, "edgelm: a node has %d inputs and %d outputs; export the model again",
                          node->inputs->size, outputs);
    return NULL;
  }
  const int given = residual >= 0 && node->inputs->data[residual] >= 0, inputs = parts + given;
  kernel* self = calloc(1, sizeof *self + (size_t)(inputs + outputs) * sizeof self->tensors[0]);
  if (!self) return NULL;
  self->scratch = -1;
  self->inputs = inputs;
  self->outputs = outputs;
  memcpy(self->tensors, &node->inputs->data[first], (size_t)parts * sizeof self->tensors[0]);
  if (given) self->tensors[parts] = node->inputs->data[residual];
  memcpy(self->tensors + inputs, node->outputs->data, (size_t)outputs * sizeof self->tensors[0]);
  return self;
}

/* NULL after an error: prepare sees it. */
static void* kernel_init(TfContext* context, const char* buffer, size_t length) {
  (void)length;
  const TfDelegateParams* params = (const TfDelegateParams*)buffer;
  TfNode* node;
  TfRegistration* registration;
  if (params->nodes->size != 1 || context->get_node(context, params->nodes->data[0], &node, &registration) != TF_OK)
    return NULL;
  const int is_graph = strcmp(registration->custom_name, EDGELM_TFLITE_GRAPH) == 0;
  kernel* self = take_tensors(context, node, is_graph ? GRAPH_X : X, is_graph ? -1 : RESIDUAL);
  if (!self) return NULL;
  if ((is_graph ? make_graph : make_conv)(context, node, self) != TF_OK) {
    kernel_free(context, self);
    return NULL;
  }
  if (edgelm_graph_input_count(self->graph) != self->inputs ||
      edgelm_graph_output_count(self->graph) != self->outputs) {
    context->report_error(context, "edgelm: a node does not fit its program; export the model again");
    kernel_free(context, self);
    return NULL;
  }
  self->pool = params->delegate->data;
  edgelm_pool_retain(self->pool);
  return self;
}

/* ---- whenever sizes change ---- */

static TfStatus read_inputs(TfContext* context, const kernel* self, int* N, edgelm_tensor* inputs) {
  *N = -1;
  for (int i = 0; i < self->inputs; ++i)
    if (edgelm_tflite_shape(context, self->tensors[i], N, &inputs[i]) != TF_OK) return TF_ERROR;
  return TF_OK;
}

static TfStatus kernel_prepare(TfContext* context, TfNode* node) {
  kernel* self = node->user_data;
  if (!self) return TF_ERROR; /* init said why */
  edgelm_tensor inputs[MAX_INPUTS + 1], outputs[MAX_OUTPUTS];
  char sentence[300];
  size_t bytes = 0;
  int N;
  if (read_inputs(context, self, &N, inputs) != TF_OK) return TF_ERROR;
  self->threads = edgelm_tflite_threads(context, self->pool);
  if (edgelm_graph_shape(self->graph, inputs, self->threads, outputs, &bytes, sentence, sizeof sentence))
    FAIL(context, "%s", sentence);
  if (edgelm_tflite_scratch(context, node, &self->scratch, bytes) != TF_OK) return TF_ERROR;
  for (int i = 0; i < self->outputs; ++i) {
    const int index = self->tensors[self->inputs + i];
    if (edgelm_tflite_resize(context, index, N, &outputs[i]) != TF_OK) return TF_ERROR;
  }
  return TF_OK;
}

static TfStatus kernel_invoke(TfContext* context, TfNode* node) {
  const kernel* self = node->user_data;
  edgelm_tensor inputs[MAX_INPUTS + 1], outputs[MAX_OUTPUTS];
  int N;
  if (read_inputs(context, self, &N, inputs) != TF_OK) return TF_ERROR;
  for (int i = 0; i < self->outputs; ++i)
    outputs[i] = (edgelm_tensor){context->tensors[self->tensors[self->inputs + i]].data, 0, 0, 0};
  void* scratch = edgelm_tflite_aligned(context, self->scratch);
  const edgelm_parallel parallel = {edgelm_pool_run, self->pool, self->threads};
  if (N > 0 && edgelm_graph_run(self->graph, EDGELM_NHWC, N, inputs, outputs, scratch,
                                self->threads > 1 ? &parallel : NULL) != 0)
    FAIL(context, "the inputs changed their sizes");
  return TF_OK;
}

static const char* kernel_profile(const TfContext* context, const TfNode* node) {
  (void)context;
  const kernel* self = node->user_data;
  return self ? "edgelm" : NULL;
}

const TfRegistration edgelm_tflite_kernel = {
    .init = kernel_init,
    .free = kernel_free,
    .prepare = kernel_prepare,
    .invoke = kernel_invoke,
    .profiling_string = kernel_profile,
    .custom_name = EDGELM_TFLITE_CONV,
    .version = 1,
};
