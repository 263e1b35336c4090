"""What tables of accuracy share: rows that are trained once, and each one's checkpoint beside its exported files."""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from edgelm.bench.interleave import Timing, interleave
from edgelm.export.pipeline import export
from edgelm.models.options import Progress, TrainOptions
from edgelm.models.resume import resume_path
from edgelm.models.train import train
from edgelm.runtimes.engines import open_session

__all__ = ["TARGETS", "export_beside", "is_trained", "time_files", "train_row"]

TARGETS = ("onnx", "tflite")


def is_trained(path: Path) -> bool:
    """Whether a checkpoint is that of a run that has ended."""
    return path.is_file() and not resume_path(path).is_file()


def train_row(options: TrainOptions) -> None:
    """Train a row, or go on with it, telling of every epoch on stderr."""
    options.output.parent.mkdir(parents=True, exist_ok=True)

    def tell(at: Progress) -> None:
        if at.nme is not None:
            line = f"{options.output.stem}: epoch {at.epoch}/{at.epochs}, val NME {at.nme:.2f} {at.unit}"
            print(line, file=sys.stderr, flush=True)

    train(options, tell)


def export_beside(source: Path, folder: Path) -> dict[str, Path]:
    """A checkpoint and what `edgelm export` makes of it without options: "torch", "onnx" and "tflite"."""
    files = {"torch": source, **{target: folder / f"a.{target}" for target in TARGETS}}
    for target in TARGETS:
        export(source, target, files[target])
    return files


def time_files(files: Mapping[str, Path], side: int) -> dict[str, Timing]:
    """Times of the exported files' networks on one crop of side x side px, one thread, interleaved."""
    crop = np.random.default_rng(0).random((1, side, side, 3), dtype=np.float32)
    runs = {target: partial(open_session(files[target], threads=1).run, crop) for target in TARGETS}
    return interleave(runs, rounds=25)
