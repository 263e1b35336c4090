/* One job of a step: some rows of output pixels, chunk by chunk through the tiles and on to the sinks.
 *
 * A convolution finds its input in one of three ways: in its dense image (`direct`); pixel by pixel, prepared for a
 * chunk (`flat`, 1x1); or in a ring of prepared rows that moves down with the output (`ring`).
 */
#include <string.h>

#include "step.h"

/* All panels for `count` of the chunk's pixels from `first` on, whose input starts at these runs and offsets. */
static void convolve(edgelm_task* t, const uint8_t* const* runs, int32_t* offsets, size_t first, size_t count) {
  const edgelm_conv* conv = t->conv;
  const size_t pixels = (size_t)conv->pixels, sum_bytes = (size_t)conv->sum_bits / 8;
  const uint8_t* weights = conv->weights;
  size_t panel_bytes = conv->panel_bytes;
  if (t->step->expanded >= 0) {
    weights = t->run->plan.memory + t->run->plan.offset[t->step->expanded];
    panel_bytes = conv->expanded_bytes;
  }
  for (size_t i = count; i < edgelm_up(count, pixels); ++i) offsets[i] = offsets[count - 1];
  for (size_t panel = 0; panel < conv->panels; ++panel, weights += panel_bytes) {
    uint8_t* sums = t->desk.sums + (first * t->stride + panel * conv->lanes) * sum_bytes;
    if (conv->tiles) conv->tiles(conv, runs, offsets, count, weights, sums, t->stride);
    for (size_t i = 0; !conv->tiles && i < count; i += pixels)
      conv->tile(conv, runs, offsets + i, weights, (uint32_t*)(void*)(sums + i * t->stride * sum_bytes), t->stride);
  }
}

static void hand_on(edgelm_task* t) {
  if (t->conv->border) edgelm_mend_border(t);
  edgelm_sink_chunk(&t->chunk);
}

static void run_direct(edgelm_task* t) {
  const edgelm_conv* conv = t->conv;
  const edgelm_qconv_attrs* a = &conv->attrs;
  const edgelm_plan* plan = &t->run->plan;
  const edgelm_shape in = plan->shape[t->node->x[0]];
  const size_t row_bytes = (size_t)(a->pad_left + in.W + a->pad_right) * conv->pixel_bytes;
  const uint8_t* image = plan->memory + plan->offset[plan->graph->image[t->step->node]];
  const uint8_t** runs = t->desk.runs;
  int32_t offsets[ROOM];
  const size_t columns = conv->runs / a->kernel_h; /* 1, or kernel_w with a dilation */
  for (size_t r = 0; r < conv->runs; ++r)
    runs[r] = image + r / columns * a->dilation_h * row_bytes + r % columns * a->dilation_w * conv->pixel_bytes;
  for (;;) {
    edgelm_chunk_take(&t->chunk, &t->cursor, edgelm_pixels_at_once(conv, t->chunk.squares));
    if (!t->chunk.count) break;
    edgelm_chunk_offsets(&t->chunk, a->stride_h * row_bytes, a->stride_w * conv->pixel_bytes, offsets);
    convolve(t, runs, offsets, 0, t->chunk.count);
    hand_on(t);
  }
}

/* A chunk's pixels, of a 1x1 convolution. */
static void prepare_chunk(const edgelm_task* t) {
  const edgelm_chunk* c = &t->chunk;
  const size_t pixel = t->conv->pixel_bytes;
  uint8_t* to = t->desk.prepared;
  if (!c->squares) {
    for (const edgelm_span* s = c->span; s < c->span + c->spans; to += (size_t)s->count * pixel, ++s)
      edgelm_prepare(t, s->y, s->x, (size_t)s->count, to);
    return;
  }
  int32_t y[EDGELM_CHUNK], x[EDGELM_CHUNK];
  edgelm_chunk_pixels(c, y, x);
  for (size_t i = 0; i < c->count; ++i) edgelm_prepare(t, y[i], x[i], 1, to + i * pixel);
}

static void run_flat(edgelm_task* t) {
  const uint8_t* runs[1] = {t->desk.prepared};
  int32_t offsets[ROOM];
  for (;;) {
    edgelm_chunk_take(&t->chunk, &t->cursor, edgelm_pixels_at_once(t->conv, t->chunk.squares));
    if (!t->chunk.count) break;
    prepare_chunk(t);
    for (size_t i = 0; i < t->chunk.count; ++i) offsets[i] = (int32_t)(i * t->conv->pixel_bytes);
    convolve(t, runs, offsets, 0, t->chunk.count);
    hand_on(t);
  }
}

