/* Every able kernel of the table against the scalar one of its kind, over random shapes, layouts and operands, alone
 * and on several threads; then graphs on every able instruction set (selftest_graph.c), and crops (selftest_crop.c).
 * Prints "kind isa ok" and a checksum of the scalar results for each and exits with 1 at the first difference. The
 * checksums of a kind are the same on every machine, so that the scalar kernels of one can be held against another's.
 * Needs the library alone: it runs on a bare device or an emulator. Usage: edgelm_selftest [rounds] */
#define _GNU_SOURCE
#include "selftest.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 1;

void restart_random(void) { state = 1; }

uint32_t random_below(uint32_t limit) {
  state = state * 1664525u + 1013904223u;
  return (uint32_t)((uint64_t)state * limit >> 32);
}

uint32_t pick(const uint32_t* values, uint32_t count) { return values[random_below(count)]; }

/* Mostly whole steps of the grids, so that ties and zeros are common, and now and then no number at all. */
static float random_value(void) {
  const uint32_t kind = random_below(64);
  if (kind == 0) return NAN;
  if (kind < 24) return (float)((int32_t)random_below(65) - 32) / 64.0f;
  return (float)((int32_t)random_below(2000001) - 1000000) / 400000.0f;
}

float* random_values(size_t count, int finite) {
  float* values = malloc((count + 1) * sizeof *values);
  if (!values) abort();
  for (size_t i = 0; i < count; ++i) {
    values[i] = random_value();
    while (finite && isnan(values[i])) values[i] = random_value();
  }
  return values;
}

uint8_t* random_weights(size_t taps, size_t filters, int32_t weight_bits, size_t* bytes) {
  *bytes = (taps * (size_t)weight_bits + 7) / 8 * filters;
  uint8_t* weights = malloc(*bytes);
  if (!weights) abort();
  for (size_t i = 0; i < *bytes; ++i) {
    const uint32_t bits = random_below(256);
    weights[i] = (uint8_t)(weight_bits != 2 ? bits : bits & ~((bits & bits >> 1 & 0x55) << 1));
  }
  for (size_t i = 0; weight_bits == 32 && i < *bytes; i += 4) {
    float value = random_value();
    value = isnan(value) ? 0.5f : value;
    memcpy(weights + i, &value, sizeof value);
  }
  return weights;
}

/* ---- a tiny edgelm_parallel */

typedef struct share {
  void (*job)(void*, size_t);
  void* user;
  size_t total, thread;
} share;

static void* work(void* argument) {
  const share* s = argument;
  for (size_t i = 0; i < s->total; ++i)
    if ((s->total - 1 - i) % THREADS == s->thread) s->job(s->user, s->total - 1 - i);
  return NULL;
}

void run_threads(const edgelm_parallel* self, void (*job)(void*, size_t), size_t total, void* user) {
  pthread_t threads[THREADS];
  share shares[THREADS];
  (void)self;
  for (size_t t = 0; t < THREADS; ++t) {
    shares[t] = (share){job, user, total, t};
    if (pthread_create(&threads[t], NULL, work, &shares[t])) abort();
  }
  for (size_t t = 0; t < THREADS; ++t) pthread_join(threads[t], NULL);
}

/* ---- one random case */

typedef struct trial {
  edgelm_qconv_attrs attrs;
  int32_t N, H, W, OH, OW, count;
  edgelm_layout layout;
  uint8_t* weight;
  size_t weight_bytes;
  float *in_scale, *in_bias, *out_scale, *out_bias, *residual, *x[2];
  edgelm_tensor inputs[3];
} trial;

/* Activations that only this kind takes where an instruction set has all of them. */
static int32_t act_bits_of(const char* kind, int32_t pre_relu) {
  if (!strcmp(kind, "f32") || !strcmp(kind, "r32")) return 32;
  if (!strcmp(kind, "b1")) return 1;
  if (!strcmp(kind, "i6")) return 2 + (int32_t)random_below(5);
  if (!strcmp(kind, "i16")) return 10 + (int32_t)random_below(5);
  return 8 + pre_relu;
}

