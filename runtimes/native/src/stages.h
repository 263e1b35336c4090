/* The steps around a kernel's tile: expand the weights, prepare the image, finish the sums.
 *
 * Every kernel file includes this once, so that the compiler vectorises the plain loops for that file's instruction
 * set. Before that the file defines LANES and two primitives that compilers do not find by themselves:
 *   transpose(from, from_stride, to, to_stride, rows, columns)   to[column][row] = from[row][column], 32-bit words
 *   gather_bits(words)                                           bit j of the result is bit 0 of words[j], j < 32
 */
#include <string.h>

#include "qconv.h"

_Static_assert(LANES % 8 == 0 && LANES <= EDGELM_MAX_LANES, "stages work on eight lanes at a time");

static inline uint32_t word_of(float value) {
  uint32_t word;
  memcpy(&word, &value, sizeof word);
  return word;
}

static inline float float_of(uint32_t word) {
  float value;
  memcpy(&value, &word, sizeof value);
  return value;
}

static inline int32_t int_of(uint32_t word) {
  int32_t value;
  memcpy(&value, &word, sizeof value);
  return value;
}

/* ---- expand */

/* Eight lanes at a time: their bits are one byte (f32) or four (i8) of a plane. */

static inline void expand_f32(const edgelm_qconv* op, size_t panel, uint32_t* restrict weights) {
  const uint8_t* packed = op->packed + panel * op->packed_panel_bytes;
  for (size_t at = 0; at < op->panel_words; at += LANES, packed += op->planes * LANES / 8) {
    for (size_t eight = 0; eight < LANES; eight += 8) {
      const uint32_t signs = packed[eight / 8], masks = op->planes == 2 ? packed[(LANES + eight) / 8] : 0xff;
      for (size_t lane = 0; lane < 8; ++lane)
        weights[at + eight + lane] = (word_of(1.0f) | (signs >> lane & 1) << 31) & -(masks >> lane & 1);
    }
  }
}

