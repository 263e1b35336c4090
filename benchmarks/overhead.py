"""What the engine adds to our operators: a file through its engine against its QuantGraph operators alone, in turns.

    taskset -c 1 python benchmarks/overhead.py cunet8.onnx

Takes .onnx files whose whole network is one operator.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
from one_operator import open_both

from edgelm.bench.interleave import interleave, pin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=25)
    args = parser.parse_args()
    pin(1)
    for path in args.models:
        session, graph, crop = open_both(path)
        image = np.ascontiguousarray(crop.transpose(0, 3, 1, 2))
        entries = {"engine": session.prepared(crop), "alone": graph.prepared([image])}
        timings = interleave(entries, rounds=args.rounds, progress=partial(print, file=sys.stderr))
        ratio = timings["engine"].median_ms / timings["alone"].median_ms
        calm = "" if timings["engine"].valid else "  NOT VALID: disturbed"
        print(
            f"{path.name:24} engine {timings['engine'].median_ms:7.2f} ms  alone {timings['alone'].median_ms:7.2f} ms  "
            f"{ratio - 1:+.1%}{calm}"
        )


if __name__ == "__main__":
    main()
