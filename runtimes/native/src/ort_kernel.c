/* One QuantConv2d or QuantGraph node of an ONNX graph, NCHW: reads attributes and constant operands once, when a
 * session is made, and leaves all arithmetic to edgelm_graph_*. But for its crew a kernel is read-only while it runs,
 * so one session may be run from many threads. Threads come from the session's own pool, scratch from its own
 * allocator.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ort_ops.h"

enum { ALIGNMENT = 64, MAX_RANK = 16, MAX_INPUTS = 255, MAX_OUTPUTS = 256 };

/* Operands of a QuantGraph. */
enum { PROGRAM, DATA, GRAPH_X };

static const char* const operands[OPERANDS] = {"weight",   "in_scale", "in_bias", "out_scale",
                                               "out_bias", "residual", "x"};

typedef struct kernel {
  OrtApi api;
  edgelm_graph* graph;
  OrtMemoryInfo* memory;
  edgelm_ort_crew crew;
  size_t first;     /* index of the first x */
  int32_t residual; /* its index, -1: none; the graph takes it behind all x */
} kernel;

OrtStatus* edgelm_ort_fail(OrtApi api, const char* sentence) {
  char message[512];
  snprintf(message, sizeof message, "edgelm: %s", sentence);
  return api[ORT_CREATE_STATUS].create_status(ORT_INVALID_ARGUMENT, message);
}

static OrtStatus* get_dims(OrtApi api, const OrtValue* value, int64_t* dims, size_t* rank) {
  OrtShape* shape = NULL;
  TRY(api[ORT_GET_SHAPE].get_shape(value, &shape));
  OrtStatus* status = api[ORT_GET_RANK].get_rank(shape, rank);
  if (!status)
    status = *rank > MAX_RANK
                 ? edgelm_ort_fail(api, "QuantConv2d: an operand has too many dimensions; export the model again")
                 : api[ORT_GET_DIMS].get_dims(shape, dims, *rank);
  api[ORT_RELEASE_SHAPE].release(shape);
  return status;
}

/* ---- when a session is made ---- */

static OrtStatus* read_attributes(OrtApi api, const OrtKernelInfo* info, edgelm_qconv_attrs* attrs) {
  int32_t values[ATTRIBUTES];
  for (int i = 0; i < ATTRIBUTES; ++i) {
    int64_t value = 0;
    OrtStatus* status = api[ORT_ATTRIBUTE_INT].attribute_int(info, edgelm_ort_attributes[i], &value);
    if (status && i < REQUIRED) return status;
    if (status) { /* files leave out what has its default, 0 */
      api[ORT_RELEASE_STATUS].release(status);
      value = 0;
    }
    if (value < INT32_MIN || value > INT32_MAX)
      return edgelm_ort_fail(api, "QuantConv2d: an attribute is out of range; export the model again");
    values[i] = (int32_t)value;
  }
  memcpy(attrs, values, sizeof values);
  return NULL;
}

/* An optional operand that the node leaves out has an empty name. */
static int is_given(OrtApi api, const OrtKernelInfo* info, size_t index) {
  size_t size = 0;
  OrtStatus* status = api[ORT_INFO_INPUT_NAME].info_name(info, index, NULL, &size);
  if (status) api[ORT_RELEASE_STATUS].release(status);
  return size > 1;
}

/* The data of a constant operand and how many elements it has; NULL data where an optional one is left out. */
static OrtStatus* read_constant(OrtApi api, const OrtKernelInfo* info, const char* name, size_t index,
                                const void** data, size_t* count) {
  char sentence[256];
  const OrtValue* value = NULL;
  int constant = 0;
  *data = NULL;
  *count = 0;
  if (!is_given(api, info, index)) return NULL;
  TRY(api[ORT_CONSTANT_INPUT].constant_input(info, index, &constant, &value));
  if (!constant || !value) {
    snprintf(sentence, sizeof sentence, "%s must be a constant initializer; export the model again", name);
    return edgelm_ort_fail(api, sentence);
  }
  int64_t dims[MAX_RANK];
  size_t rank = 0;
  TRY(get_dims(api, value, dims, &rank));
  *count = 1;
  for (size_t i = 0; i < rank; ++i) *count *= (size_t)dims[i];
  void* pointer = NULL;
  TRY(api[ORT_TENSOR_DATA].tensor_data((OrtValue*)value, &pointer)); /* reads only, whatever its name */
  *data = pointer;
  return NULL;
}