static inline uint32_t four_bytes(const uint8_t* bytes) {
  uint32_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

static inline void expand_i8(const edgelm_qconv* op, size_t panel, uint32_t* restrict weights) {
  const uint8_t* packed = op->packed + panel * op->packed_panel_bytes;
  /* Four bits spread to the lowest bits of four bytes; times 0xfe makes +1 | 0xfe = -1 of the set ones. */
  const uint32_t spread = 0x00204081, ones = 0x01010101;
  for (size_t at = 0; at < op->panel_words; at += LANES, packed += op->planes * LANES / 2) {
    for (size_t eight = 0; eight < LANES; eight += 8) {
      const uint32_t signs = four_bytes(packed + eight / 2);
      const uint32_t masks = op->planes == 2 ? four_bytes(packed + (LANES + eight) / 2) : 0xffffffff;
      for (size_t lane = 0; lane < 8; ++lane) {
        const uint32_t minus = (signs >> 4 * lane & 15) * spread & ones, set = (masks >> 4 * lane & 15) * spread & ones;
        weights[at + eight + lane] = (ones | minus * 0xfe) & set * 0xff;
      }
    }
  }
}

/* ---- prepare */

/* What happens to one activation on its way into the image. */
typedef struct quantizer {
  float scale, bias; /* the input affine of this channel */
  int relu;
  float steps, limit; /* k-bit grid */
  int32_t sign_zero;
} quantizer;

static inline quantizer quantizer_of(const edgelm_qconv* op, size_t channel) {
  const edgelm_qconv_attrs* a = &op->attrs;
  const float steps = op->kind == EDGELM_I8 ? (float)(1 << (a->act_bits - 1)) : 1.0f;
  return (quantizer){op->in_scale[channel], op->in_bias[channel], a->pre_relu, steps, steps - 1.0f, a->sign_zero};
}

static inline float affine(float x, const quantizer* q) {
  const float v = x * q->scale + q->bias;
  return q->relu && v < 0.0f ? 0.0f : v; /* NaN stays */
}

/* The level's byte. Adding 1.5 * 2^23 rounds to whole numbers, halves to even, and leaves them in the low bits. */
static inline uint32_t level(float v, const quantizer* q) {
  float x = v * q->steps;
  x = x < -q->limit ? -q->limit : x;
  x = x > q->limit ? q->limit : x;
  x = x == x ? x : 0.0f;
  return word_of(x + 12582912.0f) & 0xff;
}

static inline uint32_t negative(float v, int32_t sign_zero) { return sign_zero < 0 ? !(v > 0.0f) : v < 0.0f; }

static inline uint32_t nonzero(float v) { return (v < 0.0f) | (v > 0.0f); }

/* One channel of `count` pixels into the rows of words (one for each plane) that hold it. */
static inline void add_channel(const edgelm_qconv* op, size_t channel, const float* restrict x, size_t count,
                               uint32_t* restrict words) {
  const quantizer q = quantizer_of(op, channel);
  const uint32_t shift = channel % op->group * (32 / op->group);
  if (op->kind == EDGELM_F32) {
    for (size_t i = 0; i < count; ++i) words[i] = word_of(affine(x[i], &q));
  } else if (op->kind == EDGELM_I8) {
    for (size_t i = 0; i < count; ++i) words[i] |= level(affine(x[i], &q), &q) << shift;
  } else if (q.sign_zero < 0) {
    for (size_t i = 0; i < count; ++i) words[i] |= negative(affine(x[i], &q), -1) << shift;
  } else {
    for (size_t i = 0; i < count; ++i) words[i] |= negative(affine(x[i], &q), 0) << shift;
  }
  if (op->kind != EDGELM_B1 || op->planes == 1) return;
  uint32_t* masks = words + EDGELM_CHUNK;
  for (size_t i = 0; i < count; ++i) masks[i] |= (q.sign_zero ? 1u : nonzero(affine(x[i], &q))) << shift;
}

static inline uint32_t* image_at(const edgelm_call* call, size_t y, size_t x) {
  const edgelm_qconv* op = call->op;
  return call->image + (op->attrs.pad_top + y) * call->row_words + (op->attrs.pad_left + x) * op->pixel_words;
}

static inline void prepare_nchw(const edgelm_call* call, size_t first, size_t count) {
  enum { ROWS = 16 };
  const edgelm_qconv* op = call->op;
  const size_t C = op->attrs.in_channels, W = call->W, planes = op->pixel_words / op->groups;
  const edgelm_input* input = call->inputs;
  size_t passed = 0; /* channels of the inputs before `input` */
  uint32_t words[ROWS * EDGELM_CHUNK];
  for (size_t row = 0; row < op->pixel_words; row += ROWS) {
    const size_t rows = edgelm_min(ROWS, op->pixel_words - row);
    const size_t end = edgelm_min(C, (row + rows) / planes * op->group);
    memset(words, 0, sizeof words);
    for (size_t c = row / planes * op->group; c < end; ++c) {
      while (c - passed >= (size_t)input->channels) passed += input++->channels;
      const float* x = input->data + (call->batch * input->channels + c - passed) * call->in_pixels + first;
      /* The planes lie far apart, where hardware prefetchers lose track: fetch what the next chunk reads. */
      for (size_t i = 0; i < EDGELM_CHUNK; i += 16) __builtin_prefetch(x + EDGELM_CHUNK + i);
      add_channel(op, c, x, count, words + (c / op->group * planes - row) * EDGELM_CHUNK);
    }
    for (size_t done = 0; done < count;) {
      const size_t x = (first + done) % W, run = edgelm_min(count - done, W - x);
      transpose(words + done, EDGELM_CHUNK, image_at(call, (first + done) / W, x) + row, op->pixel_words, rows, run);
      done += run;
    }
  }
}

/* `count` channels of one pixel, at `channel` (a multiple of the block), into its words. */
static inline void add_block(const edgelm_qconv* op, size_t channel, const float* restrict v, size_t count,
                             uint32_t* restrict pixel) {
  const quantizer q = quantizer_of(op, channel);
  if (op->kind == EDGELM_F32) {
    memcpy(pixel + channel, v, count * sizeof *v);
  } else if (op->kind == EDGELM_I8) {
    uint8_t* bytes = (uint8_t*)pixel + channel;
    for (size_t i = 0; i < count; ++i) bytes[i] = (uint8_t)level(v[i], &q);
    for (size_t i = count; i % 4; ++i) bytes[i] = 0;
  } else {
    uint32_t bits[32];
    uint32_t* word = pixel + channel / 32 * op->planes;
    for (size_t i = 0; i < count; i += 32, word += op->planes) {
      const size_t some = edgelm_min(32, count - i);
      for (size_t j = 0; j < 32; ++j) bits[j] = j < some ? negative(v[i + j], q.sign_zero) : 0;
      word[0] = gather_bits(bits);
      if (op->planes == 1) continue;
      for (size_t j = 0; j < 32; ++j) bits[j] = j < some ? (q.sign_zero ? 1u : nonzero(v[i + j])) : 0;
      word[1] = gather_bits(bits);
    }
  }
}

static inline void prepare_nhwc(const edgelm_call* call, size_t first, size_t count) {
  enum { BLOCK = 256 };
  const edgelm_qconv* op = call->op;
  const size_t C = op->attrs.in_channels;
  float v[BLOCK];
  memset(v, 0, sizeof v);
  for (size_t p = first; p < first + count; ++p) {
    uint32_t* pixel = image_at(call, p / call->W, p % call->W);
    const edgelm_input* input = call->inputs;
    const float* x = input->data + (call->batch * call->in_pixels + p) * input->channels;
    size_t left = input->channels;
    for (size_t start = 0; start < C; start += BLOCK) {
      const size_t block = edgelm_min(BLOCK, C - start);
      for (size_t done = 0; done < block;) {
        if (!left) {
          ++input;
          left = input->channels;
          x = input->data + (call->batch * call->in_pixels + p) * input->channels;
        }
        const size_t some = edgelm_min(left, block - done);
        const float *scale = op->in_scale + start + done, *bias = op->in_bias + start + done;
        const int relu = op->attrs.pre_relu;
        for (size_t i = 0; i < some; ++i)
          v[done + i] = affine(x[i], &(quantizer){.scale = scale[i], .bias = bias[i], .relu = relu});
        x += some;
        left -= some;
        done += some;
      }
      add_block(op, start, v, block, pixel);
    }
  }
}

static void prepare(const edgelm_call* call, size_t first, size_t count) {
  (call->layout == EDGELM_NCHW ? prepare_nchw : prepare_nhwc)(call, first, count);
}

/* ---- finish */

static inline float output(float sum, float scale, float bias, int relu) {
  const float y = sum * scale + bias;
  return relu && y < 0.0f ? 0.0f : y;
}

/* One output channel of `count` pixels. */
static inline void finish_channel(const edgelm_call* call, size_t channel, const uint32_t* restrict sums, size_t count,
                                  const float* residual, float* y) {
  const edgelm_qconv* op = call->op;
  const float scale = op->out_scale[channel], bias = op->out_bias[channel];
  const int relu = op->attrs.post_relu;
  if (op->kind == EDGELM_F32)
    for (size_t i = 0; i < count; ++i) y[i] = output(float_of(sums[i]), scale, bias, relu);
  else
    for (size_t i = 0; i < count; ++i) y[i] = output((float)int_of(sums[i]), scale, bias, relu);
  if (residual)
    for (size_t i = 0; i < count; ++i) y[i] += residual[i];
}

/* `count` output channels, `channel` first, of one pixel. */
static inline void finish_pixel(const edgelm_call* call, size_t channel, const uint32_t* restrict sums, size_t count,
                                const float* residual, float* y) {
  const edgelm_qconv* op = call->op;
  const float *scale = op->out_scale + channel, *bias = op->out_bias + channel;
  const int relu = op->attrs.post_relu, is_float = op->kind == EDGELM_F32;
  float values[LANES];
  for (size_t i = 0; i < LANES; ++i)
    values[i] = output(is_float ? float_of(sums[i]) : (float)int_of(sums[i]), scale[i], bias[i], relu);
  if (residual)
    for (size_t i = 0; i < count; ++i) values[i] += residual[i];
  if (count == LANES) {
    memcpy(y, values, sizeof values); /* a size that the compiler knows: two or four vector stores */
  } else {
    memcpy(y, values, count * sizeof *y);
  }
}

static void finish(const edgelm_call* call, size_t panel, size_t first, size_t count, const uint32_t* sums) {
  const size_t O = call->op->attrs.out_channels, channel = panel * LANES, channels = edgelm_min(LANES, O - channel);
  if (call->layout == EDGELM_NHWC) {
    for (size_t i = 0; i < count; ++i) {
      const size_t at = (call->batch * call->out_pixels + first + i) * O + channel;
      const float* residual = call->residual ? call->residual + at : NULL;
      finish_pixel(call, channel, sums + i * LANES, channels, residual, call->y + at);
    }
    return;
  }
  uint32_t lines[LANES * EDGELM_CHUNK];
  transpose(sums, LANES, lines, EDGELM_CHUNK, count, LANES);
  for (size_t i = 0; i < channels; ++i) {
    const size_t at = (call->batch * O + channel + i) * call->out_pixels + first;
    const float* residual = call->residual ? call->residual + at : NULL;
    finish_channel(call, channel + i, lines + i * EDGELM_CHUNK, count, residual, call->y + at);
  }
}
