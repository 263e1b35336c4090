/* Exact padding for signs: bits outside the image are read as +1 (with a plane for zeros: as 0), and what they added
 * beyond the pad_value is taken off again.
 *
 * Pixels inside cost nothing: of a row that sees no padding above or below only its ends are looked at.
 */
#include "step.h"

/* The output columns and rows whose taps all lie inside: first_y .. end_y, first_x .. end_x. */
typedef struct interior {
  int32_t first_y, end_y, first_x, end_x;
} interior;

/* Output positions 0.. whose `reach` + 1 input positions lie in 0..size. */
static void inside(int32_t pad, int32_t stride, int32_t reach, int32_t size, int32_t* first, int32_t* end) {
  *first = (pad + stride - 1) / stride;
  const int32_t room = size + pad - reach - 1;
  *end = room < 0 ? 0 : room / stride + 1;
}

static void mend_pixel(const edgelm_task* t, edgelm_shape in, int32_t y, int32_t x, size_t pixel) {
  const edgelm_conv* conv = t->conv;
  const edgelm_qconv_attrs* a = &conv->attrs;
  const size_t width = conv->panels * conv->lanes;
  uint8_t* sums = t->desk.sums + pixel * t->stride * (size_t)conv->sum_bits / 8;
  const int32_t top = y * a->stride_h - a->pad_top, left = x * a->stride_w - a->pad_left;
  for (int32_t tap = 0; tap < a->kernel_h * a->kernel_w; ++tap) {
    const int32_t py = top + tap / a->kernel_w * a->dilation_h, px = left + tap % a->kernel_w * a->dilation_w;
    if (py >= 0 && py < in.H && px >= 0 && px < in.W) continue;
    conv->kernel->stages->subtract(sums, edgelm_sums_of(conv), conv->border + (size_t)tap * width, width);
  }
}

/* Pixels `first` .. `end` of a row, `at` the first one's place in the chunk. */
static void mend_row(const edgelm_task* t, edgelm_shape in, const interior* i, int32_t y, int32_t first, int32_t end,
                     size_t at) {
  const int whole = y < i->first_y || y >= i->end_y || i->first_x >= i->end_x;
  for (int32_t x = first; x < end; ++x) {
    if (!whole && x >= i->first_x && x < i->end_x) x = i->end_x;
    if (x < end) mend_pixel(t, in, y, x, at + (size_t)(x - first));
  }
}

void edgelm_mend_border(const edgelm_task* t) {
  const edgelm_qconv_attrs* a = &t->conv->attrs;
  const edgelm_chunk* c = &t->chunk;
  const edgelm_shape in = t->run->plan.shape[t->node->x[0]];
  interior i;
  inside(a->pad_top, a->stride_h, (a->kernel_h - 1) * a->dilation_h, in.H, &i.first_y, &i.end_y);
  inside(a->pad_left, a->stride_w, (a->kernel_w - 1) * a->dilation_w, in.W, &i.first_x, &i.end_x);
  size_t at = 0;
  int32_t y[EDGELM_CHUNK], x[EDGELM_CHUNK];
  if (!c->squares) {
    for (const edgelm_span* s = c->span; s < c->span + c->spans; at += (size_t)s->count, ++s)
      mend_row(t, in, &i, s->y, s->x, s->x + s->count, at);
    return;
  }
  edgelm_chunk_pixels(c, y, x);
  for (; at < c->count; ++at)
    if (y[at] < i.first_y || y[at] >= i.end_y || x[at] < i.first_x || x[at] >= i.end_x)
      mend_pixel(t, in, y[at], x[at], at);
}
