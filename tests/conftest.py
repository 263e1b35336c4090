"""What all tests share."""

import os

# The tests' networks are tiny: on them a second OpenMP thread costs more in waiting than it computes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
