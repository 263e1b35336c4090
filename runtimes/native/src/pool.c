/* See pool.h. One mutex guards everything; a task is a range of indices that its workers and the caller draw from. */
#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_WORKERS = 63 };

struct edgelm_pool {
  atomic_int references;
  atomic_int owner; /* the process that the workers live in; 0: there are none */
  pthread_mutex_t lock;
  pthread_cond_t work, done;
  pthread_t workers[MAX_WORKERS];
  int count;
  int stop;
  /* The task at hand; job NULL: none. */
  void (*job)(void* user, size_t index);
  void* user;
  size_t total;
  atomic_size_t next;
  int seats;   /* workers that may still join */
  int working; /* workers that joined and are not done */
};

/* A forked child inherits this memory without the threads: locks and conditions may then wait for them for ever. */
static int has_workers(edgelm_pool* pool) { return atomic_load(&pool->owner) == (int)getpid(); }

static void draw(edgelm_pool* pool, void (*job)(void* user, size_t index), void* user, size_t total) {
  size_t index;
  while ((index = atomic_fetch_add(&pool->next, 1)) < total) job(user, index);
}

static void* worker(void* argument) {
  edgelm_pool* pool = argument;
  pthread_mutex_lock(&pool->lock);
  for (;;) {
    while (!pool->stop && !(pool->job && pool->seats > 0)) pthread_cond_wait(&pool->work, &pool->lock);
    if (pool->stop) break;
    --pool->seats;
    ++pool->working;
    void (*const job)(void* user, size_t index) = pool->job;
    void* const user = pool->user;
    const size_t total = pool->total;
    pthread_mutex_unlock(&pool->lock);
    draw(pool, job, user, total);
    pthread_mutex_lock(&pool->lock);
    if (--pool->working == 0) pthread_cond_signal(&pool->done);
  }
  pthread_mutex_unlock(&pool->lock);
  return NULL;
}

edgelm_pool* edgelm_pool_new(void) {
  edgelm_pool* pool = calloc(1, sizeof *pool);
  if (!pool) return NULL;
  atomic_init(&pool->references, 1);
  atomic_init(&pool->owner, 0);
  atomic_init(&pool->next, 0);
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->work, NULL);
  pthread_cond_init(&pool->done, NULL);
  return pool;
}

void edgelm_pool_retain(edgelm_pool* pool) { atomic_fetch_add(&pool->references, 1); }

void edgelm_pool_release(edgelm_pool* pool) {
  if (!pool || atomic_fetch_sub(&pool->references, 1) > 1) return;
  if (has_workers(pool)) {
    pthread_mutex_lock(&pool->lock);
    pool->stop = 1;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->count; ++i) pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
  }
  free(pool);
}

void edgelm_pool_grow(edgelm_pool* pool, int32_t threads) {
  if (atomic_load(&pool->owner) && !has_workers(pool)) return;
  pthread_mutex_lock(&pool->lock);
  while (pool->count < threads - 1 && pool->count < MAX_WORKERS) {
    if (pthread_create(&pool->workers[pool->count], NULL, worker, pool) != 0) break;
    ++pool->count;
    atomic_store(&pool->owner, (int)getpid());
  }
  pthread_mutex_unlock(&pool->lock);
}

void edgelm_pool_run(const edgelm_parallel* self, void (*job)(void* user, size_t index), size_t total, void* user) {
  edgelm_pool* pool = self->context;
  if (total < 2 || !has_workers(pool)) {
    for (size_t i = 0; i < total; ++i) job(user, i);
    return;
  }
  pthread_mutex_lock(&pool->lock);
  const int busy = pool->job != NULL;
  const size_t helpers = total - 1;
  if (!busy) {
    pool->job = job;
    pool->user = user;
    pool->total = total;
    atomic_store(&pool->next, 0);
    pool->seats = self->threads - 1;
    if ((size_t)pool->seats > helpers) pool->seats = (int)helpers;
    for (int i = 0; i < pool->seats; ++i) pthread_cond_signal(&pool->work);
  }
  pthread_mutex_unlock(&pool->lock);
  if (busy) {
    for (size_t i = 0; i < total; ++i) job(user, i);
    return;
  }
  draw(pool, job, user, total);
  pthread_mutex_lock(&pool->lock);
  pool->seats = 0; /* nobody else joins: every index is taken */
  while (pool->working > 0) pthread_cond_wait(&pool->done, &pool->lock);
  pool->job = NULL;
  pthread_mutex_unlock(&pool->lock);
}
