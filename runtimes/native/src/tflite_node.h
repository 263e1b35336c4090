/* What every kernel of the TFLite glue does with its node; a failure has been reported to the engine. */
#ifndef EDGELM_TFLITE_NODE_H
#define EDGELM_TFLITE_NODE_H

#include "pool.h"
#include "tflite_kernel.h"

/* A constant operand of this tensor type, NULL where it is left out. A file may hold its data unaligned. */
TfStatus edgelm_tflite_constant(TfContext* context, const TfInts* inputs, const char* name, int operand, int type,
                                const TfTensor** out);

/* The shape and data of an input; all inputs have one N, which is -1 before the first. */
TfStatus edgelm_tflite_shape(TfContext* context, int index, int* N, edgelm_tensor* out);

/* Gives an output its size, unless it is no float32. */
TfStatus edgelm_tflite_resize(TfContext* context, int index, int N, const edgelm_tensor* shape);

/* Makes the node's scratch tensor, whose index is -1 before, large enough; edgelm_tflite_aligned says where it lies. */
TfStatus edgelm_tflite_scratch(TfContext* context, TfNode* node, int* index, size_t bytes);
void* edgelm_tflite_aligned(const TfContext* context, int index);

/* How many threads the engine wants, once the pool has them. */
int32_t edgelm_tflite_threads(const TfContext* context, edgelm_pool* pool);

#endif
