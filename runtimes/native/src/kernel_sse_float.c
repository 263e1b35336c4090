/* Floats on SSE4.1 (f32, r32). Low-bit weights stay bits in memory and become floats in scratch at each run. */
#include "float_x86.inc"

extern const struct edgelm_stages edgelm_stages_sse;

static void lay_out_bits(edgelm_conv* conv) {
  lay_out(conv);
  conv->expanded_bytes = conv->panel_bytes;
  conv->panel_bytes = conv->expanded_bytes / (8 * sizeof(float)) * conv->planes;
}

/* For each weight of a filter a bit of its lane: the sign, and with two planes whether it is not zero. */
static void pack_bits(const edgelm_conv* conv, const edgelm_weights* weights, size_t panel, uint8_t* out) {
  const size_t O = conv->attrs.out_channels, C = conv->attrs.in_channels;
  const size_t taps = (size_t)conv->attrs.kernel_h * conv->attrs.kernel_w;
  uint8_t* words = out;
  for (size_t o = panel * LANES; o < edgelm_min(O, (panel + 1) * LANES); ++o) {
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const int32_t value = edgelm_weight(conv, weights, o, tap, c);
        uint8_t* word = words + (tap * C + c) * conv->planes;
        word[0] |= (uint8_t)((value < 0) << o % LANES);
        if (conv->planes == 2) word[1] |= (uint8_t)((value != 0) << o % LANES);
      }
    }
  }
}

/* -1 in each lane of the vector whose bit is set. */
static inline vec lanes_of(uint8_t bits, size_t vector) {
  static const int32_t place[LANES] = {1, 2, 4, 8, 16, 32, 64, 128};
  const vec places = load(place + vector * WORDS);
  return V(cmpeq_epi32)(ALL(and)(V(set1_epi32)(bits), places), places);
}

static void expand(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out) {
  const vec top = V(set1_epi32)(INT32_MIN), one = V(set1_epi32)(0x3f800000); /* -0.0f, 1.0f */
  const uint8_t* words = panel;
  for (size_t at = 0; at < conv->runs * conv->steps; ++at, words += conv->planes) {
    for (size_t vector = 0; vector < 2; ++vector, out += BYTES) {
      const vec value = ALL(or)(one, ALL(and)(lanes_of(words[0], vector), top));
      store(out, conv->planes == 2 ? ALL(and)(value, lanes_of(words[1], vector)) : value);
    }
  }
}

const edgelm_kernel edgelm_f32_sse = {.element = 32,
                                      .macs_per_us = 12000,
                                      .lay_out = lay_out_bits,
                                      .pack = pack_bits,
                                      .expand = expand,
                                      .stages = &edgelm_stages_sse};
const edgelm_kernel edgelm_r32_sse = {
    .element = 32, .macs_per_us = 12000, .lay_out = lay_out, .pack = pack_floats, .stages = &edgelm_stages_sse};
