/* TensorFlow Lite's entry to the library: an external delegate that takes the nodes that `kernels` lists.
 * Each becomes a kernel of its own (tflite_kernel.c, tflite_deform.c), so that activations and scratch stay in the
 * interpreter's planned arena.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "tflite_kernel.h"

/* A runtime whose structs differ from ours would be misread: nodes and registrations lie side by side in one array.
 * `first` is another node of it, `steps` before this one. */
static int layout_fits(const void* node, const void* registration, const void* first, int steps) {
  const ptrdiff_t pair = sizeof(TfNode) + sizeof(TfRegistration);
  return (const char*)registration - (const char*)node == (ptrdiff_t)sizeof(TfNode) &&
         (const char*)node - (const char*)first == steps * pair;
}

static const struct {
  const char* name;
  const TfRegistration* kernel;
} kernels[] = {{EDGELM_TFLITE_CONV, &edgelm_tflite_kernel},
               {EDGELM_TFLITE_GRAPH, &edgelm_tflite_kernel},
               {EDGELM_TFLITE_DEFORM, &edgelm_tflite_deform}};

/* What runs a node, NULL where it is not ours. */
static const TfRegistration* find_kernel(const TfRegistration* registration) {
  if (registration->builtin_code != TF_CUSTOM_OP || !registration->custom_name) return NULL;
  for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; ++i)
    if (!strcmp(registration->custom_name, kernels[i].name)) return kernels[i].kernel;
  return NULL;
}

typedef struct found {
  int node;
  const TfRegistration* kernel;
} found;

static TfStatus delegate_prepare(TfContext* context, TfDelegate* delegate) {
  TfInts* plan;
  if (context->get_execution_plan(context, &plan) != TF_OK) return TF_ERROR;
  const int count = plan->size;
  found* ours = malloc(((size_t)count + 1) * sizeof *ours); /* the plan changes below */
  if (!ours) FAIL(context, "out of memory");
  int size = 0;
  TfStatus status = TF_OK;
  const TfNode* first = NULL;
  for (int i = 0; i < count && status == TF_OK; ++i) {
    TfNode* node;
    TfRegistration* registration;
    status = context->get_node(context, plan->data[i], &node, &registration);
    if (status != TF_OK) break;
    if (!first) first = node;
    if (!layout_fits(node, registration, first, plan->data[i] - plan->data[0])) {
      context->report_error(context, "edgelm needs TF Lite 2.14 or newer, or LiteRT; upgrade it, or export --portable");
      status = TF_ERROR;
    } else if (find_kernel(registration)) {
      ours[size++] = (found){plan->data[i], find_kernel(registration)};
    }
  }
  TfInts* one = malloc(sizeof *one + sizeof one->data[0]);
  if (!one) status = TF_ERROR;
  for (int i = 0; i < size && status == TF_OK; ++i) {
    *one = (TfInts){.size = 1};
    one->data[0] = ours[i].node;
    status = context->replace_nodes(context, *ours[i].kernel, one, delegate);
  }
  free(one);
  free(ours);
  return status;
}

EDGELM_API TfDelegate* tflite_plugin_create_delegate(const char* const* keys, const char* const* values, size_t count,
                                                     void (*report_error)(const char* message));
EDGELM_API void tflite_plugin_destroy_delegate(TfDelegate* delegate);

EDGELM_API TfDelegate* tflite_plugin_create_delegate(const char* const* keys, const char* const* values, size_t count,
                                                     void (*report_error)(const char* message)) {
  (void)values;
  if (count > 0) {
    char sentence[200];
    snprintf(sentence, sizeof sentence, "edgelm's delegate has no options, got %.100s", keys[0]);
    if (report_error) report_error(sentence);
    return NULL;
  }
  TfDelegate* delegate = calloc(1, sizeof *delegate);
  edgelm_pool* pool = edgelm_pool_new();
  if (!delegate || !pool) {
    free(delegate);
    edgelm_pool_release(pool);
    return NULL;
  }
  delegate->data = pool;
  delegate->prepare = delegate_prepare;
  delegate->flags = TF_ALLOW_DYNAMIC_TENSORS; /* else every op is prepared, and ours found missing, before us */
  return delegate;
}

/* Python calls this with NULL after a failed creation. */
EDGELM_API void tflite_plugin_destroy_delegate(TfDelegate* delegate) {
  if (!delegate) return;
  edgelm_pool_release(delegate->data);
  free(delegate);
}
