/* Signs on NEON (b1): differing bits are counted in bytes, which are widened before they overflow. */
#include "bits_neon.h"

extern const struct edgelm_stages edgelm_stages_neon;

enum { FLUSH = 255 / 8 /* steps until a byte of counts may overflow */ };

/* sums (4 lanes) += factor times the four bytes of each lane. */
static inline void add_counts(uint32_t* sums, uint8x16_t counts, int32_t factor) {
  const uint32x4_t wide = vpaddlq_u16(vpaddlq_u8(counts));
  vst1q_u32(sums, vmlaq_n_u32(vld1q_u32(sums), wide, (uint32_t)factor));
}

/* Some steps of P pixels times B vectors, which the callers give as constants. */
static inline __attribute__((always_inline)) const uint8_t* count(const uint8_t* const* x, size_t at, size_t stop,
                                                                  const uint8_t* panel, uint8x16_t* counts,
                                                                  const size_t P, const size_t B) {
  for (; at < stop; ++at, panel += 16 * B) {
    uint32x4_t a[4];
    EACH(p, P) a[p] = broadcast(x[p] + 4 * at);
    EACH(b, B) {
      const uint32x4_t w = words_at(panel, b);
      EACH(p, P) counts[p * B + b] = vaddq_u8(counts[p * B + b], count_bits(veorq_u32(a[p], w)));
    }
  }
  return panel;
}

/* `small` where no byte overflows at all. */
#define TILE(P, B)                                                                                         \
  static void small_##P##x##B(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, \
                              const uint8_t* panel, uint32_t* sums, size_t stride) {                       \
    uint8x16_t counts[P * B];                                                                              \
    EACH(i, P * B) counts[i] = vdupq_n_u8(0);                                                              \
    for (size_t run = 0; run < conv->runs; ++run) {                                                        \
      const uint8_t* x[P];                                                                                 \
      EACH(p, P) x[p] = runs[run] + offsets[p];                                                            \
      panel = count(x, 0, conv->steps, panel, counts, P, B);                                               \
    }                                                                                                      \
    const uint32x4_t total = vdupq_n_u32((uint32_t)products(conv));                                        \
    EACH(p, P) EACH(b, B) {                                                                                \
      const uint32x4_t wide = vpaddlq_u16(vpaddlq_u8(counts[p * B + b]));                                  \
      vst1q_u32(sums + p * stride + b * VECTOR, vsubq_u32(total, vshlq_n_u32(wide, 1)));                   \
    }                                                                                                      \
  }                                                                                                        \
  static void tile_##P##x##B(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets,  \
                             const uint8_t* panel, uint32_t* sums, size_t stride) {                        \
    const uint32x4_t total = vdupq_n_u32((uint32_t)products(conv));                                        \
    EACH(p, P) EACH(b, B) vst1q_u32(sums + p * stride + b * VECTOR, total);                                \
    uint8x16_t counts[P * B];                                                                              \
    EACH(i, P * B) counts[i] = vdupq_n_u8(0);                                                              \
    size_t left = FLUSH;                                                                                   \
    for (size_t run = 0; run < conv->runs; ++run) {                                                        \
      const uint8_t* x[P];                                                                                 \
      EACH(p, P) x[p] = runs[run] + offsets[p];                                                            \
      for (size_t at = 0; at < conv->steps;) {                                                             \
        const size_t stop = edgelm_min(conv->steps, at + left);                                            \
        panel = count(x, at, stop, panel, counts, P, B);                                                   \
        left -= stop - at;                                                                                 \
        at = stop;                                                                                         \
        if (left) continue;                                                                                \
        EACH(p, P) EACH(b, B) {                                                                            \
          add_counts(sums + p * stride + b * VECTOR, counts[p * B + b], -2);                               \
          counts[p * B + b] = vdupq_n_u8(0);                                                               \
        }                                                                                                  \
        left = FLUSH;                                                                                      \
      }                                                                                                    \
    }                                                                                                      \
    EACH(p, P) EACH(b, B) add_counts(sums + p * stride + b * VECTOR, counts[p * B + b], -2);               \
  }

/* Signs with masks: how many products are not zero, less twice the differing ones among them. */
#define MASKED(P, B)                                                                                        \
  static void masked_##P##x##B(const edgelm_conv* conv, const uint8_t* const* runs, const int32_t* offsets, \
                               const uint8_t* panel, uint32_t* sums, size_t stride) {                       \
    EACH(p, P) memset(sums + p * stride, 0, B * VECTOR * sizeof *sums);                                     \
    for (size_t run = 0; run < conv->runs; ++run) {                                                         \
      const uint8_t* x[P];                                                                                  \
      EACH(p, P) x[p] = runs[run] + offsets[p];                                                             \
      for (size_t at = 0; at < conv->steps;) {                                                              \
        const size_t stop = edgelm_min(conv->steps, at + FLUSH);                                            \
        uint8x16_t some[P * B], differing[P * B];                                                           \
        EACH(i, P * B) some[i] = differing[i] = vdupq_n_u8(0);                                              \
        for (; at < stop; ++at, panel += 32 * B) {                                                          \
          EACH(p, P) {                                                                                      \
            const uint32x4_t sign = broadcast(x[p] + 8 * at), mask = broadcast(x[p] + 8 * at + 4);          \
            EACH(b, B) {                                                                                    \
              const uint32x4_t both = vandq_u32(mask, words_at(panel, B + b));                              \
              const uint32x4_t differ = vandq_u32(veorq_u32(sign, words_at(panel, b)), both);               \
              some[p * B + b] = vaddq_u8(some[p * B + b], count_bits(both));                                \
              differing[p * B + b] = vaddq_u8(differing[p * B + b], count_bits(differ));                    \
            }                                                                                               \
          }                                                                                                 \
        }                                                                                                   \
        EACH(p, P) EACH(b, B) {                                                                             \
          add_counts(sums + p * stride + b * VECTOR, some[p * B + b], 1);                                   \
          add_counts(sums + p * stride + b * VECTOR, differing[p * B + b], -2);                             \
        }                                                                                                   \
      }                                                                                                     \
    }                                                                                                       \
  }

/* Sixteen registers on 32-bit ARM, else 32. */
#if defined(__arm__)
TILE(2, 4)
TILE(4, 2)
MASKED(2, 2)
static const shape large[2] = {{2, 4, tile_2x4}, {4, 2, tile_4x2}}, small[2] = {{2, 4, small_2x4}, {4, 2, small_4x2}};
static const shape masked[2] = {{2, 2, masked_2x2}, {2, 2, masked_2x2}};
#else
TILE(2, 8)
TILE(4, 4)
MASKED(2, 4)
static const shape large[2] = {{2, 8, tile_2x8}, {4, 4, tile_4x4}}, small[2] = {{2, 8, small_2x8}, {4, 4, small_4x4}};
static const shape masked[2] = {{2, 4, masked_2x4}, {2, 4, masked_2x4}};
#endif

static void lay_out(edgelm_conv* conv) {
  const size_t steps = conv->runs * conv->run_taps * words(conv);
  lay_out_bits(conv, conv->planes == 2 ? masked : steps <= FLUSH ? small : large);
}

const edgelm_kernel edgelm_b1_neon = {
    .element = 1, .macs_per_us = 60000, .lay_out = lay_out, .pack = pack_bits, .stages = &edgelm_stages_neon};
