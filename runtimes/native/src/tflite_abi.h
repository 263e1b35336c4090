/* The few facts of TensorFlow Lite's plain-C plug-in ABI that a delegate needs, in our own words: order and types of
 * fields, enum values. Field for field the same from TF Lite 2.14 to LiteRT 2.3 (64-bit: context 200, tensor 112, node
 * 80, registration 88, delegate 56 bytes); older ones lack the registration's last field. Upstream only appends.
 */
#ifndef EDGELM_TFLITE_ABI_H
#define EDGELM_TFLITE_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TF_OK = 0, TF_ERROR = 1 };
enum { TF_FLOAT32 = 1, TF_INT32 = 2, TF_UINT8 = 3 };   /* tensor types */
enum { TF_MMAP_RO = 1, TF_ARENA = 2, TF_DYNAMIC = 4 }; /* where a tensor's bytes live; the first is a file constant */
enum { TF_CUSTOM_OP = 32 };                            /* builtin_code of every custom op */
enum { TF_ALLOW_DYNAMIC_TENSORS = 1 };                 /* delegate flag */

typedef int TfStatus;
typedef struct TfContext TfContext;
typedef struct TfDelegate TfDelegate;

typedef struct TfInts {
  int size;
  int data[];
} TfInts;

typedef struct TfTensor {
  int type;
  void* data;
  TfInts* dims;
  float scale;
  int32_t zero_point;
  int allocation;
  size_t bytes;
  const void* mapping;
  const char* name;
  TfDelegate* delegate;
  int buffer_handle;
  bool data_is_stale, is_variable;
  struct {
    int type;
    void* params;
  } quantization;
  void* sparsity;
  const TfInts* dims_signature;
} TfTensor;

typedef struct TfNode {
  TfInts *inputs, *outputs, *intermediates, *temporaries;
  void *user_data, *builtin_data;
  const void* custom_data;
  int custom_size;
  TfDelegate* delegate;
  bool might_have_side_effect;
} TfNode;

typedef struct TfRegistration {
  void* (*init)(TfContext* context, const char* buffer, size_t length); /* of a delegate: a TfDelegateParams */
  void (*free)(TfContext* context, void* user_data);
  TfStatus (*prepare)(TfContext* context, TfNode* node);
  TfStatus (*invoke)(TfContext* context, TfNode* node);
  const char* (*profiling_string)(const TfContext* context, const TfNode* node);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* external;
  void* (*async_kernel)(TfContext* context, TfNode* node);
  uint64_t inplace_operator; /* since 2.14 */
} TfRegistration;

typedef struct TfDelegateParams {
  TfDelegate* delegate;
  TfInts *nodes, *inputs, *outputs;
} TfDelegateParams;

/* Functions marked micro are NULL outside microcontroller builds. */
struct TfContext {
  size_t tensors_size;
  TfStatus (*get_execution_plan)(TfContext* context, TfInts** plan);
  TfTensor* tensors; /* moves when tensors are added */
  void* impl;
  TfStatus (*resize_tensor)(TfContext* context, TfTensor* tensor, TfInts* dims); /* takes dims, made with malloc */
  void (*report_error)(TfContext* context, const char* format, ...);
  TfStatus (*add_tensors)(TfContext* context, int count, int* first);
  TfStatus (*get_node)(TfContext* context, int index, TfNode** node, TfRegistration** registration);
  TfStatus (*replace_nodes)(TfContext* context, TfRegistration registration, const TfInts* nodes, TfDelegate* delegate);
  int recommended_threads; /* below 1: not said */
  void* (*get_external)(TfContext* context, int type);
  void (*set_external)(TfContext* context, int type, void* external);
  bool allow_fp16;
  void* profiler;
  void* (*micro_allocate)(TfContext* context, size_t bytes);
  TfStatus (*micro_allocate_for_eval)(TfContext* context, size_t bytes, void** out);
  TfStatus (*micro_request_scratch)(TfContext* context, size_t bytes, int* index);
  void* (*micro_get_scratch)(TfContext* context, int index);
  TfStatus (*micro_resize)(TfContext* context, TfTensor* tensor, int rank, const int* dims);
  TfStatus (*preview)(TfContext* context, const TfInts* nodes, TfDelegateParams** partitions, int* count);
  TfTensor* (*micro_get_tensor)(const TfContext* context, int index);
  void* (*micro_get_eval_tensor)(const TfContext* context, int index);
  TfStatus (*get_metadata)(const TfContext* context, const char* name, const char** data, size_t* size);
  TfStatus (*acquire_subgraph)(TfContext* context, int index, TfContext** out);
  TfStatus (*release_subgraph)(TfContext* context, int index);
};

struct TfDelegate {
  void* data;
  TfStatus (*prepare)(TfContext* context, TfDelegate* delegate);
  TfStatus (*copy_from_handle)(TfContext* context, TfDelegate* delegate, int handle, TfTensor* tensor);
  TfStatus (*copy_to_handle)(TfContext* context, TfDelegate* delegate, int handle, TfTensor* tensor);
  void (*free_handle)(TfContext* context, TfDelegate* delegate, int* handle);
  int64_t flags;
  void* opaque_builder;
};

#if UINTPTR_MAX > 0xffffffff
_Static_assert(sizeof(TfContext) == 200 && sizeof(TfTensor) == 112 && sizeof(TfNode) == 80, "as measured");
_Static_assert(sizeof(TfRegistration) == 88 && sizeof(TfDelegate) == 56, "as measured");
#endif

#endif
