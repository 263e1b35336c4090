"""Whether a runtime that runs on and on takes more and more memory: resident memory over many calls.

    python benchmarks/memory.py [MODEL] [--runs 10000]

The first tenth of the calls is warming up. Exits with 1 where the rest takes more than --limit KB. Linux only.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import edgelm
from edgelm import zoo

_BOXES = [[60.0, 40, 220, 200], [10, 10, 300, 230]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=zoo.bundled()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--limit", type=int, default=2048, help="KB that the later calls may take in all")
    args = parser.parse_args()
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    with edgelm.Runtime(args.model) as runtime:
        warm = args.runs // 10
        first = sizes_after(runtime, image, warm)
        grown = sizes_after(runtime, image, args.runs - warm) - first
    print(f"{args.model.name}: {first} KB after {warm} calls, {grown:+d} KB after {args.runs}")
    if grown > args.limit:
        sys.exit(f"more than {args.limit} KB")


def sizes_after(runtime: edgelm.Runtime, image: np.ndarray, calls: int) -> int:
    """KB of resident memory after some calls, one box and two in turns."""
    for i in range(calls):
        runtime(image, _BOXES[: 1 + i % 2])
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4


if __name__ == "__main__":
    main()
