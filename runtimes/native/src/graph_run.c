/* Running a graph: the jobs of its steps among the workers.
 *
 * A worker draws jobs of the oldest step that has some left and waits for none that has not ended; so small steps do
 * not hold up those beside them. A run needs no particular number of workers: one alone takes whole steps, and a late
 * one joins where the others are. Waiting is short and spins; between runs nobody spins, the pool sleeps as its owner
 * decides.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "graph.h"

/* Weights are expanded first where the kernel does so: those are jobs of a step, too. */
typedef struct progress {
  atomic_int next, done;                   /* jobs drawn, jobs ended */
  atomic_int next_expanded, done_expanded; /* the same of panels to expand */
} progress;

typedef struct crew {
  edgelm_run run;
  progress* progress; /* (steps) */
  atomic_int oldest;  /* all steps before it have ended */
  atomic_int working; /* workers in this run */
} crew;

static int32_t panels_of(const crew* crew, int32_t index) {
  const edgelm_graph* graph = crew->run.plan.graph;
  const edgelm_step* step = &graph->step[index];
  return step->expanded < 0 ? 0 : (int32_t)graph->conv[graph->node[step->node].conv].panels;
}

static int ended(const crew* crew, int32_t step) {
  return atomic_load_explicit(&crew->progress[step].done, memory_order_acquire) == crew->run.plan.step[step].jobs;
}

static int may_begin(const crew* crew, int32_t index) {
  for (uint32_t after = crew->run.plan.graph->step[index].after; after; after &= after - 1)
    if (!ended(crew, index - 1 - __builtin_ctz(after))) return 0;
  return 1;
}

/* Draws some of `all` jobs: the first one, and how many; 0 where none is left. */
static int32_t draw(crew* crew, atomic_int* next, int32_t all, int32_t* first) {
  const int32_t left = all - atomic_load_explicit(next, memory_order_relaxed);
  if (left <= 0) return 0;
  const int32_t working = atomic_load_explicit(&crew->working, memory_order_relaxed);
  const int32_t share = working < 2 ? left : (left + 2 * working - 1) / (2 * working);
  *first = atomic_fetch_add_explicit(next, share, memory_order_relaxed);
  return *first >= all ? 0 : *first + share > all ? all - *first : share;
}

static int some_left(atomic_int* next, int32_t all) { return atomic_load_explicit(next, memory_order_relaxed) < all; }

/* Whether a step has jobs that may be done now. */
static int is_ready(const crew* crew, int32_t index) {
  progress* p = &crew->progress[index];
  const int32_t panels = panels_of(crew, index);
  if (some_left(&p->next_expanded, panels)) return 1;
  return some_left(&p->next, crew->run.plan.step[index].jobs) &&
         atomic_load_explicit(&p->done_expanded, memory_order_acquire) == panels && may_begin(crew, index);
}

/* The step to work on: for one worker the first that is ready, among more the one that most work waits for; -1: none.
 */
static int32_t pick(const crew* crew, int32_t oldest, int32_t end) {
  const int alone = atomic_load_explicit(&crew->working, memory_order_relaxed) < 2;
  int32_t best = -1;
  for (int32_t s = oldest; s < end && !(alone && best >= 0); ++s)
    if (is_ready(crew, s) && (best < 0 || crew->run.plan.step[s].rank > crew->run.plan.step[best].rank)) best = s;
  return best;
}

/* Draws and does jobs of a step that is ready, if others have left some. */
static void advance(crew* crew, int32_t index, uint8_t* worker) {
  progress* p = &crew->progress[index];
  int32_t first, count;
  if ((count = draw(crew, &p->next_expanded, panels_of(crew, index), &first)) > 0) {
    for (int32_t i = 0; i < count; ++i) edgelm_expand_job(&crew->run, index, first + i);
    atomic_fetch_add_explicit(&p->done_expanded, count, memory_order_acq_rel);
  } else if (is_ready(crew, index) && (count = draw(crew, &p->next, crew->run.plan.step[index].jobs, &first)) > 0) {
    edgelm_step_jobs(&crew->run, index, first, count, worker);
    atomic_fetch_add_explicit(&p->done, count, memory_order_acq_rel);
  }
}

static void relax(int turn) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
  if (turn % 1024 == 1023) sched_yield(); /* the other may be waiting for this very processor */
}