static trial make_trial(const char* kind) {
  static const uint32_t channels[] = {1, 2, 3, 4, 5, 7, 31, 32, 33, 63, 64, 65, 96, 130, 257};
  static const uint32_t outs[] = {1, 2, 7, 8, 9, 15, 16, 17, 33};
  trial t = {0};
  edgelm_qconv_attrs* a = &t.attrs;
  a->version = 1;
  a->kernel_h = 1 + (int32_t)random_below(4);
  a->kernel_w = 1 + (int32_t)random_below(4);
  a->stride_h = 1 + (int32_t)random_below(2);
  a->stride_w = 1 + (int32_t)random_below(2);
  a->dilation_h = 1 + (int32_t)random_below(2);
  a->dilation_w = 1 + (int32_t)random_below(2);
  a->pad_top = (int32_t)random_below((uint32_t)a->kernel_h);
  a->pad_bottom = (int32_t)random_below((uint32_t)a->kernel_h);
  a->pad_left = (int32_t)random_below((uint32_t)a->kernel_w);
  a->pad_right = (int32_t)random_below((uint32_t)a->kernel_w);
  a->in_channels = (int32_t)pick(channels, sizeof channels / sizeof *channels);
  a->out_channels = (int32_t)pick(outs, sizeof outs / sizeof *outs);
  a->pre_relu = (int32_t)random_below(2);
  a->weight_bits = !strcmp(kind, "r32") ? 32 : !strcmp(kind, "r8") ? 8 : 1 + (int32_t)random_below(2);
  a->act_bits = act_bits_of(kind, a->pre_relu);
  a->sign_zero = (int32_t)random_below(3) - 1;
  a->post_relu = (int32_t)random_below(2);
  if (a->act_bits == 1) a->pad_value = (int32_t)random_below(3) - 1;
  t.N = 1 + (int32_t)random_below(2);
  /* More products than sums of sixteen bits can hold. */
  const int wide = !strcmp(kind, "b1") && random_below(32) == 0;
  if (wide) a->kernel_h = a->kernel_w = 4, a->in_channels = 2100;
  const int32_t reach_h = (a->kernel_h - 1) * a->dilation_h + 1, reach_w = (a->kernel_w - 1) * a->dilation_w + 1;
  t.H = reach_h + (int32_t)random_below(wide ? 2 : 12);
  t.W = reach_w + (int32_t)random_below(wide ? 2 : 12);
  t.OH = (a->pad_top + t.H + a->pad_bottom - reach_h) / a->stride_h + 1;
  t.OW = (a->pad_left + t.W + a->pad_right - reach_w) / a->stride_w + 1;
  t.layout = random_below(2) ? EDGELM_NHWC : EDGELM_NCHW;
  const size_t taps = (size_t)(a->kernel_h * a->kernel_w * a->in_channels);
  t.weight = random_weights(taps, (size_t)a->out_channels, a->weight_bits, &t.weight_bytes);
  const size_t C = (size_t)a->in_channels, O = (size_t)a->out_channels;
  if (random_below(2)) t.in_scale = random_values(C, 1), t.in_bias = random_values(C, 1);
  if (random_below(2)) t.out_scale = random_values(O, 1);
  if (random_below(2)) t.out_bias = random_values(O, 1);
  if (random_below(2)) t.residual = random_values((size_t)(t.N * t.OH * t.OW) * O, 1);
  const int32_t first = 1 + (int32_t)random_below((uint32_t)a->in_channels);
  t.count = first < a->in_channels ? 2 : 1;
  for (int32_t i = 0; i < t.count; ++i) {
    const int32_t channels = i ? a->in_channels - first : first;
    t.x[i] = random_values((size_t)(t.N * t.H * t.W * channels), 0);
    t.inputs[i] = (edgelm_tensor){t.x[i], channels, t.H, t.W};
  }
  if (t.residual) t.inputs[t.count] = (edgelm_tensor){t.residual, a->out_channels, t.OH, t.OW};
  return t;
}

/* All levels and weights at an end of their range: what narrow sums may overflow of. */
static void go_to_extremes(trial* t) {
  const int32_t bits = t->attrs.weight_bits;
  const float x = random_below(2) ? 8.0f : -8.0f;
  if (bits == 32) return;
  /* Of int8 also the smallest one of a range that has as many below zero as above. */
  memset(t->weight, bits == 2 ? 0xaa : bits == 1 ? 0xff : 0x80 + (int)random_below(2), t->weight_bytes);
  free(t->in_scale);
  free(t->in_bias);
  t->in_scale = t->in_bias = NULL;
  for (int32_t i = 0; i < t->count; ++i) {
    const size_t size = (size_t)(t->N * t->H * t->W * t->inputs[i].channels);
    for (size_t k = 0; k < size; ++k) t->x[i][k] = x;
  }
}

static void free_trial(trial* t) {
  float* arrays[] = {t->in_scale, t->in_bias, t->out_scale, t->out_bias, t->residual, t->x[0], t->x[1]};
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; ++i) free(arrays[i]);
  free(t->weight);
}

