/* The few facts of ONNX Runtime's C ABI that a custom op needs, in our own words: places in its function table, the
 * order of the custom op's fields, enum values. Checked by running on 1.17, 1.18, 1.22 and 1.31; upstream only appends.
 */
#ifndef EDGELM_ORT_ABI_H
#define EDGELM_ORT_ABI_H

#include <stddef.h>
#include <stdint.h>

typedef struct OrtStatus OrtStatus; /* NULL is success */
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtShapeInferContext OrtShapeInferContext;
typedef struct OrtShape OrtShape; /* upstream: OrtTensorTypeAndShapeInfo */
typedef struct OrtValue OrtValue;
typedef struct OrtOpAttr OrtOpAttr;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtAllocator OrtAllocator;

enum { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2 };      /* error codes */
enum { ORT_FLOAT = 1, ORT_UINT8 = 2, ORT_INT32 = 6 }; /* element types */
enum { ORT_REQUIRED = 0, ORT_OPTIONAL = 1, ORT_VARIADIC = 2 };
enum { ORT_ATTR_INT = 1 };
enum { ORT_ARENA_ALLOCATOR = 1, ORT_MEM_DEFAULT = 0 };

/* One function of the table. */
typedef union OrtSlot {
  OrtStatus* (*create_status)(int code, const char* message);
  OrtStatus* (*create_domain)(const char* name, OrtCustomOpDomain** out);
  OrtStatus* (*domain_add)(OrtCustomOpDomain* domain, const void* op);
  OrtStatus* (*add_domain)(OrtSessionOptions* options, OrtCustomOpDomain* domain);
  OrtStatus* (*tensor_data)(OrtValue* value, void** out);
  OrtStatus* (*create_shape)(OrtShape** out);
  OrtStatus* (*set_type)(OrtShape* shape, int type);
  OrtStatus* (*set_dims)(OrtShape* shape, const int64_t* dims, size_t rank);
  OrtStatus* (*set_symbols)(OrtShape* shape, const char** names, size_t rank);
  OrtStatus* (*get_rank)(const OrtShape* shape, size_t* rank);
  OrtStatus* (*get_dims)(const OrtShape* shape, int64_t* dims, size_t rank);
  OrtStatus* (*get_symbols)(const OrtShape* shape, const char** names, size_t rank);
  OrtStatus* (*get_type)(const OrtShape* shape, int* type);
  OrtStatus* (*get_shape)(const OrtValue* value, OrtShape** out);
  OrtStatus* (*create_cpu_memory_info)(int allocator, int memory, OrtMemoryInfo** out);
  OrtStatus* (*alloc)(OrtAllocator* allocator, size_t size, void** out);
  OrtStatus* (*free)(OrtAllocator* allocator, void* p);
  OrtStatus* (*attribute_int)(const OrtKernelInfo* info, const char* name, int64_t* out);
  OrtStatus* (*info_count)(const OrtKernelInfo* info, size_t* out);
  OrtStatus* (*info_name)(const OrtKernelInfo* info, size_t index, char* out, size_t* size);
  OrtStatus* (*constant_input)(const OrtKernelInfo* info, size_t index, int* constant, const OrtValue** out);
  OrtStatus* (*input_count)(const OrtKernelContext* context, size_t* out);
  OrtStatus* (*input)(const OrtKernelContext* context, size_t index, const OrtValue** out);
  OrtStatus* (*output)(OrtKernelContext* context, size_t index, const int64_t* dims, size_t rank, OrtValue** out);
  OrtStatus* (*allocator)(const OrtKernelContext* context, const OrtMemoryInfo* info, OrtAllocator** out);
  OrtStatus* (*infer_input)(const OrtShapeInferContext* context, size_t index, OrtShape** borrowed);
  OrtStatus* (*infer_attribute)(const OrtShapeInferContext* context, const char* name, const OrtOpAttr** out);
  OrtStatus* (*infer_output)(const OrtShapeInferContext* context, size_t index, const OrtShape* shape);
  OrtStatus* (*infer_count)(const OrtShapeInferContext* context, size_t* out);
  OrtStatus* (*read_attribute)(const OrtOpAttr* attribute, int type, void* out, size_t size, size_t* needed);
  OrtStatus* (*parallel_for)(const OrtKernelContext* context, void (*job)(void*, size_t), size_t total, size_t batches,
                             void* user);
  void (*release)(void* object);
} OrtSlot;

