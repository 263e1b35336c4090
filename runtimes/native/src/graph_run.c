/* Running a graph: phases one after the other, the jobs of a phase among the workers.
 *
 * All workers walk through the same phases. In each they draw jobs until none is left, and go on when the jobs that
 * others drew are done. So a run needs no particular number of workers: one alone does everything, and a late one joins
 * where the others are. The waiting is short and spins; between runs nobody spins, the pool sleeps as its owner
 * decides.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "graph.h"

typedef struct phase {
  atomic_int next, done;
} phase;

typedef struct crew {
  edgelm_run run;
  phase* phases; /* two for each step: expanding weights, then the step itself */
} crew;

static int32_t jobs_of(const crew* crew, int32_t index) {
  const edgelm_graph* graph = crew->run.plan.graph;
  const edgelm_step* step = &graph->step[index / 2];
  if (index % 2) return crew->run.plan.step[index / 2].jobs;
  return step->expanded < 0 ? 0 : (int32_t)graph->conv[graph->node[step->node].conv].panels;
}

static void run_job(const crew* crew, int32_t index, int32_t job, uint8_t* worker) {
  if (index % 2)
    edgelm_step_job(&crew->run, index / 2, job, worker);
  else
    edgelm_expand_job(&crew->run, index / 2, job);
}

static void relax(int turn) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
  if (turn % 1024 == 1023) sched_yield(); /* the other may be waiting for this very processor */
}

static void work(void* user, size_t index) {
  crew* crew = user;
  const edgelm_plan* plan = &crew->run.plan;
  uint8_t* worker = plan->workers + index * plan->worker_bytes;
  for (int32_t i = 0; i < 2 * plan->graph->steps; ++i) {
    phase* phase = &crew->phases[i];
    const int32_t jobs = jobs_of(crew, i);
    if (jobs == 0 || atomic_load_explicit(&phase->done, memory_order_acquire) == jobs) continue;
    int32_t job;
    while ((job = atomic_fetch_add_explicit(&phase->next, 1, memory_order_relaxed)) < jobs) {
      run_job(crew, i, job, worker);
      atomic_fetch_add_explicit(&phase->done, 1, memory_order_acq_rel);
    }
    for (int turn = 0; atomic_load_explicit(&phase->done, memory_order_acquire) < jobs; ++turn) relax(turn);
  }
}

static size_t phases_bytes(const edgelm_graph* graph) {
  return edgelm_up(2 * (size_t)graph->steps * sizeof(phase), 64);
}

size_t edgelm_run_bytes(const edgelm_graph* graph) { return phases_bytes(graph); }

static int start(crew* crew, const edgelm_graph* graph, edgelm_layout layout, const edgelm_tensor* inputs,
                 const edgelm_tensor* outputs, void* scratch, int32_t threads) {
  char error[128];
  crew->phases = scratch;
  uint8_t* rest = (uint8_t*)scratch + phases_bytes(graph);
  crew->run = (edgelm_run){.layout = layout, .inputs = inputs, .outputs = outputs};
  return edgelm_plan_make(&crew->run.plan, graph, inputs, threads, rest, error, sizeof error) ? 0 : -1;
}

int edgelm_graph_run(const edgelm_graph* graph, edgelm_layout layout, int32_t N, const edgelm_tensor* inputs,
                     const edgelm_tensor* outputs, void* scratch, const edgelm_parallel* parallel) {
  crew crew;
  const int32_t threads = parallel && parallel->threads > 1 ? parallel->threads : 1;
  if (N < 0 || start(&crew, graph, layout, inputs, outputs, scratch, threads)) return -1;
  for (int32_t n = 0; n < N; ++n) {
    crew.run.batch = (size_t)n;
    for (int32_t i = 0; i < 2 * graph->steps; ++i) {
      atomic_init(&crew.phases[i].next, 0);
      atomic_init(&crew.phases[i].done, 0);
    }
    if (threads > 1)
      parallel->run(parallel, work, (size_t)threads, &crew);
    else
      work(&crew, 0);
  }
  return 0;
}

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

int edgelm_graph_profile(const edgelm_graph* graph, edgelm_layout layout, const edgelm_tensor* inputs,
                         const edgelm_tensor* outputs, void* scratch, edgelm_step_info* steps, int32_t count) {
  crew crew;
  if (start(&crew, graph, layout, inputs, outputs, scratch, 1)) return -1;
  edgelm_graph_steps(graph, steps, count);
  for (int32_t i = 0; i < 2 * graph->steps; ++i) {
    const int32_t s = i / 2;
    const double before = now_ms();
    for (int32_t job = 0, jobs = jobs_of(&crew, i); job < jobs; ++job) run_job(&crew, i, job, crew.run.plan.workers);
    if (s >= count) continue;
    steps[s].ms += now_ms() - before;
    const edgelm_shape out = crew.run.plan.shape[graph->step[s].value];
    if (i % 2 && graph->step[s].kind == EDGELM_STEP_CONV) steps[s].macs = steps[s].weight_count * out.H * out.W;
  }
  return 0;
}
