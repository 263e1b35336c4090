/* ONNX Runtime's entry to the library: describes the custom ops of the domain `edgelm`, infers shapes and registers
 * them. What a node does is in ort_kernel.c.
 */
#define _GNU_SOURCE
#include "ort_ops.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* Up to 1.23, shape inference reads through a null pointer where an optional operand is left out. There the shapes come
 * from the value_info of the file, where it has any. */
enum { OLDEST_MINOR = 17, NEWEST_OP_VERSION = 18, INFERRING_MINOR = 24 };

const char* const edgelm_ort_attributes[ATTRIBUTES] = {
    "version",  "kernel_h",  "kernel_w",   "stride_h",  "stride_w",    "dilation_h",   "dilation_w",
    "pad_top",  "pad_left",  "pad_bottom", "pad_right", "in_channels", "out_channels", "weight_bits",
    "act_bits", "sign_zero", "pre_relu",   "post_relu", "pad_value"};

/* What one ONNX Runtime in this process got from us; sessions keep pointers to it, so it lives forever. */
typedef struct registration {
  OrtCustomOp conv; /* first: the runtime hands this address back */
  OrtCustomOp graph;
  OrtApi api;
  OrtCustomOpDomain* domain;
  struct registration* next;
} registration;

static int64_t infer_int(OrtApi api, const OrtShapeInferContext* context, const char* name, OrtStatus** status) {
  const OrtOpAttr* attribute = NULL;
  int64_t value = 0;
  size_t needed = 0;
  if (!*status) *status = api[ORT_INFER_ATTRIBUTE].infer_attribute(context, name, &attribute);
  if (!*status)
    *status = api[ORT_READ_ATTRIBUTE].read_attribute(attribute, ORT_ATTR_INT, &value, sizeof value, &needed);
  return value;
}

/* -1 (unknown) stays unknown, and so does what makes no sense: making the kernel refuses it in words. */
static int64_t out_side(int64_t in, int64_t pads, int64_t size, int64_t dilation, int64_t stride) {
  const int64_t reach = (size - 1) * dilation + 1;
  if (in < 0 || in > INT32_MAX || stride < 1 || in + pads < reach) return -1;
  return (in + pads - reach) / stride + 1;
}

static OrtStatus* set_shape(OrtApi api, OrtShapeInferContext* context, const int64_t* dims, const char** names) {
  OrtShape* shape = NULL;
  TRY(api[ORT_CREATE_SHAPE].create_shape(&shape));
  OrtStatus* status = api[ORT_SET_TYPE].set_type(shape, ORT_FLOAT);
  if (!status) status = api[ORT_SET_DIMS].set_dims(shape, dims, RANK);
  /* 1.17 and 1.18 drop a shape without symbolic dimensions. */
  if (!status) status = api[ORT_SET_SYMBOLS].set_symbols(shape, names, RANK);
  if (!status) status = api[ORT_INFER_OUTPUT].infer_output(context, 0, shape);
  api[ORT_RELEASE_SHAPE].release(shape);
  return status;
}

static OrtStatus* infer_shape(const OrtCustomOp* op, OrtShapeInferContext* context) {
  OrtApi api = ((const registration*)op)->api;
  OrtShape* x = NULL; /* borrowed */
  OrtStatus* status = NULL;
  size_t rank = 0;
  int64_t in[RANK];
  const char* names[RANK];
  TRY(api[ORT_INFER_INPUT].infer_input(context, X, &x));
  TRY(api[ORT_GET_RANK].get_rank(x, &rank));
  if (rank != RANK) return NULL;
  TRY(api[ORT_GET_DIMS].get_dims(x, in, RANK));
  TRY(api[ORT_GET_SYMBOLS].get_symbols(x, names, RANK));
  int64_t a[REQUIRED];
  for (int i = 0; i < REQUIRED; ++i) a[i] = infer_int(api, context, edgelm_ort_attributes[i], &status);
  if (status) { /* an attribute is missing; making the kernel says which */
    api[ORT_RELEASE_STATUS].release(status);
    return NULL;
  }
  enum { KERNEL_H = 1, KERNEL_W, STRIDE_H, STRIDE_W, DILATION_H, DILATION_W, TOP, LEFT, BOTTOM, RIGHT, C, O };
  const int64_t out[RANK] = {in[0], a[O], out_side(in[2], a[TOP] + a[BOTTOM], a[KERNEL_H], a[DILATION_H], a[STRIDE_H]),
                             out_side(in[3], a[LEFT] + a[RIGHT], a[KERNEL_W], a[DILATION_W], a[STRIDE_W])};
  names[1] = names[2] = names[3] = "";
  return set_shape(api, context, out, names);
}

/* ---- what the ops look like ---- */

