/* The steps around the tiles for NEON: plain loops that the compiler vectorises for it. */
#define STAGES edgelm_stages_neon
#include "stages.inc"
