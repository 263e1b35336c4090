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

static void aim_pooled(const edgelm_chunk* c, const edgelm_span* s, edgelm_place to, uint8_t** targets) {
  uint8_t* first = to.at + (size_t)(s->y / 2) * to.row + (size_t)(s->x / 2) * to.pixel;
  for (int32_t i = 0; i < s->count; ++i)
    targets[i] = below(c, s) && beside(c, s, i) ? first + (size_t)i * to.pixel : NULL;
}

static void aim_squares(const edgelm_chunk* c, const edgelm_span* s, uint8_t* first, size_t step, size_t row,
                        uint8_t** targets) {
  for (int32_t i = 0; i < s->count; ++i, targets += 4, first += 2 * step) {
    const int down = below(c, s), right = beside(c, s, i);
    targets[0] = first;
    targets[1] = right ? first + step : NULL;
    targets[2] = down ? first + row : NULL;
    targets[3] = down && right ? first + row + step : NULL;
  }
}

size_t edgelm_chunk_aim(const edgelm_chunk* c, edgelm_way way, edgelm_place to, uint8_t* targets[EDGELM_CHUNK]) {
  const size_t scale = way == EDGELM_UPSAMPLED ? 2 : 1, step = scale * to.pixel, row = scale * to.row;
  for (const edgelm_span* s = c->span; s < c->span + c->spans; ++s) {
    uint8_t* first = to.at + (size_t)s->y * row + (size_t)s->x * step;
    if (way == EDGELM_POOLED) {
      aim_pooled(c, s, to, targets);
    } else if (c->squares) {
      aim_squares(c, s, first, step, row, targets);
      targets += 3 * s->count;
    } else {
      for (int32_t i = 0; i < s->count; ++i) targets[i] = first + (size_t)i * step;
    }
    targets += s->count;
  }
  return way == EDGELM_POOLED ? c->count / 4 : c->count;
}
