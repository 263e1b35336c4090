/* One DeformConv2d node of a TFLite graph, NHWC: constants are read when the delegate is applied, sizes whenever they
 * change; all arithmetic is left to edgelm_deform_*.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "tflite_node.h"

/* Operands in the record's order. */
enum { WEIGHT, BIAS, OFFSET, X, OPERANDS };

typedef struct kernel {
  edgelm_deform* deform;
  edgelm_pool* pool;
  int32_t threads;
  int scratch; /* tensor index; -1: not made yet */
  int x, offset, y;
} kernel;

static void deform_free(TfContext* context, void* user_data) {
  (void)context;
  kernel* self = user_data;
  if (!self) return;
  edgelm_deform_free(self->deform);
  edgelm_pool_release(self->pool);
  free(self);
}

static TfStatus make(TfContext* context, const TfNode* node, kernel* self) {
  edgelm_deform_attrs attrs;
  const TfTensor *weight, *bias;
  char sentence[300];
  if (node->inputs->size != OPERANDS || node->outputs->size != 1)
    FAIL(context, "a DeformConv2d has %d inputs and %d outputs; export the model again", node->inputs->size,
         node->outputs->size);
  if (node->custom_size != (int)sizeof attrs || !node->custom_data)
    FAIL(context, "custom options have %d bytes, expected %d; export the model again", node->custom_size,
         (int)sizeof attrs);
  memcpy(&attrs, node->custom_data, sizeof attrs); /* little-endian, as every machine this runs on */
  if (edgelm_tflite_constant(context, node->inputs, "weight", WEIGHT, TF_FLOAT32, &weight) != TF_OK ||
      edgelm_tflite_constant(context, node->inputs, "bias", BIAS, TF_FLOAT32, &bias) != TF_OK)
    return TF_ERROR;
  if (!weight) FAIL(context, "weight is left out; export the model again");
  if (bias && (attrs.out_channels < 1 || bias->bytes != (size_t)attrs.out_channels * sizeof(float)))
    FAIL(context, "bias has %d values, expected %d; export the model again", (int)(bias->bytes / sizeof(float)),
         attrs.out_channels);
  float* floats = malloc(weight->bytes + (bias ? bias->bytes : 0) + 1); /* a file may hold them unaligned */
  if (!floats) FAIL(context, "out of memory");
  const size_t weights = weight->bytes / sizeof *floats;
  memcpy(floats, weight->data, weights * sizeof *floats);
  if (bias) memcpy(floats + weights, bias->data, bias->bytes);
  self->deform =
      edgelm_deform_create(&attrs, floats, weights, bias ? floats + weights : NULL, NULL, sentence, sizeof sentence);
  free(floats);
  if (!self->deform) FAIL(context, "%s", sentence);
  return TF_OK;
}

/* NULL after an error: prepare sees it. */
static void* deform_init(TfContext* context, const char* buffer, size_t length) {
  (void)length;
  const TfDelegateParams* params = (const TfDelegateParams*)buffer;
  TfNode* node;
  TfRegistration* registration;
  if (params->nodes->size != 1 || context->get_node(context, params->nodes->data[0], &node, &registration) != TF_OK)
    return NULL;
  kernel* self = calloc(1, sizeof *self);
  if (!self) return NULL;
  if (make(context, node, self) != TF_OK) {
    free(self);
    return NULL;
  }
  self->scratch = -1;
  self->offset = node->inputs->data[OFFSET];
  self->x = node->inputs->data[X];
  self->y = node->outputs->data[0];
  self->pool = params->delegate->data;
  edgelm_pool_retain(self->pool);
  return self;
}

static TfStatus read_inputs(TfContext* context, const kernel* self, int* N, edgelm_tensor* x, edgelm_tensor* offset) {
  *N = -1;
  if (edgelm_tflite_shape(context, self->x, N, x) != TF_OK) return TF_ERROR;
  return edgelm_tflite_shape(context, self->offset, N, offset);
}

static TfStatus deform_prepare(TfContext* context, TfNode* node) {
  kernel* self = node->user_data;
  edgelm_tensor x, offset, y = {NULL, 0, 0, 0};
  char sentence[300];
  size_t bytes;
  int N;
  if (!self) return TF_ERROR; /* init said why */
  if (read_inputs(context, self, &N, &x, &offset) != TF_OK) return TF_ERROR;
  self->threads = edgelm_tflite_threads(context, self->pool);
  if (edgelm_deform_shape(self->deform, &x, &offset, self->threads, &y, &bytes, sentence, sizeof sentence))
    FAIL(context, "%s", sentence);
  if (edgelm_tflite_scratch(context, node, &self->scratch, bytes) != TF_OK) return TF_ERROR;
  return edgelm_tflite_resize(context, self->y, N, &y);
}

static TfStatus deform_invoke(TfContext* context, TfNode* node) {
  const kernel* self = node->user_data;
  edgelm_tensor x, offset, y = {context->tensors[self->y].data, 0, 0, 0};
  int N;
  if (read_inputs(context, self, &N, &x, &offset) != TF_OK) return TF_ERROR;
  const edgelm_parallel parallel = {edgelm_pool_run, self->pool, self->threads};
  if (N > 0 && edgelm_deform_run(self->deform, N, &x, &offset, &y, edgelm_tflite_aligned(context, self->scratch),
                                 self->threads > 1 ? &parallel : NULL) != 0)
    FAIL(context, "the inputs changed their sizes");
  return TF_OK;
}

static const char* deform_profile(const TfContext* context, const TfNode* node) {
  (void)context;
  return node->user_data ? "edgelm" : NULL;
}

const TfRegistration edgelm_tflite_deform = {
    .init = deform_init,
    .free = deform_free,
    .prepare = deform_prepare,
    .invoke = deform_invoke,
    .profiling_string = deform_profile,
    .custom_name = EDGELM_TFLITE_DEFORM,
    .version = 1,
};
