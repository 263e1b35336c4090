"""Whole networks in every precision against their float twin's best forms, in one interleaved run.

    taskset -c 1 python benchmarks/networks.py cunet8 -o benchmarks/results/cunet8.json
    python benchmarks/networks.py bcll-hpm256 --landmarks 68 --precisions W1A1 -o benchmarks/results/bcll-hpm256.json

Weights are random: speed does not depend on them. README's table is made of the results by benchmarks/table.py.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from edgelm.atomic import write_atomic
from edgelm.bench.against import against
from edgelm.bench.rivals import RIVALS
from edgelm.export.pipeline import export
from edgelm.models.checkpoint import save_checkpoint
from edgelm.models.create import create, randomize

PRECISIONS: dict[str, tuple[str, str | None, str | None]] = {
    "W1A1": ("-xnor", "int8", None),
    "W1A1, float stem": ("-xnor", None, None),
    "W1A6": ("-bw-a6", "int8", None),
    "W1A8": ("-bw-a8", "int8", None),
    "W1A13": ("-bw", "int8", "int13"),
    "W1A32": ("-bw", None, None),
}
"""Suffix of the network's name, and the export's --real and --activations."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="registered name without a suffix, for example cunet8")
    parser.add_argument("--size", type=int, default=256, help="side of the input in px")
    parser.add_argument("--landmarks", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--targets", default="onnx,tflite")
    parser.add_argument("--precisions", default=";".join(PRECISIONS))
    parser.add_argument("--against", default=",".join(RIVALS))
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, models = Path(name), {}
        for precision in args.precisions.split(";"):
            suffix, real, activations = PRECISIONS[precision]
            entry, model, spec = create(f"{args.network}{suffix}", landmarks=args.landmarks, size=args.size)
            randomize(model, args.size, 0)
            checkpoint = folder / f"{precision}.pt"
            save_checkpoint(checkpoint, entry, model, spec)
            for target in args.targets.split(","):
                path = folder / f"{precision}.{target}"
                export(checkpoint, target, path, real=real, activations=activations, verify=False)
                models[f"{precision} {target}"] = path
                sys.stderr.write(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB\n")
        report = against(
            models, args.against.split(","), checkpoint, threads=args.threads, rounds=args.rounds,
            progress=lambda line: print(line, file=sys.stderr),
        )  # fmt: skip
    report["network"] = f"{args.network} {args.size}x{args.size}"
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(args.output, (json.dumps(report, indent=2) + "\n").encode())
    for result in report["results"]:
        ratios = "  ".join(f"{ratio:5.2f}x {rival}" for rival, ratio in result["speedup"].items())
        print(f"{result['name']:24} {result['median_ms']:8.2f} ms  {ratios}")
    print("valid" if report["valid"] else "NOT VALID: other work disturbed the run", report["unavailable"])


if __name__ == "__main__":
    main()
