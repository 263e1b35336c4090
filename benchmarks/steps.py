"""Where a network's time goes: the steps of its operator, the longest first, with one thread.

    taskset -c 1 python benchmarks/steps.py cunet8.onnx

Takes .onnx files whose whole network is one operator. Times are medians of runs of the whole network.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
from one_operator import open_both

from edgelm.bench.interleave import pin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--most", type=int, default=10, help="steps that are shown")
    args = parser.parse_args()
    pin(1)
    for path in args.models:
        _, graph, crop = open_both(path)
        image = np.ascontiguousarray(crop.transpose(0, 3, 1, 2))
        for _ in range(3):
            graph.profile([image])
        runs = [graph.profile([image]) for _ in range(max(1, args.rounds))]
        times = [statistics.median(step.ms for step in steps) for steps in zip(*runs, strict=True)]
        total = sum(times)
        print(f"{path.name}: {len(times)} steps, {total:.2f} ms")
        for index in sorted(range(len(times)), key=times.__getitem__, reverse=True)[: args.most]:
            step = runs[0][index]
            rate = f"{step.macs / times[index] / 1e6:6.0f} GMAC/s" if step.macs else ""
            what = f"{step.op} {step.kind} {step.isa}".rstrip()
            print(f"  {index:4} {what:18} {times[index]:8.3f} ms {times[index] / total:6.1%} {rate}".rstrip())


if __name__ == "__main__":
    main()