static void work(void* user, size_t index) {
  crew* crew = user;
  const int32_t steps = crew->run.plan.graph->steps;
  uint8_t* worker = crew->run.plan.workers + index * crew->run.plan.worker_bytes;
  atomic_fetch_add_explicit(&crew->working, 1, memory_order_relaxed);
  int32_t oldest = atomic_load_explicit(&crew->oldest, memory_order_relaxed);
  for (int turn = 0; oldest < steps;) {
    if (ended(crew, oldest)) {
      atomic_store_explicit(&crew->oldest, ++oldest, memory_order_relaxed); /* a hint for those who come later */
      continue;
    }
    const int32_t end = steps - oldest < EDGELM_AHEAD ? steps : oldest + EDGELM_AHEAD;
    const int32_t step = pick(crew, oldest, end);
    if (step < 0) {
      relax(turn++);
      continue;
    }
    advance(crew, step, worker);
    turn = 0;
  }
  atomic_fetch_sub_explicit(&crew->working, 1, memory_order_relaxed);
}

size_t edgelm_run_bytes(const edgelm_graph* graph) { return edgelm_up((size_t)graph->steps * sizeof(progress), 64); }

static int start(crew* crew, const edgelm_graph* graph, edgelm_layout layout, const edgelm_tensor* inputs,
                 const edgelm_tensor* outputs, void* scratch, int32_t threads) {
  char error[128];
  crew->progress = scratch;
  uint8_t* rest = (uint8_t*)scratch + edgelm_run_bytes(graph);
  crew->run = (edgelm_run){.layout = layout, .inputs = inputs, .outputs = outputs};
  const size_t bytes = edgelm_plan_make(&crew->run.plan, graph, inputs, threads, rest, error, sizeof error);
  edgelm_count_scratch(edgelm_run_bytes(graph) + bytes);
  return bytes ? 0 : -1;
}

/* Maps are walked in many streams at once, which small pages slow down by a tenth. Only a hint, for the whole pages
 * inside; memory that was used before keeps its pages. */
static void ask_for_large_pages(void* memory, size_t bytes) {
#if defined(MADV_HUGEPAGE)
  const uintptr_t page = (uintptr_t)1 << 16, start = ((uintptr_t)memory + page - 1) & ~(page - 1);
  const uintptr_t end = ((uintptr_t)memory + bytes) & ~(page - 1);
  if (bytes >= (size_t)1 << 22) (void)!madvise((void*)start, end - start, MADV_HUGEPAGE);
#else
  (void)memory, (void)bytes;
#endif
}

int edgelm_graph_run(const edgelm_graph* graph, edgelm_layout layout, int32_t N, const edgelm_tensor* inputs,
                     const edgelm_tensor* outputs, void* scratch, const edgelm_parallel* parallel) {
  crew crew;
  const int32_t threads = parallel && parallel->threads > 1 ? parallel->threads : 1;
  if (N < 0 || start(&crew, graph, layout, inputs, outputs, scratch, threads)) return -1;
  ask_for_large_pages(crew.run.plan.memory, crew.run.plan.memory_bytes);
  for (int32_t n = 0; n < N; ++n) {
    crew.run.batch = (size_t)n;
    atomic_init(&crew.oldest, 0);
    atomic_init(&crew.working, 0);
    for (int32_t s = 0; s < graph->steps; ++s) {
      atomic_init(&crew.progress[s].next, 0);
      atomic_init(&crew.progress[s].done, 0);
      atomic_init(&crew.progress[s].next_expanded, 0);
      atomic_init(&crew.progress[s].done_expanded, 0);
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
  for (int32_t s = 0; s < graph->steps; ++s) {
    const double before = now_ms();
    for (int32_t panel = 0; panel < panels_of(&crew, s); ++panel) edgelm_expand_job(&crew.run, s, panel);
    edgelm_step_jobs(&crew.run, s, 0, crew.run.plan.step[s].jobs, crew.run.plan.workers);
    if (s >= count) continue;
    steps[s].ms += now_ms() - before;
    const edgelm_shape out = crew.run.plan.shape[graph->step[s].value];
    if (graph->step[s].kind == EDGELM_STEP_CONV) steps[s].macs = steps[s].weight_count * out.H * out.W;
  }
  return 0;
}