float* run_graph(edgelm_graph* graph, edgelm_layout layout, int32_t N, const edgelm_tensor* inputs,
                 const edgelm_parallel* parallel, size_t* count) {
  char error[256] = "";
  edgelm_tensor output;
  size_t bytes = 0;
  if (!graph || edgelm_graph_shape(graph, inputs, parallel ? THREADS : 1, &output, &bytes, error, sizeof error)) {
    fprintf(stderr, "edgelm_graph_shape: %s\n", error);
    exit(1);
  }
  *count = (size_t)N * (size_t)output.channels * (size_t)output.height * (size_t)output.width;
  void* scratch = NULL;
  output.data = malloc(*count * sizeof(float));
  if (!output.data || posix_memalign(&scratch, 64, bytes)) abort();
  memset(scratch, 0xff, bytes);
  memset(output.data, 0xff, *count * sizeof(float));
  if (edgelm_graph_run(graph, layout, N, inputs, &output, scratch, parallel)) {
    fprintf(stderr, "edgelm_graph_run refused %dx%d px\n", inputs->height, inputs->width);
    exit(1);
  }
  free(scratch);
  return output.data;
}

static float* run_trial(const trial* t, const char* isa, const edgelm_parallel* parallel, size_t* count) {
  char error[256] = "";
  edgelm_graph* graph =
      edgelm_graph_of_conv(&t->attrs, t->weight, t->weight_bytes, t->in_scale, t->in_bias, t->out_scale, t->out_bias,
                           t->count, t->residual != NULL, isa, error, sizeof error);
  if (!graph) fprintf(stderr, "%s\n", error);
  float* output = run_graph(graph, t->layout, t->N, t->inputs, parallel, count);
  edgelm_graph_free(graph);
  return output;
}

/* What a float sum may be off: its terms are at most 9, and 9 times as large after the scales. */
static float slack(const trial* t) {
  const edgelm_qconv_attrs* a = &t->attrs;
  return a->act_bits < 32 ? 0.0f : (float)(a->kernel_h * a->kernel_w * a->in_channels + 4) * 1.2e-7f * 1000.0f;
}

/* The first differing element, or -1; two NaN are alike. */
long first_difference(const float* a, const float* b, size_t count, float slack) {
  for (size_t i = 0; i < count; ++i)
    if (!(fabsf(a[i] - b[i]) <= slack) && !(isnan(a[i]) && isnan(b[i]))) return (long)i;
  return -1;
}

/* FNV-1a over the bits, all NaN alike. */
uint32_t checksum(uint32_t hash, const float* values, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits = 0x7fc00000;
    if (!isnan(values[i])) memcpy(&bits, &values[i], sizeof bits);
    for (int byte = 0; byte < 32; byte += 8) hash = (hash ^ (bits >> byte & 0xff)) * 16777619u;
  }
  return hash;
}

static int test_kernel(const edgelm_kernel_info* kernel, int rounds) {
  const edgelm_parallel parallel = {run_threads, NULL, THREADS};
  uint32_t hash = CHECKSUM_START;
  restart_random();
  for (int round = 0; round < rounds; ++round) {
    trial t = make_trial(kernel->kind);
    if (random_below(8) == 0) go_to_extremes(&t);
    size_t size;
    float* expected = run_trial(&t, "scalar", NULL, &size);
    float* got = run_trial(&t, kernel->isa, round % 2 ? &parallel : NULL, &size);
    const long at = first_difference(expected, got, size, slack(&t));
    if (at >= 0) {
      const edgelm_qconv_attrs* a = &t.attrs;
      fprintf(stderr, "%s %s differs in round %d at %ld: %g, expected %g (%dx%d kernel, %d -> %d channels, %d bits)\n",
              kernel->kind, kernel->isa, round, at, (double)got[at], (double)expected[at], a->kernel_h, a->kernel_w,
              a->in_channels, a->out_channels, a->act_bits);
      return 1;
    }
    hash = checksum(hash, expected, size);
    free(expected);
    free(got);
    free_trial(&t);
  }
  printf("%s %s ok %08x\n", kernel->kind, kernel->isa, hash);
  return 0;
}

/* Lines of an instruction set are neighbours. */
static int ends_set(const edgelm_kernel_info* table, int32_t count, int32_t i) {
  return i + 1 == count || strcmp(table[i].isa, table[i + 1].isa) != 0;
}

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 200;
  const edgelm_kernel_info* table;
  const int32_t count = edgelm_kernels(&table);
  printf("edgelm %s, %d rounds\n", edgelm_version(), rounds);
  for (int32_t i = 0; i < count; ++i) {
    if (!table[i].able) {
      printf("%s %s not on this CPU\n", table[i].kind, table[i].isa);
    } else if (test_kernel(&table[i], rounds) || (ends_set(table, count, i) && test_graphs(table[i].isa, rounds))) {
      return 1;
    }
  }
  return test_crops(rounds);
}
