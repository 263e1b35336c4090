/* One QuantConv2d node of an ONNX graph, NCHW: reads attributes and constant operands once, when a session is made, and
 * leaves all arithmetic to edgelm_qconv_*. A kernel is read-only while it runs, so one session may be run from many
 * threads. Threads come from the session's own pool, scratch from its own allocator.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ort_ops.h"

enum { ALIGNMENT = 64, MAX_RANK = 16, MAX_INPUTS = 256, MAX_THREADS = 16 };

static const char* const operands[OPERANDS] = {"weight",   "in_scale", "in_bias", "out_scale",
                                               "out_bias", "residual", "x"};

typedef struct kernel {
  OrtApi api;
  edgelm_qconv* conv;
  OrtMemoryInfo* memory;
  int32_t threads;
  int32_t out_channels;
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
    TRY(api[ORT_ATTRIBUTE_INT].attribute_int(info, edgelm_ort_attributes[i], &value));
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
static OrtStatus* read_constant(OrtApi api, const OrtKernelInfo* info, size_t index, const void** data, size_t* count) {
  char sentence[256];
  const OrtValue* value = NULL;
  int constant = 0;
  *data = NULL;
  *count = 0;
  if (!is_given(api, info, index)) return NULL;
  TRY(api[ORT_CONSTANT_INPUT].constant_input(info, index, &constant, &value));
  if (!constant || !value) {
    snprintf(sentence, sizeof sentence, "QuantConv2d: %s must be a constant initializer; export the model again",
             operands[index]);
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
    TRY(read_constant(api, info, i, &data[i], &count[i]));
    if (i == WEIGHT || !data[i]) continue;
    const int32_t expected = i < OUT_SCALE ? attrs.in_channels : attrs.out_channels;
    if (count[i] != (size_t)expected) {
      snprintf(sentence, sizeof sentence,
               "QuantConv2d: %s has %zu values, expected %" PRId32 "; export the model again", operands[i], count[i],
               expected);
      return edgelm_ort_fail(api, sentence);
    }
  }
  self->conv = edgelm_qconv_create(&attrs, data[WEIGHT], count[WEIGHT], data[IN_SCALE], data[IN_BIAS], data[OUT_SCALE],
                                   data[OUT_BIAS], NULL, sentence, sizeof sentence);
  if (!self->conv) return edgelm_ort_fail(api, sentence);
  self->out_channels = attrs.out_channels;
  return api[ORT_CREATE_CPU_MEMORY_INFO].create_cpu_memory_info(ORT_ARENA_ALLOCATOR, ORT_MEM_DEFAULT, &self->memory);
}

void edgelm_ort_destroy(void* object) {
  kernel* self = object;
  if (self->memory) self->api[ORT_RELEASE_MEMORY_INFO].release(self->memory);
  edgelm_qconv_free(self->conv);
  free(self);
}

OrtStatus* edgelm_ort_create(const OrtCustomOp* op, OrtApi api, const OrtKernelInfo* info, void** out) {
  (void)op;
  kernel* self = calloc(1, sizeof *self);
  if (!self) return edgelm_ort_fail(api, "out of memory");
  /* The runtime does not tell a custom op how many threads its pool has; this is only a hint for cutting the work. */
  const long processors = sysconf(_SC_NPROCESSORS_ONLN);
  self->api = api;
  self->threads = processors < 1 ? 1 : processors > MAX_THREADS ? MAX_THREADS : (int32_t)processors;
  OrtStatus* status = make_conv(api, info, self);
  if (status) {
    edgelm_ort_destroy(self);
    return status;
  }
  *out = self;
  return NULL;
}

/* ---- each run ---- */

typedef struct job_context {
  OrtApi api;
  const OrtKernelContext* context;
  OrtStatus* status;
} job_context;

static void run_jobs(const edgelm_parallel* self, void (*job)(void* user, size_t index), size_t total, void* user) {
  job_context* c = self->context;
  OrtStatus* status = c->api[ORT_PARALLEL_FOR].parallel_for(c->context, job, total, 0, user);
  if (status && c->status) c->api[ORT_RELEASE_STATUS].release(status);
  if (status && !c->status) c->status = status;
}

