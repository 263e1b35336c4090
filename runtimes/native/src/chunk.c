/* Which pixels a chunk takes and where they lie. Spans make all of it plain runs of equal distances. */
#include "chunk.h"

static void take_rows(edgelm_chunk* c, edgelm_cursor* at, size_t most) {
  while (c->count < most && at->y < at->end) {
    const int32_t count = (int32_t)edgelm_min(most - c->count, (size_t)(at->end_x - at->x));
    c->span[c->spans++] = (edgelm_span){at->y, at->x, count};
    c->count += (size_t)count;
    at->x += count;
    if (at->x < at->end_x) continue;
    at->x = at->first_x;
    ++at->y;
  }
}

static void take_squares(edgelm_chunk* c, edgelm_cursor* at, size_t most) {
  while (c->count + 4 <= most && at->y < at->end) {
    const int32_t count = (int32_t)edgelm_min((most - c->count) / 4, (size_t)(at->end_x - at->x + 1) / 2);
    c->span[c->spans++] = (edgelm_span){at->y, at->x, count};
    c->count += 4 * (size_t)count;
    at->x += 2 * count;
    if (at->x < at->end_x) continue;
    at->x = at->first_x;
    at->y += 2;
  }
}

void edgelm_chunk_take(edgelm_chunk* c, edgelm_cursor* at, size_t most) {
  c->count = 0;
  c->spans = 0;
  if (c->squares)
    take_squares(c, at, most);
  else
    take_rows(c, at, most);
}

/* Columns of a span of squares that lie inside the map, and whether its second row does. */
static size_t inside(const edgelm_chunk* c, const edgelm_span* s) {
  return edgelm_min(2 * (size_t)s->count, (size_t)(c->W - s->x));
}
static int below(const edgelm_chunk* c, const edgelm_span* s) { return s->y + 1 < c->H; }

void edgelm_chunk_pixels(const edgelm_chunk* c, int32_t* y, int32_t* x) {
  for (const edgelm_span* s = c->span; s < c->span + c->spans; ++s) {
    const int32_t count = c->squares ? 2 * s->count : s->count, last = c->W - 1;
    for (int32_t k = 0; k < 1 + c->squares; ++k, y += count, x += count) {
      for (int32_t i = 0; i < count; ++i) {
        y[i] = s->y + (k && below(c, s));
        x[i] = s->x + i < last ? s->x + i : last;
      }
    }
  }
}

void edgelm_chunk_offsets(const edgelm_chunk* c, size_t row, size_t pixel, int32_t* offsets) {
  const int32_t step = (int32_t)pixel;
  for (const edgelm_span* s = c->span; s < c->span + c->spans; ++s) {
    const int32_t count = c->squares ? 2 * s->count : s->count, some = c->squares ? (int32_t)inside(c, s) : count;
    for (int32_t k = 0; k < 1 + c->squares; ++k, offsets += count) {
      const int32_t first = (int32_t)((size_t)(s->y + (k && below(c, s))) * row + (size_t)s->x * pixel);
      for (int32_t i = 0; i < some; ++i) offsets[i] = first + i * step;
      for (int32_t i = some; i < count; ++i) offsets[i] = offsets[some - 1];
    }
  }
}

/* Pooled: squares that lie inside the map as a whole. */
static size_t lines_of_squares(const edgelm_chunk* c, const edgelm_span* s, size_t first, edgelm_way way, uint8_t* at,
                               size_t step, size_t row, edgelm_line* lines) {
  const size_t columns = inside(c, s);
  edgelm_line* line = lines;
  if (way == EDGELM_POOLED && below(c, s) && columns > 1) *line++ = (edgelm_line){first / 4, columns / 2, at, step};
  if (way == EDGELM_POOLED) return (size_t)(line - lines);
  *line++ = (edgelm_line){first, columns, at, step};
  if (below(c, s)) *line++ = (edgelm_line){first + 2 * (size_t)s->count, columns, at + row, step};
  return (size_t)(line - lines);
}

size_t edgelm_chunk_lines(const edgelm_chunk* c, edgelm_way way, edgelm_place to, edgelm_line* lines) {
  const size_t scale = way == EDGELM_UPSAMPLED ? 2 : 1, shrink = way == EDGELM_POOLED ? 2 : 1;
  const size_t step = scale * to.pixel, row = scale * to.row;
  size_t first = 0, count = 0;
  for (const edgelm_span* s = c->span; s < c->span + c->spans; ++s) {
    uint8_t* at = to.at + (size_t)s->y / shrink * row + (size_t)s->x / shrink * step;
    if (c->squares)
      count += lines_of_squares(c, s, first, way, at, step, row, lines + count);
    else
      lines[count++] = (edgelm_line){first, (size_t)s->count, at, step};
    first += (size_t)s->count * (c->squares ? 4 : 1);
  }
  return count;
}
