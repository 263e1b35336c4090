/* A worker's memory for a step: how many pixels go together, and what they need. */
#include "step.h"

/* Without a convolution few channels lie without gaps, so that many pixels can be one row of a stage. */
size_t edgelm_stride_of(const edgelm_conv* conv, int32_t channels) {
  if (!conv) return channels < 16 ? (size_t)channels : edgelm_up((size_t)channels, 16);
  return edgelm_up(conv->panels * conv->lanes, 16);
}

/* As many pixels as keep the sums and what is prepared for the pixels of a 1x1 convolution in the level-1 cache, in
 * whole tiles. Pixels in squares are those of two rows, each of which is tiled on its own; see convolve_rows. */
size_t edgelm_pixels_at_once(const edgelm_conv* conv, int32_t squares) {
  const size_t rows = squares && !edgelm_is_flat(conv) ? 2 : 1, tiles = rows * (size_t)conv->pixels;
  const size_t budget = 16 << 10, pixel = conv->panels * conv->lanes * (size_t)conv->sum_bits / 8;
  const size_t room = conv->kernel->element == 32 ? 2 * budget : budget; /* larger tables, better in fewer pieces */
  size_t most = edgelm_min(budget / pixel, EDGELM_CHUNK);
  if (edgelm_prepares(conv) && edgelm_is_flat(conv)) most = edgelm_min(most, room / conv->pixel_bytes);
  const size_t unit = rows == 2 ? edgelm_up(tiles, 4) : tiles;
  return edgelm_max(most / unit * unit, edgelm_up(4, unit));
}

/* Rows that an output row sees, or where they go in pairs two of them. */
size_t edgelm_ring_rows(const edgelm_conv* conv, int32_t pairs) {
  const edgelm_qconv_attrs* a = &conv->attrs;
  return (size_t)(a->kernel_h - 1) * a->dilation_h + 1 + (size_t)(pairs ? a->stride_h : 0);
}

size_t edgelm_ring_columns(const edgelm_conv* conv, int32_t strip) {
  return (size_t)(strip - 1) * conv->attrs.stride_w + (size_t)(conv->attrs.kernel_w - 1) * conv->attrs.dilation_w + 1;
}

size_t edgelm_lay_out_desk(const edgelm_conv* conv, int32_t channels, int32_t strip, const edgelm_step* step,
                           uint8_t* memory, edgelm_desk* out) {
  const size_t stride = edgelm_stride_of(conv, channels),
               count = conv ? edgelm_pixels_at_once(conv, step->pooled) : EDGELM_CHUNK;
  const size_t runs = conv ? conv->runs * sizeof(uint8_t*) : 0, row = stride * sizeof(float);
  /* The last tile may go beyond the chunk. */
  size_t sizes[7] = {(count + EDGELM_MAX_PIXELS) * row, count * row, count / 4 * row, 0, 0, runs}, at[7];
  sizes[6] = (size_t)step->sinks * sizeof(edgelm_port);
  if (conv && edgelm_prepares(conv)) {
    const size_t ring =
        edgelm_is_flat(conv) ? 0 : edgelm_ring_rows(conv, step->pooled) * edgelm_ring_columns(conv, strip);
    sizes[3] = GATHERED * edgelm_levels_stride(conv);
    sizes[4] = (edgelm_is_flat(conv) ? count : ring) * conv->pixel_bytes + 2 * EDGELM_SLACK;
  }
  size_t used = 0;
  for (int i = 0; i < 7; used += edgelm_up(sizes[i], 64), ++i) at[i] = used;
  if (memory)
    *out = (edgelm_desk){(void*)(memory + at[0]), (void*)(memory + at[1]), (void*)(memory + at[2]), memory + at[3],
                         memory + at[4],          (void*)(memory + at[5]), (void*)(memory + at[6])};
  return used;
}

size_t edgelm_worker_bytes(const edgelm_conv* conv, int32_t channels, int32_t strip, const edgelm_step* step) {
  return edgelm_lay_out_desk(conv, channels, strip, step, NULL, NULL);
}