/* Where the taps of an output row lie in the ring. */
static void find_runs(const edgelm_task* t, int32_t row, size_t row_bytes) {
  const edgelm_conv* conv = t->conv;
  const edgelm_qconv_attrs* a = &conv->attrs;
  const int32_t slots = (int32_t)edgelm_ring_rows(conv, t->chunk.squares);
  const size_t per_row = conv->runs / a->kernel_h;
  for (size_t r = 0; r < conv->runs; ++r) {
    const int32_t py = row * a->stride_h + (int32_t)(r / per_row) * a->dilation_h;
    t->desk.runs[r] =
        t->desk.prepared + (size_t)(py % slots) * row_bytes + r % per_row * a->dilation_w * conv->pixel_bytes;
  }
}

/* The chunk's pixels, which are those of one row or, in squares, of a pair of rows. */
static void convolve_rows(edgelm_task* t, size_t row_bytes) {
  const edgelm_chunk* c = &t->chunk;
  const edgelm_span* s = &c->span[0];
  const size_t pixel = t->conv->attrs.stride_w * t->conv->pixel_bytes, half = c->squares ? c->count / 2 : c->count;
  for (int32_t k = 0; k < 1 + c->squares; ++k) {
    int32_t offsets[ROOM];
    for (size_t i = 0; i < half; ++i) { /* a square beyond the last column repeats that */
      const int32_t x = s->x + (int32_t)i < c->W ? s->x + (int32_t)i : c->W - 1;
      offsets[i] = (int32_t)((size_t)(x - t->cursor.first_x) * pixel);
    }
    find_runs(t, s->y + k < c->H ? s->y + k : s->y, row_bytes);
    convolve(t, t->desk.runs, offsets, (size_t)k * half, half);
  }
  hand_on(t);
}

static void run_strip(edgelm_task* t, int32_t first_row, int32_t end_row) {
  const edgelm_conv* conv = t->conv;
  const edgelm_qconv_attrs* a = &conv->attrs;
  const int32_t slots = (int32_t)edgelm_ring_rows(conv, t->chunk.squares), unit = 1 + t->chunk.squares;
  const int32_t first_x = t->cursor.first_x, px = first_x * a->stride_w;
  const size_t columns = edgelm_ring_columns(conv, t->cursor.end_x - first_x), row_bytes = columns * conv->pixel_bytes;
  int32_t ready = first_row * a->stride_h; /* first padded row that is not prepared */
  for (int32_t row = first_row; row < end_row; row += unit) {
    const int32_t top = row * a->stride_h;
    ready = ready > top ? ready : top;
    for (; ready < top + slots; ++ready)
      edgelm_prepare(t, ready, px, columns, t->desk.prepared + (size_t)(ready % slots) * row_bytes);
    t->cursor.y = row;
    t->cursor.x = first_x;
    t->cursor.end = row + 1;
    for (;;) {
      edgelm_chunk_take(&t->chunk, &t->cursor, edgelm_pixels_at_once(conv, t->chunk.squares));
      if (!t->chunk.count) break;
      convolve_rows(t, row_bytes);
    }
  }
}

static void run_ring(edgelm_task* t, int32_t strip) {
  const int32_t first_row = t->cursor.y, end_row = t->cursor.end, W = t->cursor.end_x;
  for (int32_t x = 0; x < W; x += strip) {
    t->cursor.first_x = x;
    t->cursor.end_x = x + strip < W ? x + strip : W;
    run_strip(t, first_row, end_row);
  }
}

/* ---- without a convolution ---- */

/* Pixels that lie in a row of floats as stages read them, whole vectors each, are handed on from there. */
static void run_in_place(edgelm_task* t, int32_t value) {
  const edgelm_place from = edgelm_place_floats(t->run, value);
  t->chunk.stride = (size_t)t->run->plan.shape[value].C;
  for (;;) {
    edgelm_chunk_take(&t->chunk, &t->cursor, EDGELM_CHUNK);
    if (!t->chunk.count) break;
    const edgelm_span* first = &t->chunk.span[0];
    t->chunk.floats = (float*)(void*)(from.at + (size_t)first->y * from.row + (size_t)first->x * from.pixel);
    edgelm_sink_chunk(&t->chunk);
  }
}

