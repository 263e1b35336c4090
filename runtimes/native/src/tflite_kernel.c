/* One QuantConv2d node of a TFLite graph, NHWC: constants are read once, when the delegate is applied; sizes whenever
 * they change; all arithmetic is left to edgelm_qconv_*. An interpreter may outlive its delegate: a kernel holds the
 * thread pool by reference and never touches the delegate afterwards.
 */
#define _GNU_SOURCE
#include "tflite_kernel.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

/* Operands in the record's order; x repeats. -1 in a node: left out. */
enum { WEIGHT, IN_SCALE, IN_BIAS, OUT_SCALE, OUT_BIAS, RESIDUAL, X };
enum { ALIGNMENT = 64, RANK = 4, MAX_INPUTS = 256, MAX_THREADS = 64 };

static const char* const operands[] = {"weight", "in_scale", "in_bias", "out_scale", "out_bias", "residual", "x"};

typedef struct kernel {
  edgelm_qconv* conv;
  edgelm_pool* pool;
  int32_t in_channels, out_channels;
  int32_t threads;
  int output, residual; /* tensor indices */
  int count;            /* of x */
  int scratch;          /* tensor index; -1: not made yet */
  int x[];
} kernel;

/* ---- when the delegate is applied ---- */

static TfStatus read_constant(TfContext* context, const TfInts* inputs, int operand, int type, const TfTensor** out) {
  const int index = inputs->data[operand];
  *out = NULL;
  if (index < 0) return TF_OK;
  const TfTensor* tensor = &context->tensors[index];
  if (tensor->allocation != TF_MMAP_RO || !tensor->data)
    FAIL(context, "%s must be a constant; export the model again", operands[operand]);
  if (tensor->type != type) FAIL(context, "%s has tensor type %d, expected %d", operands[operand], tensor->type, type);
  *out = tensor;
  return TF_OK;
}

/* A per-channel operand, copied because a file may hold it unaligned. */
static TfStatus read_floats(TfContext* context, const TfInts* inputs, int operand, int32_t count, float** out) {
  const TfTensor* tensor;
  *out = NULL;
  if (read_constant(context, inputs, operand, TF_FLOAT32, &tensor) != TF_OK) return TF_ERROR;
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
  edgelm_qconv_attrs attrs;
  const TfTensor* weight;
  float* floats[RESIDUAL] = {NULL};
  char sentence[400];
  if (node->custom_size != (int)sizeof attrs || !node->custom_data)
    FAIL(context, "custom options have %d bytes, expected %d; export the model again", node->custom_size,
         (int)sizeof attrs);
  memcpy(&attrs, node->custom_data, sizeof attrs); /* little-endian, as every machine this runs on */
  TfStatus status = read_constant(context, node->inputs, WEIGHT, TF_UINT8, &weight);
  if (status == TF_OK && !weight) FAIL(context, "weight is left out; export the model again");
  for (int i = IN_SCALE; i < RESIDUAL && status == TF_OK; ++i)
    status = read_floats(context, node->inputs, i, i < OUT_SCALE ? attrs.in_channels : attrs.out_channels, &floats[i]);
  if (status == TF_OK) {
    self->in_channels = attrs.in_channels;
    self->out_channels = attrs.out_channels;
    self->conv = edgelm_qconv_create(&attrs, weight->data, weight->bytes, floats[IN_SCALE], floats[IN_BIAS],
                                     floats[OUT_SCALE], floats[OUT_BIAS], NULL, sentence, sizeof sentence);
    if (!self->conv) context->report_error(context, "edgelm: %s", sentence);
  }
  for (int i = IN_SCALE; i < RESIDUAL; ++i) free(floats[i]);
  return self->conv ? TF_OK : TF_ERROR;
}

static void kernel_free(TfContext* context, void* user_data) {
  (void)context;
  kernel* self = user_data;
  if (!self) return;
  edgelm_qconv_free(self->conv);
  edgelm_pool_release(self->pool);
  free(self);
}

/* NULL after an error: prepare sees it. */
static void* kernel_init(TfContext* context, const char* buffer, size_t length) {
  (void)length;
  const TfDelegateParams* params = (const TfDelegateParams*)buffer;
  TfNode* node;
  TfRegistration* registration;
  if (params->nodes->size != 1 || context->get_node(context, params->nodes->data[0], &node, &registration) != TF_OK)
    return NULL;
  const int count = node->inputs->size - X;
  if (count < 1 || count > MAX_INPUTS || node->outputs->size != 1) {
    context->report_error(context, "edgelm: QuantConv2d: %d inputs and %d outputs, expected 7 to %d and 1",
                          node->inputs->size, node->outputs->size, X + MAX_INPUTS);
    return NULL;
  }
  kernel* self = calloc(1, sizeof *self + (size_t)count * sizeof self->x[0]);
  if (!self) return NULL;
  self->output = node->outputs->data[0];
  self->residual = node->inputs->data[RESIDUAL];
  self->count = count;
  self->scratch = -1;
  memcpy(self->x, &node->inputs->data[X], (size_t)count * sizeof self->x[0]);
  if (make_conv(context, node, self) != TF_OK) {
    kernel_free(context, self);
    return NULL;
  }
  self->pool = params->delegate->data;
  edgelm_pool_retain(self->pool);
  return self;
}

/* ---- whenever sizes change ---- */

static TfInts* make_ints(int size) {
  TfInts* ints = malloc(sizeof *ints + (size_t)size * sizeof ints->data[0]);
  if (ints) ints->size = size;
  return ints;
}