static OrtStatus* make_conv(OrtApi api, const OrtKernelInfo* info, kernel* self) {
  edgelm_qconv_attrs attrs;
  const void* data[RESIDUAL];
  size_t count[RESIDUAL];
  char sentence[400];
  TRY(read_attributes(api, info, &attrs));
  for (size_t i = 0; i < RESIDUAL; ++i) {
    TRY(read_constant(api, info, operands[i], i, &data[i], &count[i]));
    if (i == WEIGHT || !data[i]) continue;
    const int32_t expected = i < OUT_SCALE ? attrs.in_channels : attrs.out_channels;
    if (count[i] != (size_t)expected) {
      snprintf(sentence, sizeof sentence,
               "QuantConv2d: %s has %zu values, expected %" PRId32 "; export the model again", operands[i], count[i],
               expected);
      return edgelm_ort_fail(api, sentence);
    }
  }
  size_t inputs = 0;
  TRY(api[ORT_INFO_COUNT].info_count(info, &inputs));
  if (inputs <= X || inputs - X > MAX_INPUTS)
    return edgelm_ort_fail(api, "QuantConv2d: 1 to 255 tensors x are expected");
  self->first = X;
  self->residual = is_given(api, info, RESIDUAL) ? RESIDUAL : -1;
  self->graph =
      edgelm_graph_of_conv(&attrs, data[WEIGHT], count[WEIGHT], data[IN_SCALE], data[IN_BIAS], data[OUT_SCALE],
                           data[OUT_BIAS], (int32_t)(inputs - X), self->residual >= 0, NULL, sentence, sizeof sentence);
  return self->graph ? NULL : edgelm_ort_fail(api, sentence);
}

static OrtStatus* make_graph(OrtApi api, const OrtKernelInfo* info, kernel* self) {
  const void *program, *data;
  size_t words, bytes;
  char sentence[400];
  TRY(read_constant(api, info, "program", PROGRAM, &program, &words));
  TRY(read_constant(api, info, "data", DATA, &data, &bytes));
  self->first = GRAPH_X;
  self->residual = -1;
  self->graph = edgelm_graph_create(program, words, data, bytes, NULL, sentence, sizeof sentence);
  return self->graph ? NULL : edgelm_ort_fail(api, sentence);
}

void edgelm_ort_destroy(void* object) {
  kernel* self = object;
  if (self->memory) self->api[ORT_RELEASE_MEMORY_INFO].release(self->memory);
  edgelm_graph_free(self->graph);
  free(self);
}

static OrtStatus* create(OrtApi api, const OrtKernelInfo* info, void** out,
                         OrtStatus* (*make)(OrtApi, const OrtKernelInfo*, kernel*)) {
  kernel* self = calloc(1, sizeof *self);
  if (!self) return edgelm_ort_fail(api, "out of memory");
  self->api = api;
  OrtStatus* status = make(api, info, self);
  if (!status)
    status =
        api[ORT_CREATE_CPU_MEMORY_INFO].create_cpu_memory_info(ORT_ARENA_ALLOCATOR, ORT_MEM_DEFAULT, &self->memory);
  if (status) {
    edgelm_ort_destroy(self);
    return status;
  }
  *out = self;
  return NULL;
}

OrtStatus* edgelm_ort_create_conv(const OrtCustomOp* op, OrtApi api, const OrtKernelInfo* info, void** out) {
  (void)op;
  return create(api, info, out, make_conv);
}

OrtStatus* edgelm_ort_create_graph(const OrtCustomOp* op, OrtApi api, const OrtKernelInfo* info, void** out) {
  (void)op;
  return create(api, info, out, make_graph);
}

/* ---- each run ---- */

