/* Repacking of the file's weight rows (edgelm/bits.py) into the panels of a kernel, once, at load. */
#include "qconv.h"

/* A file's weight: its sign bit and whether it is not zero. */
typedef struct weight_bits {
  unsigned sign, nonzero;
} weight_bits;

static weight_bits read_weight(const edgelm_qconv* op, const uint8_t* row, size_t k) {
  if (op->attrs.weight_bits == 1) return (weight_bits){row[k / 8] >> k % 8 & 1, 1};
  const unsigned code = row[k / 4] >> k % 4 * 2 & 3;
  return (weight_bits){code >> 1, code != 0};
}

static size_t row_bytes(const edgelm_qconv* op) {
  const edgelm_qconv_attrs* a = &op->attrs;
  return ((size_t)a->kernel_h * a->kernel_w * a->in_channels * a->weight_bits + 7) / 8;
}

void edgelm_pack(const edgelm_qconv* op, const uint8_t* weight) {
  const size_t O = op->attrs.out_channels, C = op->attrs.in_channels, lanes = op->kernel->lanes;
  const size_t taps = (size_t)op->attrs.kernel_h * op->attrs.kernel_w;
  for (size_t o = 0; o < O; ++o) {
    const uint8_t* row = weight + o * row_bytes(op);
    uint8_t* panel = op->packed + o / lanes * op->packed_panel_bytes;
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < C; ++c) {
        const weight_bits w = read_weight(op, row, tap * C + c);
        const size_t word = (tap * op->groups + c / op->group) * op->planes * lanes + o % lanes;
        const size_t sign = word * op->group + c % op->group, mask = sign + lanes * op->group;
        panel[sign / 8] |= w.sign << sign % 8;
        if (op->planes == 2) panel[mask / 8] |= w.nonzero << mask % 8;
      }
    }
  }
}

void edgelm_border_sums(const edgelm_qconv* op, const uint8_t* weight) {
  const size_t O = op->attrs.out_channels, C = op->attrs.in_channels, lanes = op->kernel->lanes;
  const size_t taps = (size_t)op->attrs.kernel_h * op->attrs.kernel_w;
  for (size_t o = 0; o < O; ++o) {
    const uint8_t* row = weight + o * row_bytes(op);
    for (size_t tap = 0; tap < taps; ++tap) {
      int32_t sum = 0;
      for (size_t c = 0; c < C; ++c) sum += 1 - 2 * (int32_t)read_weight(op, row, tap * C + c).sign;
      op->border[(o / lanes * taps + tap) * lanes + o % lanes] = sum;
    }
  }
}
