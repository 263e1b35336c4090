"""Float networks made smaller after training: size and speed of `export --weights` beside the float file, in turns.

    python benchmarks/post_training.py hrnetv2_w18 --input 256 --calibrate FOLDER
    python benchmarks/post_training.py float.pt --calibrate FOLDER --faces data/faces68/val

A name takes random weights: speed and size are those of trained ones, the accuracy is not, so that the files are not
verified. With `--faces`, a checkpoint's NME in torch and of every file, which are verified then.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from edgelm.bench.interleave import interleave, pin
from edgelm.cli.models import parse_size
from edgelm.export.pipeline import export
from edgelm.models.checkpoint import load_checkpoint, save_checkpoint
from edgelm.models.create import create, randomize
from edgelm.models.datasets import open_data
from edgelm.models.localize import localize
from edgelm.models.metrics import nme
from edgelm.models.runner import open_runner
from edgelm.runtimes.engines import open_session

WEIGHTS = ("float", "fp16", "int8")
TARGETS = ("onnx", "tflite")


def checkpoint(network: str, size: str, folder: Path) -> Path:
    if network.endswith(".pt"):
        return Path(network)
    entry, model, spec = create(network, size=parse_size(size))
    randomize(model, spec.input.height, 0)
    save_checkpoint(folder / "random.pt", entry, model, spec)
    return folder / "random.pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="a registered name, or a float checkpoint (.pt)")
    parser.add_argument("--input", default="256", help="of a registered name: side or WIDTHxHEIGHT, px")
    parser.add_argument("--calibrate", type=Path, required=True, help="folder of photos")
    parser.add_argument("--faces", type=Path, help="folder of photos with .pts landmarks")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    pin(1)
    with tempfile.TemporaryDirectory() as name:
        source = checkpoint(args.network, args.input, Path(name))
        files = {}
        for target in TARGETS:
            for weights in WEIGHTS:
                print(f"exporting {weights} {target}", file=sys.stderr)
                path = files[weights, target] = Path(name) / f"{weights}.{target}"
                photos = None if weights == "float" else args.calibrate
                export(source, target, path, weights=weights, calibrate=photos, verify=args.faces is not None)
        spec = load_checkpoint(source).spec
        crop = np.random.default_rng(1).random((1, spec.input.height, spec.input.width, 3), dtype=np.float32)
        sessions = {f"{w} {t}": open_session(path, threads=1) for (w, t), path in files.items()}
        runs = {label: partial(session.run, crop) for label, session in sessions.items()}
        timings = interleave(runs, rounds=args.rounds, progress=partial(print, file=sys.stderr))
        calm = "" if all(timing.valid for timing in timings.values()) else "; NOT VALID: disturbed"
        print(
            f"{args.network}, {spec.input.width}x{spec.input.height}, one thread, {args.rounds} rounds in turns{calm}\n"
        )
        print("| weights | engine | MB | median ms | than float there |" + (" NME % |" if args.faces else ""))
        print("|---|---|---|---|---|" + ("---|" if args.faces else ""))
        if args.faces:
            print(f"| float | torch | | | | {accuracy(source, args.faces):.3f} |")
        for (weights, target), path in files.items():
            ms, whole = (timings[f"{w} {target}"].median_ms for w in (weights, "float"))
            row = f"| {weights} | {target} | {path.stat().st_size / 1e6:.2f} | {ms:.1f} | {whole / ms:.2f}x |"
            print(row + (f" {accuracy(path, args.faces):.3f} |" if args.faces else ""))


def accuracy(path: Path, folder: Path) -> float:
    """Mean NME of a file on annotated faces, percent."""
    with open_runner(path) as (run, spec):
        found = localize(run, spec, open_data(folder, spec.scheme, "pts")[1])
    return float(nme(found.xy, np.stack([s.xy for s in found.samples]), spec.scheme.name).mean())


if __name__ == "__main__":
    main()
