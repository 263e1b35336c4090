/* Small random graphs against the scalar set: two convolutions of one input, pooled, upsampled or as they are, feed a
 * third. So the sums of the first ones become signs by thresholds or by affines, or levels, in parts of an input that
 * begin anywhere.
 *
 * Values: 0 the input, 1 and 2 the makers' outputs, 3 and 4 those on their way, the last one the reader's output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "selftest.h"

enum { CONV = 1, POOL = 2, UP = 3, PROGRAM = 128, DATA = 1 << 18 };

typedef struct text {
  int32_t program[PROGRAM];
  size_t words;
  uint8_t* data;
  size_t bytes;
} text;

static void put_word(text* t, int32_t word) {
  if (t->words == PROGRAM) abort();
  t->program[t->words++] = word;
}

/* Appends to the data; its place. */
static int32_t put_data(text* t, const void* from, size_t bytes) {
  const size_t place = t->bytes;
  if (place + bytes + 4 > DATA) abort();
  memcpy(t->data + place, from, bytes);
  t->bytes += (bytes + 3) / 4 * 4;
  return (int32_t)place;
}

/* Now and then -1: absent. */
static int32_t put_floats(text* t, int32_t count, int present) {
  if (!present) return -1;
  float* values = random_values((size_t)count, 1);
  const int32_t place = put_data(t, values, (size_t)count * sizeof *values);
  free(values);
  return place;
}

static void put_conv(text* t, edgelm_qconv_attrs attrs, const int32_t* parts, int32_t count) {
  size_t bytes;
  const size_t taps = (size_t)(attrs.kernel_h * attrs.kernel_w * attrs.in_channels);
  uint8_t* weights = random_weights(taps, (size_t)attrs.out_channels, attrs.weight_bits, &bytes);
  const int32_t place = put_data(t, weights, bytes), affine = random_below(4) > 0;
  free(weights);
  const int32_t in_scale = put_floats(t, attrs.in_channels, affine), in_bias = put_floats(t, attrs.in_channels, affine);
  const int32_t out_scale = put_floats(t, attrs.out_channels, random_below(4) > 0);
  const int32_t out_bias = put_floats(t, attrs.out_channels, random_below(4) > 0);
  const int32_t head[9] = {CONV,
                           9 + (int32_t)(sizeof attrs / sizeof(int32_t)) + count,
                           -1,
                           place,
                           (int32_t)bytes,
                           in_scale,
                           in_bias,
                           out_scale,
                           out_bias};
  for (size_t i = 0; i < 9; ++i) put_word(t, head[i]);
  int32_t words[sizeof attrs / sizeof(int32_t)];
  memcpy(words, &attrs, sizeof attrs);
  for (size_t i = 0; i < sizeof words / sizeof *words; ++i) put_word(t, words[i]);
  for (int32_t i = 0; i < count; ++i) put_word(t, parts[i]);
}

/* A square kernel that keeps the size. */
static edgelm_qconv_attrs attrs_of(int32_t in_channels, int32_t out_channels) {
  static const uint32_t bits[] = {1, 1, 1, 1, 4, 6, 8, 12};
  const int32_t side = random_below(2) ? 3 : 1, pad = side / 2;
  return (edgelm_qconv_attrs){.version = 1,
                              .kernel_h = side,
                              .kernel_w = side,
                              .stride_h = 1,
                              .stride_w = 1,
                              .dilation_h = 1,
                              .dilation_w = 1,
                              .pad_top = pad,
                              .pad_left = pad,
                              .pad_bottom = pad,
                              .pad_right = pad,
                              .in_channels = in_channels,
                              .out_channels = out_channels,
                              .weight_bits = random_below(4) ? 1 : 2,
                              .act_bits = (int32_t)pick(bits, sizeof bits / sizeof *bits),
                              .sign_zero = random_below(8) ? (random_below(2) ? 1 : -1) : 0,
                              .pre_relu = random_below(4) == 0,
                              .post_relu = random_below(4) == 0};
}

static void make_program(text* t, int32_t channels) {
  static const uint32_t outs[] = {1, 5, 8, 16, 24, 31, 32, 33, 48, 64, 72, 130};
  static const uint32_t ways[] = {0, POOL, UP};
  const int32_t way = (int32_t)pick(ways, 3), nodes = way ? 5 : 3, input = 0;
  int32_t sum = 0;
  const int32_t head[5] = {2, 1, nodes, 1, channels};
  t->words = t->bytes = 0;
  for (size_t i = 0; i < 5; ++i) put_word(t, head[i]);
  for (int32_t maker = 0; maker < 2; ++maker) {
    const int32_t O = (int32_t)pick(outs, sizeof outs / sizeof *outs);
    put_conv(t, attrs_of(channels, O), &input, 1);
    sum += O;
  }
  for (int32_t maker = 0; way && maker < 2; ++maker) {
    const int32_t node[3] = {way, 3, 1 + maker};
    for (size_t i = 0; i < 3; ++i) put_word(t, node[i]);
  }
  const int32_t parts[2] = {way ? 3 : 1, way ? 4 : 2};
  put_conv(t, attrs_of(sum, (int32_t)pick(outs, sizeof outs / sizeof *outs)), parts, 2);
  put_word(t, nodes); /* the value of the last node */
}

static float* run_program(const text* t, const char* isa, edgelm_layout layout, int32_t N, const edgelm_tensor* input,
                          const edgelm_parallel* parallel, size_t* count) {
  char error[256] = "";
  edgelm_graph* graph = edgelm_graph_create(t->program, t->words, t->data, t->bytes, isa, error, sizeof error);
  if (!graph) fprintf(stderr, "%s\n", error);
  float* output = run_graph(graph, layout, N, input, parallel, count);
  edgelm_graph_free(graph);
  return output;
}

int test_graphs(const char* isa, int rounds) {
  const edgelm_parallel parallel = {run_threads, NULL, THREADS};
  uint32_t hash = CHECKSUM_START;
  text t = {.data = malloc(DATA)};
  if (!t.data) abort();
  restart_random();
  for (int round = 0; round < rounds; ++round) {
    const int32_t N = 1 + (int32_t)random_below(2), C = 1 + (int32_t)random_below(40);
    const int32_t H = 2 + (int32_t)random_below(12), W = 2 + (int32_t)random_below(12);
    const edgelm_layout layout = random_below(2) ? EDGELM_NHWC : EDGELM_NCHW;
    make_program(&t, C);
    const edgelm_tensor input = {random_values((size_t)(N * C * H * W), 1), C, H, W};
    size_t count;
    float* expected = run_program(&t, "scalar", layout, N, &input, NULL, &count);
    float* got = run_program(&t, isa, layout, N, &input, round % 2 ? &parallel : NULL, &count);
    const long at = first_difference(expected, got, count, 0.0f);
    if (at >= 0) {
      fprintf(stderr, "graph %s differs in round %d at %ld: %g, expected %g (%d channels, %dx%d px)\n", isa, round, at,
              (double)got[at], (double)expected[at], C, H, W);
      return 1;
    }
    hash = checksum(hash, expected, count);
    free(expected);
    free(got);
    free(input.data);
  }
  free(t.data);
  printf("graph %s ok %08x\n", isa, hash);
  return 0;
}