/* Pointers and channels of all x; N, H and W must be the same for each. */
static OrtStatus* read_inputs(OrtApi api, const OrtKernelContext* context, size_t count, edgelm_input* inputs,
                              int64_t first[RANK]) {
  for (size_t i = 0; i < count; ++i) {
    const OrtValue* value = NULL;
    int64_t dims[MAX_RANK];
    size_t rank = 0;
    void* data = NULL;
    TRY(api[ORT_INPUT].input(context, X + i, &value));
    if (!value) return edgelm_ort_fail(api, "QuantConv2d: an input tensor is missing");
    TRY(get_dims(api, value, dims, &rank));
    if (rank != RANK) return edgelm_ort_fail(api, "QuantConv2d: every x must be (N, C, H, W)");
    if (i == 0) memcpy(first, dims, RANK * sizeof *first);
    if (dims[0] != first[0] || dims[2] != first[2] || dims[3] != first[3])
      return edgelm_ort_fail(api, "QuantConv2d: all x must have the same N, H and W");
    if (dims[0] > INT32_MAX || dims[1] > INT32_MAX || dims[2] > INT32_MAX || dims[3] > INT32_MAX)
      return edgelm_ort_fail(api, "QuantConv2d: x is too large");
    TRY(api[ORT_TENSOR_DATA].tensor_data((OrtValue*)value, &data));
    inputs[i].data = data;
    inputs[i].channels = (int32_t)dims[1];
  }
  return NULL;
}

static OrtStatus* read_residual(OrtApi api, const OrtKernelContext* context, const int64_t want[RANK],
                                const float** out) {
  const OrtValue* value = NULL;
  int64_t dims[MAX_RANK];
  size_t rank = 0;
  void* data = NULL;
  TRY(api[ORT_INPUT].input(context, RESIDUAL, &value));
  *out = NULL;
  if (!value) return NULL;
  TRY(get_dims(api, value, dims, &rank));
  if (rank != RANK || memcmp(dims, want, RANK * sizeof *want) != 0)
    return edgelm_ort_fail(api, "QuantConv2d: residual must have the output's shape");
  TRY(api[ORT_TENSOR_DATA].tensor_data((OrtValue*)value, &data));
  *out = data;
  return NULL;
}

static OrtStatus* run_conv(const kernel* self, OrtKernelContext* context, size_t count, OrtAllocator* allocator) {
  OrtApi api = self->api;
  edgelm_input inputs[MAX_INPUTS];
  int64_t in[RANK] = {0};
  int32_t OH = 0, OW = 0;
  TRY(read_inputs(api, context, count, inputs, in));
  const int32_t N = (int32_t)in[0], H = (int32_t)in[2], W = (int32_t)in[3];
  if (edgelm_qconv_out_size(self->conv, H, W, &OH, &OW) != 0)
    return edgelm_ort_fail(api, "QuantConv2d: the padded input is smaller than the kernel, or too large");
  const int64_t out[RANK] = {N, self->out_channels, OH, OW};
  const float* residual = NULL;
  OrtValue* value = NULL;
  void* y = NULL;
  TRY(read_residual(api, context, out, &residual));
  TRY(api[ORT_OUTPUT].output(context, 0, out, RANK, &value));
  if (N == 0) return NULL;
  TRY(api[ORT_TENSOR_DATA].tensor_data(value, &y));

  const size_t bytes = edgelm_qconv_scratch_bytes(self->conv, H, W, self->threads);
  void* memory = NULL;
  if (bytes > SIZE_MAX - ALIGNMENT) return edgelm_ort_fail(api, "QuantConv2d: x is too large");
  TRY(api[ORT_ALLOC].alloc(allocator, bytes + ALIGNMENT, &memory));
  void* scratch = (void*)(((uintptr_t)memory + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1));
  job_context jobs = {api, context, NULL};
  const edgelm_parallel parallel = {run_jobs, &jobs, self->threads};
  const int code = edgelm_qconv_run(self->conv, EDGELM_NCHW, N, H, W, inputs, (int32_t)count, residual, y, scratch,
                                    self->threads > 1 ? &parallel : NULL);
  OrtStatus* freed = api[ORT_FREE].free(allocator, memory);
  if (freed && jobs.status) api[ORT_RELEASE_STATUS].release(freed);
  if (jobs.status) return jobs.status;
  if (freed) return freed;
  return code == 0 ? NULL : edgelm_ort_fail(api, "QuantConv2d: the channels of all x do not add up to in_channels");
}

OrtStatus* edgelm_ort_compute(void* object, OrtKernelContext* context) {
  const kernel* self = object;
  OrtAllocator* allocator = NULL;
  size_t count = 0;
  TRY(self->api[ORT_INPUT_COUNT].input_count(context, &count));
  if (count <= X || count - X > MAX_INPUTS)
    return edgelm_ort_fail(self->api, "QuantConv2d: 1 to 256 tensors x are expected");
  TRY(self->api[ORT_ALLOCATOR].allocator(context, self->memory, &allocator));
  OrtStatus* status = run_conv(self, context, count - X, allocator);
  self->api[ORT_RELEASE_ALLOCATOR].release(allocator);
  return status;
}
