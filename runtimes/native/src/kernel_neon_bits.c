/* Signs on NEON (b1): differing bits are counted in bytes, which are widened before they overflow. */
#include "bits_neon.h"

extern const struct edgelm_stages edgelm_stages_neon;

enum { FLUSH = 255 / 8 /* steps until a byte of counts may overflow */ };

/* What the bytes of eight filters' lanes hold. */
static inline int16x8_t count_of(uint8x16_t low, uint8x16_t high) {
  const uint16x8_t a = vpaddlq_u8(low), b = vpaddlq_u8(high);
#if defined(__arm__)
  return vreinterpretq_s16_u16(
      vcombine_u16(vpadd_u16(vget_low_u16(a), vget_high_u16(a)), vpadd_u16(vget_low_u16(b), vget_high_u16(b))));
#else
  return vreinterpretq_s16_u16(vpaddq_u16(a, b));
#endif
}

/* Sums of eight filters less some more. */
static inline void subtract(uint32_t* sums, size_t at, int16x8_t what, const int32_t bits) {
  if (bits == 16) {
    int16_t* to = (int16_t*)sums + at;
    vst1q_s16(to, vsubq_s16(vld1q_s16(to), what));
  } else {
    int32_t* to = (int32_t*)sums + at;
    vst1q_s32(to, vsubw_s16(vld1q_s32(to), vget_low_s16(what)));
    vst1q_s32(to + 4, vsubw_s16(vld1q_s32(to + 4), vget_high_s16(what)));
  }
}

#define INLINE static inline __attribute__((always_inline))

