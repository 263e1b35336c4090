/* What the parts of edgelm_selftest share: random operands, a tiny pool of threads, comparison. */
#ifndef EDGELM_SELFTEST_H
#define EDGELM_SELFTEST_H

#include "edgelm.h"

enum { THREADS = 3 };

/* The random numbers of a test begin anew with each kernel. */
void restart_random(void);
uint32_t random_below(uint32_t limit);
uint32_t pick(const uint32_t* values, uint32_t count);
float* random_values(size_t count, int finite);
/* Packed weights of `filters` rows of `taps`, and how many bytes they take. */
uint8_t* random_weights(size_t taps, size_t filters, int32_t weight_bits, size_t* bytes);

/* An edgelm_parallel's `run`: thread t takes the jobs t, t + threads, ... from the last one down. */
void run_threads(const edgelm_parallel* self, void (*job)(void*, size_t), size_t total, void* user);

/* One run of N images into fresh memory, which the caller frees; exits with a message where it is refused. */
float* run_graph(edgelm_graph* graph, edgelm_layout layout, int32_t N, const edgelm_tensor* inputs,
                 const edgelm_parallel* parallel, size_t* count);

/* The first differing element, or -1; two NaN are alike. */
long first_difference(const float* a, const float* b, size_t count, float slack);

enum { CHECKSUM_START = (int)2166136261u };
uint32_t checksum(uint32_t hash, const float* values, size_t count);

/* selftest_graph.c: convolutions that feed another, on an instruction set's steps between them; 0 or 1. */
int test_graphs(const char* isa, int rounds);

/* selftest_crop.c: crops against their definition; 0 or 1. */
int test_crops(int rounds);

#endif
