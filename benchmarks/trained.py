"""Tables of accuracy: rows that are trained once, measured as checkpoint and exported files, and written as a document.

What a row is, how it is trained and what of it is measured is each table's own: accuracy.py, pose_accuracy.py.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.atomic import write_atomic
from edgelm.bench.interleave import Timing, interleave, pin
from edgelm.export.pipeline import export
from edgelm.models.options import Progress, TrainOptions
from edgelm.models.resume import resume_path
from edgelm.models.train import train
from edgelm.runtimes.engines import open_session

__all__ = ["TARGETS", "Results", "Table", "export_beside", "header", "noise", "time_files"]

ROOT = Path(__file__).parents[1]
TARGETS = ("onnx", "tflite")
Results = Mapping[str, Any]
"""The figures of each row that was measured."""


@dataclass(frozen=True)
class Table:
    """One table of accuracy.

    Attributes:
        results: file of the figures, in benchmarks/results.
        document: file of the page, in docs.
        runs: folder of the checkpoints, in runs.
        rows: their names, which are their checkpoints' stems.
        options: (row, data) -> how it is trained; a checkpoint that it starts from or imitates may be that of another
            row, or of a name that is no row and only trained.
        figures: (checkpoint, row, data) -> what is measured, ready for JSON.
        lines: results -> the table.
        page: results -> the document.
    """

    results: str
    document: str
    runs: str
    rows: Sequence[str]
    options: Callable[[str, Path], TrainOptions]
    figures: Callable[[Path, str, Path], dict[str, Any]]
    lines: Callable[[Results], Iterable[str]]
    page: Callable[[Results], str]

    def checkpoint(self, name: str) -> Path:
        """Where a row's is."""
        return ROOT / "runs" / self.runs / f"{name}.pt"

    def is_trained(self, name: str) -> bool:
        """Whether its checkpoint is that of a run that has ended."""
        path = self.checkpoint(name)
        return path.is_file() and not resume_path(path).is_file()

    def lineage(self, name: str, data: Path) -> Iterator[str]:
        """What has to be trained for a row, in this order; the last is the row."""
        options = self.options(name, data)
        for checkpoint in (options.init, options.teacher):
            if checkpoint is not None:
                yield from self.lineage(checkpoint.stem, data)
        yield name

    def command(self, description: str | None) -> None:
        """The command line."""
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("data", type=Path, nargs="?", help="folder with train/ and val/")
        parser.add_argument("--check", action="store_true", help="only fail where the document is not of the results")
        parser.add_argument("--rows", help="names by commas; by default all")
        parser.add_argument("--no-train", action="store_true", help="leave rows out that have no checkpoint")
        parser.add_argument("--again", action="store_true", help="measure rows anew")
        args = parser.parse_args()
        kept, document = ROOT / "benchmarks" / "results" / self.results, ROOT / "docs" / self.document
        results: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
        if args.check:
            sys.exit(document.read_text() != self.page(results))
        if args.data is None:
            parser.error("which photos? Name a folder that has train/ and val/ in it")
        names = self.rows if args.rows is None else args.rows.split(",")
        if unknown := [name for name in names if name not in self.rows]:
            parser.error(f"no row {unknown[0]!r}; known are {', '.join(self.rows)}")
        missing = [name for name in self.rows if name in names and (args.again or name not in results)]
        if not args.no_train:
            for name in (name for row in missing for name in self.lineage(row, args.data)):
                if not self.is_trained(name):
                    self.checkpoint(name).parent.mkdir(parents=True, exist_ok=True)
                    train(self.options(name, args.data), partial(_tell, name))
        pin(1)
        for name in missing:
            if self.is_trained(name):
                print(f"{name}: measuring", file=sys.stderr)
                results[name] = self.figures(self.checkpoint(name), name, args.data)
                write_atomic(kept, (json.dumps(results, indent=1) + "\n").encode())
        if not results:
            sys.exit("no row is trained yet")
        document.write_text(self.page(results))
        print("\n".join(self.lines(results)))


def _tell(name: str, at: Progress) -> None:
    if at.nme is not None:
        print(f"{name}: epoch {at.epoch}/{at.epochs}, val NME {at.nme:.2f} {at.unit}", file=sys.stderr, flush=True)


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


def noise(results: Results) -> str:
    """A line about the rows whose times are not to be trusted, or nothing."""
    noisy = [name for name, found in results.items() if not found["calm"]]
    return f"\nDisturbed while timed, so that their ms are no more than a hint: {', '.join(noisy)}." if noisy else ""


def header(columns: Sequence[str]) -> Iterator[str]:
    """The first two lines of a table."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
