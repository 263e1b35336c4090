/* Timing a single step of a graph, again and again, as `edgelm bench --kernels` does. */
#define _GNU_SOURCE
#include <time.h>

#include "graph.h"

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void run_step(const edgelm_run* run, int32_t index) {
  const edgelm_step* step = &run->plan.graph->step[index];
  const int32_t panels =
      step->expanded < 0 ? 0 : (int32_t)run->plan.graph->conv[run->plan.graph->node[step->node].conv].panels;
  for (int32_t panel = 0; panel < panels; ++panel) edgelm_expand_job(run, index, panel);
  edgelm_step_jobs(run, index, 0, run->plan.step[index].jobs, run->plan.workers);
}

/* Steps write what they wrote before, and their input lives until they end: repeating one changes nothing. */
int edgelm_graph_repeat(const edgelm_graph* graph, edgelm_layout layout, const edgelm_tensor* inputs,
                        const edgelm_tensor* outputs, void* scratch, int32_t step, int32_t rounds, double* ms) {
  char error[128];
  edgelm_run run = {.layout = layout, .inputs = inputs, .outputs = outputs};
  uint8_t* rest = (uint8_t*)scratch + edgelm_run_bytes(graph);
  if (step < 0 || step >= graph->steps || rounds < 1) return -1;
  if (!edgelm_plan_make(&run.plan, graph, inputs, 1, rest, error, sizeof error)) return -1;
  for (int32_t s = 0; s < graph->steps; ++s) {
    run_step(&run, s);
    for (int32_t round = 0; s == step && round < rounds; ++round) {
      const double before = now_ms();
      run_step(&run, s);
      ms[round] = now_ms() - before;
    }
  }
  return 0;
}