/* Pixels of an input (a transposition where it is NCHW), or of a sum of values. */
static void run_plain(edgelm_task* t) {
  const edgelm_run* run = t->run;
  const edgelm_shape s = run->plan.shape[t->step->value];
  const int32_t* parts = t->node ? t->node->x : &t->step->value;
  const int32_t count = t->node ? t->node->count : 1;
  int32_t y[EDGELM_CHUNK], x[EDGELM_CHUNK];
  const int planes = t->step->kind == EDGELM_STEP_LOAD && run->layout == EDGELM_NCHW;
  if (count == 1 && !planes && !t->step->pooled && s.C % 32 == 0) {
    run_in_place(t, parts[0]);
    return;
  }
  for (;;) {
    edgelm_chunk_take(&t->chunk, &t->cursor, EDGELM_CHUNK);
    if (!t->chunk.count) break;
    edgelm_chunk_pixels(&t->chunk, y, x);
    for (size_t i = 0; i < t->chunk.count; ++i) {
      float* row = t->desk.floats + i * t->stride;
      const int32_t py = y[i], px = x[i];
      if (planes) {
        const size_t plane = (size_t)s.H * s.W, at = run->batch * plane * s.C + (size_t)py * s.W + px;
        const float* from = run->inputs[t->step->value].data + at;
        if (t->step->pooled) {
          for (int32_t c = 0; c < s.C; ++c) row[c] = from[c * plane];
        } else { /* the chunk's pixels lie one behind the other in each plane */
          run->plan.graph->stages->transpose(from, plane, row, t->stride, (size_t)s.C, t->chunk.count);
          break;
        }
        continue;
      }
      for (int32_t k = 0; k < count; ++k) {
        const edgelm_place from = edgelm_place_floats(run, parts[k]);
        const float* values = (const float*)(const void*)(from.at + py * from.row + px * from.pixel);
        if (k == 0)
          memcpy(row, values, (size_t)s.C * sizeof *row);
        else
          for (int32_t c = 0; c < s.C; ++c) row[c] += values[c];
      }
    }
    edgelm_sink_chunk(&t->chunk);
  }
}

void edgelm_step_jobs(const edgelm_run* run, int32_t index, int32_t job, int32_t count, uint8_t* worker) {
  const edgelm_graph* graph = run->plan.graph;
  const edgelm_step* step = &graph->step[index];
  const edgelm_step_plan* plan = &run->plan.step[index];
  const edgelm_shape out = run->plan.shape[step->value];
  const int32_t unit = step->pooled ? 2 : 1, first = job * plan->unit_rows * unit;
  const int32_t last = first + count * plan->unit_rows * unit;
  edgelm_task t; /* field by field: clearing its chunk's room takes longer than a small step */
  t.run = run;
  t.step = step;
  t.node = step->node >= 0 ? &graph->node[step->node] : NULL;
  t.conv = step->kind == EDGELM_STEP_CONV ? &graph->conv[t.node->conv] : NULL;
  t.cursor = (edgelm_cursor){.y = first, .end = last < out.H ? last : out.H, .end_x = out.W};
  t.stride = edgelm_stride_of(t.conv, out.C);
  edgelm_lay_out_desk(t.conv, out.C, plan->strip, step, worker, &t.desk);
  t.chunk.run = run;
  t.chunk.step = step;
  t.chunk.conv = t.conv;
  t.chunk.H = out.H;
  t.chunk.W = out.W;
  t.chunk.squares = step->pooled;
  t.chunk.channels = (size_t)out.C;
  t.chunk.sums = t.conv ? t.desk.sums : NULL;
  t.chunk.floats = t.desk.floats;
  t.chunk.pooled = t.desk.pooled;
  t.chunk.stride = t.stride;
  edgelm_open_ports(&t.chunk, t.desk.ports);
  edgelm_clear_images(run, step, first, t.cursor.end);
  if (!t.conv) {
    run_plain(&t);
  } else if (!edgelm_prepares(t.conv)) {
    run_direct(&t);
  } else {
    t.levels_stride = edgelm_levels_stride(t.conv);
    memset(t.desk.levels, 0, GATHERED * t.levels_stride);
    if (edgelm_is_flat(t.conv))
      run_flat(&t);
    else
      run_ring(&t, plan->strip);
  }
}

void edgelm_expand_job(const edgelm_run* run, int32_t index, int32_t panel) {
  const edgelm_step* step = &run->plan.graph->step[index];
  const edgelm_conv* conv = &run->plan.graph->conv[run->plan.graph->node[step->node].conv];
  uint8_t* to = run->plan.memory + run->plan.offset[step->expanded];
  void (*spread)(const edgelm_conv*, const uint8_t*, uint8_t*) =
      conv->squeezed ? edgelm_unsqueeze : conv->kernel->expand;
  spread(conv, conv->weights + (size_t)panel * conv->panel_bytes, to + (size_t)panel * conv->expanded_bytes);
}
