/* What the files of the TFLite glue share: tflite_kernel.c and tflite_deform.c run a node, tflite_delegate.c finds the
 * nodes. */
#ifndef EDGELM_TFLITE_KERNEL_H
#define EDGELM_TFLITE_KERNEL_H

#include "edgelm.h"
#include "tflite_abi.h"

#define EDGELM_TFLITE_CONV "edgelm.QuantConv2d"
#define EDGELM_TFLITE_GRAPH "edgelm.QuantGraph"
#define EDGELM_TFLITE_DEFORM "edgelm.DeformConv2d"

#define FAIL(context, ...)                                      \
  do {                                                          \
    (context)->report_error((context), "edgelm: " __VA_ARGS__); \
    return TF_ERROR;                                            \
  } while (0)

/* Expects an edgelm_pool as the delegate's data, and one node for each kernel. */
extern const TfRegistration edgelm_tflite_kernel, edgelm_tflite_deform;

#endif
