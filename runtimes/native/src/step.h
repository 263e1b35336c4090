/* What the files of a step's job share: a worker's memory and the task at hand. step_run.c walks through the pixels,
 * step_input.c prepares the input of convolutions that do not read a dense image, step_border.c corrects their borders.
 */
#ifndef EDGELM_STEP_H
#define EDGELM_STEP_H

#include "chunk.h"

enum {
  GATHERED = 16,                           /* pixels whose levels are gathered before they are built */
  ROOM = EDGELM_CHUNK + EDGELM_MAX_PIXELS, /* the last tile may go beyond the chunk */
};

/* A worker's memory. */
typedef struct edgelm_desk {
  uint8_t* sums; /* conv->sum_bits each */
  float* floats;
  float* pooled;
  uint8_t* levels;
  uint8_t* prepared;
  const uint8_t** runs;
  edgelm_port* ports;
} edgelm_desk;

typedef struct edgelm_task {
  const edgelm_run* run;
  const edgelm_step* step;
  const edgelm_node* node;
  const edgelm_conv* conv;
  edgelm_desk desk;
  size_t stride, levels_stride;
  edgelm_chunk chunk;
  edgelm_cursor cursor;
} edgelm_task;

/* step_desk.c: elements of a row of sums or floats; pixels of a chunk; rows and columns of the ring of prepared pixels;
 * where everything lies in a worker's memory (NULL: how much that is). */
size_t edgelm_stride_of(const edgelm_conv* conv, int32_t channels);
size_t edgelm_pixels_at_once(const edgelm_conv* conv, int32_t squares);
size_t edgelm_ring_rows(const edgelm_conv* conv, int32_t pairs);
size_t edgelm_ring_columns(const edgelm_conv* conv, int32_t strip);
size_t edgelm_lay_out_desk(const edgelm_conv* conv, int32_t channels, int32_t strip, const edgelm_step* step,
                           uint8_t* memory, edgelm_desk* out);

size_t edgelm_levels_stride(const edgelm_conv* conv);

/* Prepares `count` pixels that stand side by side in row py of the padded image, the first in its column px. */
void edgelm_prepare(const edgelm_task* t, int32_t py, int32_t px, size_t count, uint8_t* out);

/* Takes off what taps outside the image added to the chunk's sums; for convolutions with a `border`. */
void edgelm_mend_border(const edgelm_task* t);

#endif
