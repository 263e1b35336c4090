/* Signs on ARMv8.2 (b1): a dot product adds the bytes of differing bits to sums of 32 bits, already times -2. */
#include "bits_neon.h"

extern const struct edgelm_stages edgelm_stages_neon;

static inline int32x4_t add_counts(int32x4_t sums, uint32x4_t bits, int8x16_t factors) {
  return vdotq_s32(sums, vreinterpretq_s8_u8(count_bits(bits)), factors);
}

#define INLINE static inline __attribute__((always_inline))
#define PARAMETERS                                                                                                   \
  const edgelm_conv *conv, const uint8_t *const *runs, const int32_t *offsets, const uint8_t *panel, uint32_t *sums, \
      size_t stride

/* Of P pixels times B vectors, which the callers give as constants. */
INLINE void store_all(const int32x4_t* total, uint32_t* sums, size_t stride, const size_t P, const size_t B,
                      const int32_t bits) {
  EACH(p, P) EACH(b, B) {
    const size_t at = p * stride + b * VECTOR;
    if (bits == 32)
      vst1q_s32((int32_t*)sums + at, total[p * B + b]);
    else if (b % 2 == 0)
      vst1q_s16((int16_t*)sums + at,
                vuzp1q_s16(vreinterpretq_s16_s32(total[p * B + b]), vreinterpretq_s16_s32(total[p * B + b + 1])));
  }
}

INLINE void plain(PARAMETERS, const size_t P, const size_t B, const int32_t bits) {
  const int8x16_t minus_two = vdupq_n_s8(-2);
  int32x4_t total[16];
  EACH(i, P * B) total[i] = vdupq_n_s32(products(conv));
  for (size_t run = 0; run < conv->runs; ++run) {
    const uint8_t* x[4];
    EACH(p, P) x[p] = runs[run] + offsets[p];
    for (size_t at = 0; at < conv->steps; ++at, panel += 16 * B) {
      uint32x4_t a[4];
      EACH(p, P) a[p] = broadcast(x[p] + 4 * at);
      EACH(b, B) {
        const uint32x4_t w = words_at(panel, b);
        EACH(p, P) total[p * B + b] = add_counts(total[p * B + b], veorq_u32(a[p], w), minus_two);
      }
    }
  }
  store_all(total, sums, stride, P, B, bits);
}

/* Signs with masks: how many products are not zero, less twice the differing ones among them. */
INLINE void masked(PARAMETERS, const size_t P, const size_t B, const int32_t bits) {
  const int8x16_t one = vdupq_n_s8(1), minus_two = vdupq_n_s8(-2);
  int32x4_t total[16];
  EACH(i, P * B) total[i] = vdupq_n_s32(0);
  for (size_t run = 0; run < conv->runs; ++run) {
    const uint8_t* x[4];
    EACH(p, P) x[p] = runs[run] + offsets[p];
    for (size_t at = 0; at < conv->steps; ++at, panel += 32 * B) {
      EACH(p, P) {
        const uint32x4_t sign = broadcast(x[p] + 8 * at), mask = broadcast(x[p] + 8 * at + 4);
        EACH(b, B) {
          const uint32x4_t both = vandq_u32(mask, words_at(panel, B + b));
          const uint32x4_t differ = vandq_u32(veorq_u32(sign, words_at(panel, b)), both);
          total[p * B + b] = add_counts(add_counts(total[p * B + b], both, one), differ, minus_two);
        }
      }
    }
  }
  store_all(total, sums, stride, P, B, bits);
}

#define TILE(name, P, B)                                                                                 \
  static void name##_##P##x##B(PARAMETERS) { name(conv, runs, offsets, panel, sums, stride, P, B, 16); } \
  static void name##_wide_##P##x##B(PARAMETERS) { name(conv, runs, offsets, panel, sums, stride, P, B, 32); }

TILE(plain, 2, 8)
TILE(plain, 4, 4)
TILE(masked, 2, 4)

static void lay_out(edgelm_conv* conv) {
  static const shape shapes[2][2][2] = {
      {{{2, 8, plain_wide_2x8}, {4, 4, plain_wide_4x4}}, {{2, 8, plain_2x8}, {4, 4, plain_4x4}}},
      {{{2, 4, masked_wide_2x4}, {2, 4, masked_wide_2x4}}, {{2, 4, masked_2x4}, {2, 4, masked_2x4}}}};
  lay_out_bits(conv, shapes[conv->planes - 1][sums_fit(conv)]);
}

const edgelm_kernel edgelm_b1_dotprod = {
    .element = 1, .macs_per_us = 150000, .lay_out = lay_out, .pack = pack_bits, .stages = &edgelm_stages_neon};
