/* Workers from ONNX Runtime's own pool, and how many there are, which the runtime does not tell a custom op.
 *
 * A session of one thread must not be planned for more, since that takes memory and with it time. So the first runs
 * try: two jobs that wait for each other meet if there is a second thread.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "ort_ops.h"

enum { MAX_THREADS = 16, TRIALS = 3, PATIENCE_NS = 4000000 };

typedef struct meeting {
  atomic_int arrived, met;
} meeting;

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void meet(void* user, size_t index) {
  meeting* m = user;
  (void)index;
  if (atomic_fetch_add(&m->arrived, 1) > 0) return;
  for (const int64_t end = now_ns() + PATIENCE_NS; now_ns() < end; sched_yield()) {
    if (atomic_load(&m->arrived) < 2) continue;
    atomic_store(&m->met, 1);
    return;
  }
}

int32_t edgelm_ort_workers(edgelm_ort_crew* crew, OrtApi api, const OrtKernelContext* context) {
  const long processors = sysconf(_SC_NPROCESSORS_ONLN);
  const int32_t most = processors > MAX_THREADS ? MAX_THREADS : (int32_t)processors;
  const int trials = atomic_load(&crew->trials);
  if (most < 2 || (trials >= TRIALS && !atomic_load(&crew->several))) return 1;
  if (atomic_load(&crew->several)) return most;
  meeting m;
  atomic_init(&m.arrived, 0);
  atomic_init(&m.met, 0);
  OrtStatus* status = api[ORT_PARALLEL_FOR].parallel_for(context, meet, 2, 0, &m);
  if (status) api[ORT_RELEASE_STATUS].release(status);
  atomic_fetch_add(&crew->trials, 1);
  if (!atomic_load(&m.met)) return 1;
  atomic_store(&crew->several, 1);
  return most;
}

void edgelm_ort_run_jobs(const edgelm_parallel* self, void (*job)(void* user, size_t index), size_t total, void* user) {
  edgelm_ort_jobs* jobs = self->context;
  OrtStatus* status = jobs->api[ORT_PARALLEL_FOR].parallel_for(jobs->context, job, total, 0, user);
  if (status && jobs->status) jobs->api[ORT_RELEASE_STATUS].release(status);
  if (status && !jobs->status) jobs->status = status;
}