static TfStatus check_input(TfContext* context, int index, const char* name, const int* like) {
  if (index < 0 || (size_t)index >= context->tensors_size) FAIL(context, "%s is left out", name);
  const TfTensor* tensor = &context->tensors[index];
  if (tensor->type != TF_FLOAT32 || !tensor->dims || tensor->dims->size != RANK)
    FAIL(context, "%s must be (N, H, W, C) float32; export the model again", name);
  if (tensor->allocation == TF_DYNAMIC) FAIL(context, "%s has no size before the model runs", name);
  for (int i = 0; like && i < RANK; ++i)
    if (like[i] >= 0 && tensor->dims->data[i] != like[i])
      FAIL(context, "%s has %d at dimension %d, expected %d", name, tensor->dims->data[i], i, like[i]);
  return TF_OK;
}

static TfStatus resize_scratch(TfContext* context, TfNode* node, kernel* self, int32_t H, int32_t W) {
  const size_t bytes = edgelm_qconv_scratch_bytes(self->conv, H, W, self->threads);
  if (bytes > INT_MAX - ALIGNMENT) FAIL(context, "an input of %dx%d px is too large", (int)W, (int)H);
  if (self->scratch < 0 && context->add_tensors(context, 1, &self->scratch) != TF_OK) return TF_ERROR;
  TfInts* temporaries = make_ints(1);
  TfInts* dims = make_ints(1);
  if (!temporaries || !dims) {
    free(temporaries);
    free(dims);
    FAIL(context, "out of memory");
  }
  free(node->temporaries); /* the runtime frees ours in the same way */
  node->temporaries = temporaries;
  temporaries->data[0] = self->scratch;
  TfTensor* tensor = &context->tensors[self->scratch];
  tensor->type = TF_UINT8;
  tensor->allocation = TF_ARENA;
  dims->data[0] = (int)bytes + ALIGNMENT;
  return context->resize_tensor(context, tensor, dims);
}

static TfStatus kernel_prepare(TfContext* context, TfNode* node) {
  kernel* self = node->user_data;
  if (!self) return TF_ERROR; /* init said why */
  if (check_input(context, self->x[0], "x", NULL) != TF_OK) return TF_ERROR;
  const int* first = context->tensors[self->x[0]].dims->data;
  const int32_t N = first[0], H = first[1], W = first[2];
  int64_t channels = 0;
  for (int i = 0; i < self->count; ++i) {
    const int like[RANK] = {N, H, W, -1};
    if (check_input(context, self->x[i], "x", like) != TF_OK) return TF_ERROR;
    channels += context->tensors[self->x[i]].dims->data[RANK - 1];
  }
  if (channels != self->in_channels)
    FAIL(context, "all x have %d channels, expected %d; export the model again", (int)channels, (int)self->in_channels);
  int32_t OH = 0, OW = 0;
  if (edgelm_qconv_out_size(self->conv, H, W, &OH, &OW) != 0)
    FAIL(context, "a padded input of %dx%d px is smaller than the kernel, or too large", (int)W, (int)H);
  const int out[RANK] = {N, OH, OW, self->out_channels};
  if (self->output < 0 || context->tensors[self->output].type != TF_FLOAT32)
    FAIL(context, "y must be float32; export the model again"); /* the engine makes room for what the file says */
  if (self->residual >= 0 && check_input(context, self->residual, "residual", out) != TF_OK) return TF_ERROR;

  const int threads = context->recommended_threads;
  self->threads = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
  if (self->threads > 1) edgelm_pool_grow(self->pool, self->threads);
  if (resize_scratch(context, node, self, H, W) != TF_OK) return TF_ERROR;
  TfInts* dims = make_ints(RANK);
  if (!dims) FAIL(context, "out of memory");
  memcpy(dims->data, out, sizeof out);
  return context->resize_tensor(context, &context->tensors[self->output], dims);
}

static TfStatus kernel_invoke(TfContext* context, TfNode* node) {
  const kernel* self = node->user_data;
  edgelm_input inputs[MAX_INPUTS];
  for (int i = 0; i < self->count; ++i) {
    const TfTensor* tensor = &context->tensors[self->x[i]];
    inputs[i].data = tensor->data;
    inputs[i].channels = tensor->dims->data[RANK - 1];
  }
  const int* first = context->tensors[self->x[0]].dims->data;
  const float* residual = self->residual < 0 ? NULL : context->tensors[self->residual].data;
  const uintptr_t memory = (uintptr_t)context->tensors[self->scratch].data;
  void* scratch = (void*)((memory + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1));
  const edgelm_parallel parallel = {edgelm_pool_run, self->pool, self->threads};
  if (first[0] > 0 &&
      edgelm_qconv_run(self->conv, EDGELM_NHWC, first[0], first[1], first[2], inputs, self->count, residual,
                       context->tensors[self->output].data, scratch, self->threads > 1 ? &parallel : NULL) != 0)
    FAIL(context, "the inputs changed their sizes");
  return TF_OK;
}

static const char* kernel_profile(const TfContext* context, const TfNode* node) {
  (void)context;
  const kernel* self = node->user_data;
  return self ? edgelm_qconv_isa(self->conv) : NULL;
}

const TfRegistration edgelm_tflite_kernel = {
    .init = kernel_init,
    .free = kernel_free,
    .prepare = kernel_prepare,
    .invoke = kernel_invoke,
    .profiling_string = kernel_profile,
    .custom_name = EDGELM_TFLITE_OP,
    .version = 1,
};
