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

static int below(const edgelm_chunk* c, const edgelm_span* s) { return s->y + 1 < c->H; }
static int beside(const edgelm_chunk* c, const edgelm_span* s, int32_t square) { return s->x + 2 * square + 1 < c->W; }

void edgelm_chunk_offsets(const edgelm_chunk* c, size_t row, size_t pixel, int32_t* offsets) {
  const int32_t step = (int32_t)pixel;
  for (const edgelm_span* s = c->span; s < c->span + c->spans; ++s) {
    const int32_t first = (int32_t)((size_t)s->y * row + (size_t)s->x * pixel);
    if (!c->squares) {
      for (int32_t i = 0; i < s->count; ++i) offsets[i] = first + i * step;
      offsets += s->count;
      continue;
    }
    const int32_t down = below(c, s) ? (int32_t)row : 0;
    for (int32_t i = 0; i < s->count; ++i, offsets += 4) {
      const int32_t right = beside(c, s, i) ? step : 0;
      offsets[0] = first + 2 * i * step;
      offsets[1] = offsets[0] + right;
      offsets[2] = offsets[0] + down;
      offsets[3] = offsets[0] + down + right;
    }
  }
}

void edgelm_chunk_pixels(const edgelm_chunk* c, int32_t* y, int32_t* x) {
  for (const edgelm_span* s = c->span; s < c->span + c->spans; ++s) {
    for (int32_t i = 0; !c->squares && i < s->count; ++i, ++y, ++x) {
      *y = s->y;
      *x = s->x + i;
    }
    for (int32_t i = 0; c->squares && i < s->count; ++i, y += 4, x += 4) {
      y[0] = y[1] = s->y;
      y[2] = y[3] = s->y + below(c, s);
      x[0] = x[2] = s->x + 2 * i;
      x[1] = x[3] = x[0] + beside(c, s, i);
    }
  }
}

/* A square at the right edge of an odd width has its right half outside, one at the bottom its lower half. */
static size_t lines_of_squares(const edgelm_chunk* c, const edgelm_span* s, size_t first, edgelm_way way, uint8_t* at,
                               size_t step, size_t row, edgelm_line* lines) {
  const size_t all = (size_t)s->count, whole = all - !beside(c, s, s->count - 1);
  edgelm_line* line = lines;
  if (way == EDGELM_POOLED) {
    if (below(c, s) && whole) *line++ = (edgelm_line){first / 4, 1, whole, at, step};
    return (size_t)(line - lines);
  }
  for (size_t k = 0; k < 4; ++k) {
    const size_t count = k % 2 ? whole : all;
    if (count && (k < 2 || below(c, s)))
      *line++ = (edgelm_line){first + k, 4, count, at + k / 2 * row + k % 2 * step, 2 * step};
  }
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
      lines[count++] = (edgelm_line){first, 1, (size_t)s->count, at, step};
    first += (size_t)s->count * (c->squares ? 4 : 1);
  }
  return count;
}
