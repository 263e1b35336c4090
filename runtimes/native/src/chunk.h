/* A chunk: the output pixels that go through the tiles together and on to the sinks.
 *
 * Its pixels fall into spans. In raster order a span is `count` neighbours of row y from column x on. Where the step
 * also hands on pooled values, pixels go in squares: a span is `count` squares of 2x2 side by side, the first with its
 * top left pixel at (y, x), and each square's pixels are top left, top right, bottom left, bottom right. What a square
 * has outside the map repeats the nearest pixel inside and is handed on to nobody.
 */
#ifndef EDGELM_CHUNK_H
#define EDGELM_CHUNK_H

#include "graph.h"

enum { EDGELM_CHUNK = 128 };

typedef struct edgelm_span {
  int32_t y, x, count;
} edgelm_span;

/* Values that go to equidistant places: rows first, first + every, ... of the chunk's values (of its pooled ones, a row
 * for each square), `count` in all, to at, at + step, ... */
typedef struct edgelm_line {
  size_t first, every, count;
  uint8_t* at;
  size_t step;
} edgelm_line;

typedef struct edgelm_chunk {
  const edgelm_run* run;
  const edgelm_step* step;
  const edgelm_conv* conv; /* NULL: a load or a move, `floats` alone */
  int32_t H, W;            /* of the map */
  int32_t squares;         /* 1: pixels go in squares of four */
  size_t count, channels;
  const void* sums; /* (count, stride) of a convolution: conv->sum_bits each */
  float* floats;    /* (count, stride) */
  void* pooled;     /* room for (count / 4, stride) floats */
  size_t stride;
  int32_t spans;
  edgelm_span span[EDGELM_CHUNK];
  edgelm_line line[EDGELM_CHUNK]; /* room for whoever asks for lines */
} edgelm_chunk;

/* The next pixel to take, and where rows and the job end. */
typedef struct edgelm_cursor {
  int32_t y, x, end, first_x, end_x;
} edgelm_cursor;

/* Takes the next pixels, at most so many. */
void edgelm_chunk_take(edgelm_chunk* chunk, edgelm_cursor* cursor, size_t most);

/* Where pixels lie that are `pixel` bytes apart in rows of `row` bytes. */
void edgelm_chunk_offsets(const edgelm_chunk* chunk, size_t row, size_t pixel, int32_t* offsets);

/* The pixels themselves. */
void edgelm_chunk_pixels(const edgelm_chunk* chunk, int32_t* y, int32_t* x);

/* Where a part's levels or a value's floats lie: the byte of the pixel (0, 0), from pixel to pixel, from row to row. */
typedef struct edgelm_place {
  uint8_t* at;
  size_t pixel, row;
} edgelm_place;
edgelm_place edgelm_place_floats(const edgelm_run* run, int32_t value);

/* Where the chunk's values go in a place of that way; at most EDGELM_CHUNK lines, none of them empty. */
size_t edgelm_chunk_lines(const edgelm_chunk* chunk, edgelm_way way, edgelm_place to, edgelm_line* lines);

/* sink.c: hands a chunk on. */
void edgelm_sink_chunk(edgelm_chunk* chunk);

/* Clears what nobody writes of the images that the step is first to write, for these rows of its output. */
void edgelm_sink_clear(const edgelm_run* run, const edgelm_step* step, int32_t first_row, int32_t end_row);

#endif
