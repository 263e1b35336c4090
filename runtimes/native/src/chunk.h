/* A chunk: the output pixels that go through the tiles together and on to the sinks.
 *
 * Its pixels fall into spans. In raster order a span is `count` neighbours of row y from column x on. Where the step
 * also hands on pooled values, pixels go in squares: a span is `count` squares of 2x2 side by side, the first with its
 * top left pixel at (y, x); first come the 2 * count pixels of row y, then those of row y + 1. What a square has
 * outside the map repeats the nearest pixel inside and is handed on to nobody.
 */
#ifndef EDGELM_CHUNK_H
#define EDGELM_CHUNK_H

#include "graph.h"

enum { EDGELM_CHUNK = 256 };

typedef struct edgelm_span {
  int32_t y, x, count;
} edgelm_span;

/* Values that go to equidistant places: `count` rows of the chunk's values from `first` on (of its pooled ones, a row
 * for each square), to at, at + step, ... */
typedef struct edgelm_line {
  size_t first, count;
  uint8_t* at;
  size_t step;
} edgelm_line;

/* Where a part's levels or a value's floats lie: the byte of the pixel (0, 0), from pixel to pixel, from row to row. */
typedef struct edgelm_place {
  uint8_t* at;
  size_t pixel, row;
} edgelm_place;
edgelm_place edgelm_place_floats(const edgelm_run* run, int32_t value);

/* What a sink is made from: integer sums or floats, of the pixels or the largest of each square. */
enum { EDGELM_SUMS, EDGELM_VALUES, EDGELM_POOLED_SUMS, EDGELM_POOLED_VALUES, EDGELM_SOURCES };

typedef enum edgelm_form {
  EDGELM_FORM_SIGNS_OF_SUMS, /* bits, by comparison of sums */
  EDGELM_FORM_SIGNS,         /* bits of floats, with bytes to themselves */
  EDGELM_FORM_MASKED_SIGNS,  /* bits of floats, put in one by one */
  EDGELM_FORM_LEVELS8,
  EDGELM_FORM_LEVELS16,
  EDGELM_FORM_FLOATS, /* channels innermost */
  EDGELM_FORM_PLANES, /* an output of NCHW */
} edgelm_form;

/* A sink of the step at hand, with what is the same for all of a job's chunks. */
typedef struct edgelm_port {
  const edgelm_sink* sink;
  const edgelm_conv* reader; /* of levels; else NULL */
  edgelm_form form;
  int32_t source;
  edgelm_place to;
  edgelm_quantizer quantizer; /* of levels */
} edgelm_port;

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
  const edgelm_port* port;
  int32_t ports;
  uint8_t needs[EDGELM_SOURCES]; /* 1: some port is made from it */
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

/* Where the chunk's values go in a place of that way; at most EDGELM_CHUNK lines, none of them empty. */
size_t edgelm_chunk_lines(const edgelm_chunk* chunk, edgelm_way way, edgelm_place to, edgelm_line* lines);

/* port.c: the step's sinks as ports, for which there is room. */
void edgelm_open_ports(edgelm_chunk* chunk, edgelm_port* ports);

/* Clears what nobody writes of the images that the step is first to write, for these rows of its output. */
void edgelm_clear_images(const edgelm_run* run, const edgelm_step* step, int32_t first_row, int32_t end_row);

/* sink.c: hands a chunk on through its ports. */
void edgelm_sink_chunk(edgelm_chunk* chunk);

#endif
