/* A small pool of worker threads for engines that lend us none (TFLite). Sleeps when idle, never spins. */
#ifndef EDGELM_POOL_H
#define EDGELM_POOL_H

#include "edgelm.h"

typedef struct edgelm_pool edgelm_pool;

/* Holds one reference; no thread starts yet. NULL where memory is short. */
edgelm_pool* edgelm_pool_new(void);
void edgelm_pool_retain(edgelm_pool* pool);
void edgelm_pool_release(edgelm_pool* pool); /* the last one joins the threads; NULL is fine */

/* See to it that `threads` - 1 workers exist, as far as the system allows. */
void edgelm_pool_grow(edgelm_pool* pool, int32_t threads);

/* `run` of edgelm_parallel with the pool as context: the caller works too. A caller that finds the pool busy works
 * alone, so that two interpreters may share one pool. */
void edgelm_pool_run(const edgelm_parallel* self, void (*job)(void* user, size_t index), size_t total, void* user);

#endif