static const char* conv_name(const OrtCustomOp* op) { return (void)op, "QuantConv2d"; }
static const char* graph_name(const OrtCustomOp* op) { return (void)op, "QuantGraph"; }
static const char* op_provider(const OrtCustomOp* op) { return (void)op, NULL; }
static size_t conv_inputs(const OrtCustomOp* op) { return (void)op, OPERANDS; }
static size_t graph_inputs(const OrtCustomOp* op) { return (void)op, 3; }
static size_t op_outputs(const OrtCustomOp* op) { return (void)op, 1; }
static int conv_input_type(const OrtCustomOp* op, size_t i) { return (void)op, i == WEIGHT ? ORT_UINT8 : ORT_FLOAT; }
static int graph_input_type(const OrtCustomOp* op, size_t i) {
  return (void)op, i == 0 ? ORT_INT32 : i == 1 ? ORT_UINT8 : ORT_FLOAT;
}
static int op_output_type(const OrtCustomOp* op, size_t i) { return (void)op, (void)i, ORT_FLOAT; }
static int conv_input_kind(const OrtCustomOp* op, size_t i) {
  return (void)op, i == WEIGHT ? ORT_REQUIRED : i == X ? ORT_VARIADIC : ORT_OPTIONAL;
}
static int graph_input_kind(const OrtCustomOp* op, size_t i) { return (void)op, i < 2 ? ORT_REQUIRED : ORT_VARIADIC; }
static int conv_output_kind(const OrtCustomOp* op, size_t i) { return (void)op, (void)i, ORT_REQUIRED; }
static int graph_output_kind(const OrtCustomOp* op, size_t i) { return (void)op, (void)i, ORT_VARIADIC; }
static int op_memory(const OrtCustomOp* op, size_t i) { return (void)op, (void)i, ORT_MEM_DEFAULT; }
static int op_one(const OrtCustomOp* op) { return (void)op, 1; }
static int op_any_version(const OrtCustomOp* op) { return (void)op, INT_MAX; } /* the attribute `version` is checked */

static OrtStatus* add_registration(OrtApi api, int minor, registration** list, OrtCustomOpDomain** domain) {
  for (const registration* r = *list; r; r = r->next)
    if (r->api == api) {
      *domain = r->domain;
      return NULL;
    }
  registration* r = calloc(1, sizeof *r);
  if (!r) return edgelm_ort_fail(api, "out of memory");
  r->api = api;
  r->conv = (OrtCustomOp){
      .version = (uint32_t)(minor < NEWEST_OP_VERSION ? minor : NEWEST_OP_VERSION), /* 1.17 throws at a newer one */
      .name = conv_name,
      .provider = op_provider,
      .input_type = conv_input_type,
      .input_count = conv_inputs,
      .output_type = op_output_type,
      .output_count = op_outputs,
      .destroy_kernel = edgelm_ort_destroy,
      .input_characteristic = conv_input_kind,
      .output_characteristic = conv_output_kind,
      .input_memory = op_memory,
      .variadic_input_min = op_one,
      .variadic_input_same_type = op_one,
      .variadic_output_min = op_one,
      .variadic_output_same_type = op_one,
      .create_kernel_v2 = edgelm_ort_create_conv,
      .compute_v2 = edgelm_ort_compute,
      .infer_shape = minor < INFERRING_MINOR ? NULL : infer_shape,
      .start_version = op_one,
      .end_version = op_any_version,
  };
  r->graph = r->conv;
  r->graph.name = graph_name;
  r->graph.input_type = graph_input_type;
  r->graph.input_count = graph_inputs;
  r->graph.input_characteristic = graph_input_kind;
  r->graph.output_characteristic = graph_output_kind;
  r->graph.create_kernel_v2 = edgelm_ort_create_graph;
  r->graph.infer_shape = NULL; /* shapes follow from the whole program: they come from the file's value_info */
  OrtStatus* status = api[ORT_CREATE_DOMAIN].create_domain("edgelm", &r->domain);
  if (!status) status = api[ORT_DOMAIN_ADD].domain_add(r->domain, &r->conv);
  if (!status) status = api[ORT_DOMAIN_ADD].domain_add(r->domain, &r->graph);
  if (status) {
    if (r->domain) api[ORT_RELEASE_DOMAIN].release(r->domain);
    free(r);
    return status;
  }
  r->next = *list;
  *list = r;
  *domain = r->domain;
  return NULL;
}

EDGELM_API OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base);
EDGELM_API OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static registration* list;
  int major = 0, minor = 0;
  const char* version = base->version();
  if (sscanf(version, "%d.%d", &major, &minor) != 2 || major != 1 || minor < OLDEST_MINOR) {
    char sentence[200];
    snprintf(sentence, sizeof sentence,
             "edgelm needs ONNX Runtime 1.17 or newer, this is %.40s; upgrade it, or export with --portable", version);
    OrtApi old = base->get_api(major == 1 && minor > 0 ? (uint32_t)minor : 1);
    return old ? old[ORT_CREATE_STATUS].create_status(ORT_FAIL, sentence) : NULL;
  }
  OrtApi api = base->get_api(OLDEST_MINOR);
  OrtCustomOpDomain* domain = NULL;
  pthread_mutex_lock(&lock);
  OrtStatus* status = add_registration(api, minor, &list, &domain);
  pthread_mutex_unlock(&lock);
  return status ? status : api[ORT_ADD_DOMAIN].add_domain(options, domain);
}
