/* What every kernel of the TFLite glue does with its node: constants and shapes in, sizes of outputs and scratch out.
 */
#define _GNU_SOURCE
#include "tflite_node.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, RANK = 4, MAX_THREADS = 64 };

TfStatus edgelm_tflite_constant(TfContext* context, const TfInts* inputs, const char* name, int operand, int type,
                                const TfTensor** out) {
  const int index = inputs->data[operand];
  *out = NULL;
  if (index < 0) return TF_OK;
  const TfTensor* tensor = &context->tensors[index];
  if (tensor->allocation != TF_MMAP_RO || !tensor->data)
    FAIL(context, "%s must be a constant; export the model again", name);
  if (tensor->type != type) FAIL(context, "%s has tensor type %d, expected %d", name, tensor->type, type);
  *out = tensor;
  return TF_OK;
}

static TfInts* make_ints(int size) {
  TfInts* ints = malloc(sizeof *ints + (size_t)size * sizeof ints->data[0]);
  if (ints) ints->size = size;
  return ints;
}

TfStatus edgelm_tflite_shape(TfContext* context, int index, int* N, edgelm_tensor* out) {
  if (index < 0 || (size_t)index >= context->tensors_size) FAIL(context, "an input is left out");
  const TfTensor* tensor = &context->tensors[index];
  if (tensor->type != TF_FLOAT32 || !tensor->dims || tensor->dims->size != RANK)
    FAIL(context, "every input must be (N, H, W, C) float32; export the model again");
  if (tensor->allocation == TF_DYNAMIC) FAIL(context, "an input has no size before the model runs");
  const int* dims = tensor->dims->data;
  if (*N >= 0 && dims[0] != *N) FAIL(context, "inputs have %d and %d images", *N, dims[0]);
  *N = dims[0];
  *out = (edgelm_tensor){tensor->data, dims[3], dims[1], dims[2]};
  return TF_OK;
}

TfStatus edgelm_tflite_scratch(TfContext* context, TfNode* node, int* index, size_t bytes) {
  if (bytes > INT_MAX - ALIGNMENT) FAIL(context, "an input is too large");
  if (*index < 0 && context->add_tensors(context, 1, index) != TF_OK) return TF_ERROR;
  TfInts* temporaries = make_ints(1);
  TfInts* dims = make_ints(1);
  if (!temporaries || !dims) {
    free(temporaries);
    free(dims);
    FAIL(context, "out of memory");
  }
  free(node->temporaries); /* the runtime frees ours in the same way */
  node->temporaries = temporaries;
  temporaries->data[0] = *index;
  TfTensor* tensor = &context->tensors[*index];
  tensor->type = TF_UINT8;
  tensor->allocation = TF_ARENA;
  dims->data[0] = (int)bytes + ALIGNMENT;
  return context->resize_tensor(context, tensor, dims);
}

TfStatus edgelm_tflite_resize(TfContext* context, int index, int N, const edgelm_tensor* shape) {
  if (index < 0 || (size_t)index >= context->tensors_size || context->tensors[index].type != TF_FLOAT32)
    FAIL(context, "y must be float32; export the model again"); /* the engine makes room for what the file says */
  TfInts* dims = make_ints(RANK);
  if (!dims) FAIL(context, "out of memory");
  const int out[RANK] = {N, shape->height, shape->width, shape->channels};
  memcpy(dims->data, out, sizeof out);
  return context->resize_tensor(context, &context->tensors[index], dims);
}

void* edgelm_tflite_aligned(const TfContext* context, int index) {
  const uintptr_t memory = (uintptr_t)context->tensors[index].data;
  return (void*)((memory + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1));
}

int32_t edgelm_tflite_threads(const TfContext* context, edgelm_pool* pool) {
  const int wanted = context->recommended_threads, threads = wanted > MAX_THREADS ? MAX_THREADS : wanted;
  if (threads < 2) return 1;
  edgelm_pool_grow(pool, threads);
  return threads;
}