typedef const OrtSlot* OrtApi; /* the table: api[ORT_X].member(...) */

enum {
  ORT_CREATE_STATUS = 0,
  ORT_CREATE_DOMAIN = 26,
  ORT_DOMAIN_ADD = 27,
  ORT_ADD_DOMAIN = 28,
  ORT_TENSOR_DATA = 51,
  ORT_CREATE_SHAPE = 57,
  ORT_SET_TYPE = 58,
  ORT_SET_DIMS = 59,
  ORT_GET_TYPE = 60,
  ORT_GET_RANK = 61,
  ORT_GET_DIMS = 62,
  ORT_GET_SYMBOLS = 63,
  ORT_GET_SHAPE = 65,
  ORT_CREATE_CPU_MEMORY_INFO = 69,
  ORT_ALLOC = 75,
  ORT_FREE = 76,
  ORT_ATTRIBUTE_INT = 86,
  ORT_INPUT_COUNT = 88,
  ORT_INPUT = 90,
  ORT_OUTPUT = 91,
  ORT_RELEASE_STATUS = 93,
  ORT_RELEASE_MEMORY_INFO = 94,
  ORT_RELEASE_SHAPE = 99,
  ORT_RELEASE_DOMAIN = 101,
  ORT_RELEASE_ALLOCATOR = 132,
  ORT_INFO_COUNT = 230,
  ORT_INFO_INPUT_NAME = 232,
  ORT_CONSTANT_INPUT = 249,
  ORT_ALLOCATOR = 253,
  ORT_INFER_COUNT = 267,
  ORT_INFER_INPUT = 268,
  ORT_INFER_ATTRIBUTE = 269,
  ORT_INFER_OUTPUT = 270,
  ORT_SET_SYMBOLS = 271,
  ORT_READ_ATTRIBUTE = 272,
  ORT_PARALLEL_FOR = 274
};

/* What RegisterCustomOps is handed; get_api returns one and the same table for every version up to the runtime's. */
typedef struct OrtApiBase {
  OrtApi (*get_api)(uint32_t version);
  const char* (*version)(void);
} OrtApiBase;

/* Fields of a custom op in the runtime's order; the number says since which version. NULL where a V2 twin exists. */
typedef struct OrtCustomOp OrtCustomOp;
struct OrtCustomOp {
  uint32_t version;
  void* (*create_kernel)(const OrtCustomOp* op, OrtApi api, const OrtKernelInfo* info);
  const char* (*name)(const OrtCustomOp* op);
  const char* (*provider)(const OrtCustomOp* op); /* NULL: the CPU */
  int (*input_type)(const OrtCustomOp* op, size_t index);
  size_t (*input_count)(const OrtCustomOp* op);
  int (*output_type)(const OrtCustomOp* op, size_t index);
  size_t (*output_count)(const OrtCustomOp* op);
  void (*compute)(void* kernel, OrtKernelContext* context);
  void (*destroy_kernel)(void* kernel);
  int (*input_characteristic)(const OrtCustomOp* op, size_t index); /* 8 */
  int (*output_characteristic)(const OrtCustomOp* op, size_t index);
  int (*input_memory)(const OrtCustomOp* op, size_t index); /* 13 */
  int (*variadic_input_min)(const OrtCustomOp* op);         /* 14 */
  int (*variadic_input_same_type)(const OrtCustomOp* op);
  int (*variadic_output_min)(const OrtCustomOp* op);
  int (*variadic_output_same_type)(const OrtCustomOp* op);
  OrtStatus* (*create_kernel_v2)(const OrtCustomOp* op, OrtApi api, const OrtKernelInfo* info, void** out); /* 16 */
  OrtStatus* (*compute_v2)(void* kernel, OrtKernelContext* context);
  OrtStatus* (*infer_shape)(const OrtCustomOp* op, OrtShapeInferContext* context); /* 17 */
  int (*start_version)(const OrtCustomOp* op);
  int (*end_version)(const OrtCustomOp* op);
  size_t (*may_inplace)(int** inputs, int** outputs); /* 18 */
  void (*release_may_inplace)(int* inputs, int* outputs);
  size_t (*alias_map)(int** inputs, int** outputs);
  void (*release_alias_map)(int* inputs, int* outputs);
};

#endif
