/* The marks that count.c looks for, to be called from Python in the emulated machine. */
__attribute__((visibility("default"))) void edgelm_mark_open(void) { __asm__ volatile("hint #100" ::: "memory"); }
__attribute__((visibility("default"))) void edgelm_mark_close(void) { __asm__ volatile("hint #101" ::: "memory"); }