static OrtStatus* read_input(OrtApi api, const OrtKernelContext* context, size_t index, int64_t* N,
                             edgelm_tensor* out) {
  const OrtValue* value = NULL;
  int64_t dims[MAX_RANK];
  size_t rank = 0;
  void* data = NULL;
  TRY(api[ORT_INPUT].input(context, index, &value));
  if (!value) return edgelm_ort_fail(api, "an input tensor is missing");
  TRY(get_dims(api, value, dims, &rank));
  if (rank != RANK) return edgelm_ort_fail(api, "every input must be (N, C, H, W)");
  if (*N >= 0 && dims[0] != *N) return edgelm_ort_fail(api, "all inputs must have the same N");
  for (size_t i = 0; i < RANK; ++i)
    if (dims[i] > INT32_MAX) return edgelm_ort_fail(api, "an input is too large");
  TRY(api[ORT_TENSOR_DATA].tensor_data((OrtValue*)value, &data));
  *N = dims[0];
  *out = (edgelm_tensor){data, (int32_t)dims[1], (int32_t)dims[2], (int32_t)dims[3]};
  return NULL;
}

/* All x, then the residual. */
static OrtStatus* read_inputs(const kernel* self, const OrtKernelContext* context, size_t count, int64_t* N,
                              edgelm_tensor* inputs) {
  const size_t parts = count - self->first, all = parts + (self->residual >= 0);
  *N = -1;
  if (all != (size_t)edgelm_graph_input_count(self->graph))
    return edgelm_ort_fail(self->api, "the node has other inputs than it was made with; export the model again");
  for (size_t i = 0; i < parts; ++i) TRY(read_input(self->api, context, self->first + i, N, &inputs[i]));
  if (self->residual < 0) return NULL;
  return read_input(self->api, context, (size_t)self->residual, N, &inputs[parts]);
}

static OrtStatus* make_outputs(const kernel* self, OrtKernelContext* context, int64_t N, edgelm_tensor* outputs) {
  OrtApi api = self->api;
  for (int32_t i = 0; i < edgelm_graph_output_count(self->graph); ++i) {
    const int64_t dims[RANK] = {N, outputs[i].channels, outputs[i].height, outputs[i].width};
    OrtValue* value = NULL;
    void* data = NULL;
    TRY(api[ORT_OUTPUT].output(context, (size_t)i, dims, RANK, &value));
    if (N > 0) TRY(api[ORT_TENSOR_DATA].tensor_data(value, &data));
    outputs[i].data = data;
  }
  return NULL;
}

static OrtStatus* run_graph(kernel* self, OrtKernelContext* context, size_t count, OrtAllocator* allocator) {
  OrtApi api = self->api;
  edgelm_tensor inputs[MAX_INPUTS + 1], outputs[MAX_OUTPUTS];
  int64_t N = 0;
  size_t bytes = 0;
  char sentence[300];
  const int32_t threads = edgelm_ort_workers(&self->crew, api, context);
  TRY(read_inputs(self, context, count, &N, inputs));
  if (edgelm_graph_shape(self->graph, inputs, threads, outputs, &bytes, sentence, sizeof sentence))
    return edgelm_ort_fail(api, sentence);
  TRY(make_outputs(self, context, N, outputs));
  if (N == 0) return NULL;
  void* memory = NULL;
  TRY(api[ORT_ALLOC].alloc(allocator, bytes + ALIGNMENT, &memory));
  void* scratch = (void*)(((uintptr_t)memory + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1));
  edgelm_ort_jobs jobs = {api, context, NULL};
  const edgelm_parallel parallel = {edgelm_ort_run_jobs, &jobs, threads};
  const int code =
      edgelm_graph_run(self->graph, EDGELM_NCHW, (int32_t)N, inputs, outputs, scratch, threads > 1 ? &parallel : NULL);
  OrtStatus* freed = api[ORT_FREE].free(allocator, memory);
  if (freed && jobs.status) api[ORT_RELEASE_STATUS].release(freed);
  if (jobs.status) return jobs.status;
  if (freed) return freed;
  return code == 0 ? NULL : edgelm_ort_fail(api, "the inputs do not fit the graph");
}

OrtStatus* edgelm_ort_compute(void* object, OrtKernelContext* context) {
  kernel* self = object;
  OrtAllocator* allocator = NULL;
  size_t count = 0;
  TRY(self->api[ORT_INPUT_COUNT].input_count(context, &count));
  if (count <= self->first || count - self->first > MAX_INPUTS)
    return edgelm_ort_fail(self->api, "1 to 255 tensors x are expected");
  TRY(self->api[ORT_ALLOCATOR].allocator(context, self->memory, &allocator));
  OrtStatus* status = run_graph(self, context, count, allocator);
  self->api[ORT_RELEASE_ALLOCATOR].release(allocator);
  return status;
}