/* Some steps of P pixels times B vectors, which the callers give as constants. */
INLINE const uint8_t* count(const uint8_t* const* x, size_t at, size_t stop, const uint8_t* panel, uint8x16_t* counts,
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

#define PARAMETERS                                                                                                   \
  const edgelm_conv *conv, const uint8_t *const *runs, const int32_t *offsets, const uint8_t *panel, uint32_t *sums, \
      size_t stride

/* Where no byte overflows at all. */
INLINE void small(PARAMETERS, const size_t P, const size_t B) {
  uint8x16_t counts[16];
  EACH(i, P * B) counts[i] = vdupq_n_u8(0);
  for (size_t run = 0; run < conv->runs; ++run) {
    const uint8_t* x[4];
    EACH(p, P) x[p] = runs[run] + offsets[p];
    panel = count(x, 0, conv->steps, panel, counts, P, B);
  }
  const int16x8_t total = vdupq_n_s16((int16_t)products(conv));
  EACH(p, P) EACH(b, B / 2) {
    const int16x8_t differing = count_of(counts[p * B + 2 * b], counts[p * B + 2 * b + 1]);
    store_sums(sums, p * stride + 2 * b * VECTOR, vsubq_s16(total, vshlq_n_s16(differing, 1)), 16);
  }
}

INLINE void large(PARAMETERS, const size_t P, const size_t B, const int32_t bits) {
  EACH(p, P) for (size_t lane = 0; lane < B * VECTOR; ++lane) {
    if (bits == 16)
      ((int16_t*)sums)[p * stride + lane] = (int16_t)products(conv);
    else
      ((int32_t*)sums)[p * stride + lane] = products(conv);
  }
  uint8x16_t counts[16];
  EACH(i, P * B) counts[i] = vdupq_n_u8(0);
  size_t left = FLUSH;
  for (size_t run = 0; run < conv->runs; ++run) {
    const uint8_t* x[4];
    EACH(p, P) x[p] = runs[run] + offsets[p];
    for (size_t at = 0; at < conv->steps;) {
      const size_t stop = edgelm_min(conv->steps, at + left);
      panel = count(x, at, stop, panel, counts, P, B);
      left -= stop - at;
      at = stop;
      if (left && (at < conv->steps || run + 1 < conv->runs)) continue;
      EACH(p, P) EACH(b, B / 2) {
        uint8x16_t* two = counts + p * B + 2 * b;
        subtract(sums, p * stride + 2 * b * VECTOR, vshlq_n_s16(count_of(two[0], two[1]), 1), bits);
        two[0] = two[1] = vdupq_n_u8(0);
      }
      left = FLUSH;
    }
  }
}

/* Signs with masks: twice the differing ones among the products that are not zero, less how many these are. */
INLINE void masked(PARAMETERS, const size_t P, const size_t B, const int32_t bits) {
  EACH(p, P) memset((uint8_t*)sums + p * stride * (size_t)bits / 8, 0, B * VECTOR * (size_t)bits / 8);
  for (size_t run = 0; run < conv->runs; ++run) {
    const uint8_t* x[4];
    EACH(p, P) x[p] = runs[run] + offsets[p];
    for (size_t at = 0; at < conv->steps;) {
      const size_t stop = edgelm_min(conv->steps, at + FLUSH);
      uint8x16_t some[8], differing[8];
      EACH(i, P * B) some[i] = differing[i] = vdupq_n_u8(0);
      for (; at < stop; ++at, panel += 32 * B) {
        EACH(p, P) {
          const uint32x4_t sign = broadcast(x[p] + 8 * at), mask = broadcast(x[p] + 8 * at + 4);
          EACH(b, B) {
            const uint32x4_t both = vandq_u32(mask, words_at(panel, B + b));
            const uint32x4_t differ = vandq_u32(veorq_u32(sign, words_at(panel, b)), both);
            some[p * B + b] = vaddq_u8(some[p * B + b], count_bits(both));
            differing[p * B + b] = vaddq_u8(differing[p * B + b], count_bits(differ));
          }
        }
      }
      EACH(p, P) EACH(b, B / 2) {
        const size_t i = p * B + 2 * b;
        const int16x8_t twice = vshlq_n_s16(count_of(differing[i], differing[i + 1]), 1);
        subtract(sums, p * stride + 2 * b * VECTOR, vsubq_s16(twice, count_of(some[i], some[i + 1])), bits);
      }
    }
  }
}

#define ARGUMENTS conv, runs, offsets, panel, sums, stride
#define TILE(P, B)                                                        \
  static void small_##P##x##B(PARAMETERS) { small(ARGUMENTS, P, B); }     \
  static void large_##P##x##B(PARAMETERS) { large(ARGUMENTS, P, B, 16); } \
  static void wide_##P##x##B(PARAMETERS) { large(ARGUMENTS, P, B, 32); }
#define MASKED(P, B)                                                        \
  static void masked_##P##x##B(PARAMETERS) { masked(ARGUMENTS, P, B, 16); } \
  static void masked_wide_##P##x##B(PARAMETERS) { masked(ARGUMENTS, P, B, 32); }
#define SHAPES(name, P, B, Q, C) \
  static const shape name##_shapes[2] = {{P, B, name##_##P##x##B}, {Q, C, name##_##Q##x##C}};

/* Sixteen registers on 32-bit ARM, else 32. */
#if defined(__arm__)
TILE(2, 4)
TILE(4, 2)
MASKED(2, 2)
SHAPES(small, 2, 4, 4, 2)
SHAPES(large, 2, 4, 4, 2)
SHAPES(wide, 2, 4, 4, 2)
SHAPES(masked, 2, 2, 2, 2)
SHAPES(masked_wide, 2, 2, 2, 2)
#else
TILE(2, 8)
TILE(4, 4)
MASKED(2, 4)
SHAPES(small, 2, 8, 4, 4)
SHAPES(large, 2, 8, 4, 4)
SHAPES(wide, 2, 8, 4, 4)
SHAPES(masked, 2, 4, 2, 4)
SHAPES(masked_wide, 2, 4, 2, 4)
#endif

static void lay_out(edgelm_conv* conv) {
  const int fits = sums_fit(conv);
  const size_t steps = conv->runs * conv->run_taps * words(conv);
  if (conv->planes == 2)
    lay_out_bits(conv, fits ? masked_shapes : masked_wide_shapes);
  else
    lay_out_bits(conv, steps <= FLUSH ? small_shapes : fits ? large_shapes : wide_shapes);
}

const edgelm_kernel edgelm_b1_neon = {
    .element = 1, .macs_per_us = 60000, .lay_out = lay_out, .pack = pack_bits, .stages = &edgelm_stages_neon};
