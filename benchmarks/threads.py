"""What a second thread brings: every model with one and with more threads, in turns, in one process.

    python benchmarks/threads.py cunet8.onnx cunet8.tflite --threads 2

Prints the ratio of the medians, and of the best rounds, which other work on the machine disturbs less.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np

from edgelm.atomic import write_atomic
from edgelm.bench.device import device_info
from edgelm.bench.interleave import interleave
from edgelm.runtimes.engines import open_session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("-o", "--output", type=Path, help="also write the figures as JSON")
    args = parser.parse_args()
    results = []
    for path in args.models:
        sessions = {threads: open_session(path, threads=threads) for threads in (1, args.threads)}
        size = sessions[1].spec.input
        crop = np.random.default_rng(1).random((1, size.height, size.width, 3), dtype=np.float32)
        alike = np.array_equal(sessions[1].run(crop), sessions[args.threads].run(crop))
        entries = {str(threads): session.prepared(crop) for threads, session in sessions.items()}
        one, more = interleave(entries, rounds=args.rounds, progress=partial(print, file=sys.stderr)).values()
        result = {
            "name": path.name,
            "threads": args.threads,
            "median_ms": [one.median_ms, more.median_ms],
            "min_ms": [one.min_ms, more.min_ms],
            "speedup": one.median_ms / more.median_ms,
            "best_speedup": one.min_ms / more.min_ms,
            "same_outputs": alike,
            "valid": one.valid and more.valid,
        }
        results.append(result)
        print(
            f"{path.name:24} 1: {one.median_ms:7.2f} ms  {args.threads}: {more.median_ms:7.2f} ms  "
            f"{result['speedup']:.2f}x, best rounds {result['best_speedup']:.2f}x"
            f"{'' if result['valid'] else '  NOT VALID: disturbed'}{'' if alike else '  OUTPUTS DIFFER'}"
        )
    if args.output is not None:
        report = {"device": device_info(), "rounds": args.rounds, "results": results}
        write_atomic(args.output, (json.dumps(report, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
