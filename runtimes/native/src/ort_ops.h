/* What the two files of the ONNX Runtime glue share: ort_kernel.c runs a node, ort_ops.c describes and registers the
 * ops, ort_threads.c brings workers.
 */
#ifndef EDGELM_ORT_OPS_H
#define EDGELM_ORT_OPS_H

#include <stdatomic.h>

#include "edgelm.h"
#include "ort_abi.h"

/* Operands of a QuantConv2d in the record's order; x repeats. */
enum { WEIGHT, IN_SCALE, IN_BIAS, OUT_SCALE, OUT_BIAS, RESIDUAL, X, OPERANDS };
enum { RANK = 4, ATTRIBUTES = sizeof(edgelm_qconv_attrs) / sizeof(int32_t), REQUIRED = ATTRIBUTES - 1 };

/* In the order of edgelm_qconv_attrs' fields, which are all int32. */
extern const char* const edgelm_ort_attributes[ATTRIBUTES];

/* Return from the enclosing function with the runtime's own status, if there is one. */
#define TRY(call)                      \
  do {                                 \
    OrtStatus* try_status = (call);    \
    if (try_status) return try_status; \
  } while (0)

OrtStatus* edgelm_ort_fail(OrtApi api, const char* sentence);
OrtStatus* edgelm_ort_create_conv(const OrtCustomOp* op, OrtApi api, const OrtKernelInfo* info, void** out);
OrtStatus* edgelm_ort_create_graph(const OrtCustomOp* op, OrtApi api, const OrtKernelInfo* info, void** out);
OrtStatus* edgelm_ort_compute(void* kernel, OrtKernelContext* context);
void edgelm_ort_destroy(void* kernel);

/* What is known of the session's pool; zero at first. */
typedef struct edgelm_ort_crew {
  atomic_int trials, several;
} edgelm_ort_crew;

/* How many workers to plan a run for. */
int32_t edgelm_ort_workers(edgelm_ort_crew* crew, OrtApi api, const OrtKernelContext* context);

/* The context of an edgelm_parallel whose `run` is edgelm_ort_run_jobs; `status`: what the runtime complained about. */
typedef struct edgelm_ort_jobs {
  OrtApi api;
  const OrtKernelContext* context;
  OrtStatus* status;
} edgelm_ort_jobs;
void edgelm_ort_run_jobs(const edgelm_parallel* self, void (*job)(void* user, size_t index), size_t total, void* user);

#endif
