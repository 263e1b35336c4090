/* The steps around the tiles in plain C: the reference. */
#define STAGES edgelm_stages_scalar
#include "stages.inc"
