/* A TCG plugin for qemu-aarch64: which translated blocks ran how often between two marks, with their instructions.
 *
 *   qemu-aarch64 -plugin count.so,out=FILE ...
 *
 * `hint #100` opens a window and `hint #101` closes it; real CPUs take both for no-ops (mark.c). At each close FILE grows by
 *
 *   window
 *   EXECUTIONS ADDRESS WORD WORD ...    (hexadecimal but for the first; a line for each block that ran)
 *   end
 *
 * What the counts mean is left to the reader. One guest thread is assumed to do the work: executions of several would
 * be added without locks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin.h"

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv);

static const uint32_t OPEN = 0xD503201F | 100 << 5, CLOSE = 0xD503201F | 101 << 5; /* hint #100, hint #101 */

typedef struct block {
  struct block* next;
  uint64_t address, executions, before;
  size_t length;
  uint32_t word[];
} block;

static block* blocks;
static FILE* out;

static void open_window(unsigned cpu, void* data) {
  (void)cpu, (void)data;
  for (block* b = blocks; b; b = b->next) b->before = b->executions;
}

static void close_window(unsigned cpu, void* data) {
  (void)cpu, (void)data;
  fputs("window\n", out);
  for (const block* b = blocks; b; b = b->next) {
    if (b->executions == b->before) continue;
    fprintf(out, "%llu %llx", (unsigned long long)(b->executions - b->before), (unsigned long long)b->address);
    for (size_t i = 0; i < b->length; ++i) fprintf(out, " %08x", b->word[i]);
    fputc('\n', out);
  }
  fputs("end\n", out);
  fflush(out); /* a guest that dies while it tears itself down must not take the counts along */
}

/* QEMU holds a lock while it translates for a user-mode guest, so that the list needs none. A block that is translated
 * again, after the cache was flushed, stands in it twice; readers add such lines. */
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
  (void)id;
  const size_t length = qemu_plugin_tb_n_insns(tb);
  block* b = calloc(1, sizeof *b + length * sizeof *b->word);
  if (!b) abort();
  b->address = qemu_plugin_tb_vaddr(tb);
  b->length = length;
  for (size_t i = 0; i < length; ++i) {
    struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
    memcpy(&b->word[i], qemu_plugin_insn_data(insn), sizeof *b->word);
    if (b->word[i] == OPEN) qemu_plugin_register_vcpu_insn_exec_cb(insn, open_window, QEMU_PLUGIN_CB_NO_REGS, NULL);
    if (b->word[i] == CLOSE) qemu_plugin_register_vcpu_insn_exec_cb(insn, close_window, QEMU_PLUGIN_CB_NO_REGS, NULL);
  }
  b->next = blocks;
  blocks = b;
  qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &b->executions, 1);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv) {
  (void)info;
  for (int i = 0; i < argc; ++i)
    if (!strncmp(argv[i], "out=", 4)) out = fopen(argv[i] + 4, "w");
  if (!out) {
    fputs("count: say out=FILE, a file that can be written\n", stderr);
    return -1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  return 0;
}
