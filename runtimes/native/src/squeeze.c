/* Panels of indices in half or a quarter of their bytes, for who has little memory.
 *
 * An index has four bits of weights; the rest of its byte or word says where it stands, which is known. So two indices
 * share a byte, and each run spreads them again in scratch.
 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "conv.h"
#include "graph.h"

static _Thread_local int wanted = -1; /* -1: as the environment says */

void edgelm_graph_low_memory(int32_t on) { wanted = on < 0 ? -1 : on != 0; }

int edgelm_low_memory(void) {
  if (wanted >= 0) return wanted;
  const char* value = getenv("EDGELM_LOW_MEMORY");
  return value && *value && strcmp(value, "0") != 0;
}

static size_t heads(const edgelm_conv* conv) { return (size_t)conv->kernel->squeeze.head * (size_t)conv->lanes; }

void edgelm_squeeze_layout(edgelm_conv* conv) {
  const edgelm_squeeze_rule* rule = &conv->kernel->squeeze;
  if (!rule->unit || !edgelm_low_memory()) return;
  const size_t indices = (conv->panel_bytes - heads(conv)) / (size_t)rule->unit;
  conv->expanded_bytes = conv->panel_bytes;
  conv->panel_bytes = heads(conv) + (indices + 1) / 2;
  conv->squeezed = 1;
}

void edgelm_squeeze(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out) {
  const size_t unit = (size_t)conv->kernel->squeeze.unit, head = heads(conv);
  const size_t indices = (conv->expanded_bytes - head) / unit;
  memcpy(out, panel, head);
  for (size_t i = 0; i < indices; ++i) out[head + i / 2] |= (uint8_t)((panel[head + i * unit] & 15) << i % 2 * 4);
}

void edgelm_unsqueeze(const edgelm_conv* conv, const uint8_t* panel, uint8_t* out) {
  const size_t unit = (size_t)conv->kernel->squeeze.unit, groups = (size_t)conv->kernel->squeeze.groups;
  const size_t head = heads(conv), indices = (conv->expanded_bytes - head) / unit;
  memcpy(out, panel, head);
  panel += head;
  out += head;
  if (unit == 1) {
    for (size_t i = 0; i < indices; ++i) out[i] = (uint8_t)((panel[i / 2] >> i % 2 * 4 & 15) | i % groups * 16);
  } else {
    uint16_t* words = (uint16_t*)(void*)out;
    for (size_t i = 0; i < indices; ++i) words[i] = (uint16_t)((panel[i / 2] >> i % 2 * 4 & 15) | i % groups * 16);
  }
}

/* ---- what all graphs take ---- */

static atomic_llong weights, resident, scratch;

void edgelm_count_weights(int64_t count, int64_t bytes) {
  atomic_fetch_add(&weights, count);
  atomic_fetch_add(&resident, bytes);
}

void edgelm_count_scratch(size_t bytes) {
  long long most = atomic_load_explicit(&scratch, memory_order_relaxed);
  while (most < (long long)bytes && !atomic_compare_exchange_weak(&scratch, &most, (long long)bytes)) {
  }
}

void edgelm_graph_memory(edgelm_memory_info* out) {
  *out = (edgelm_memory_info){atomic_load(&weights), atomic_load(&resident), atomic_load(&scratch)};
}
