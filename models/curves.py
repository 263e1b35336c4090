"""The course of training runs as a picture: loss and validation error of every epoch, of several runs."""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelm.errors import PackageMissingError, UsageError

__all__ = ["Course", "curves_png", "read_log"]

_MAX_BYTES = 1 << 26


@dataclass(frozen=True)
class Course:
    """A run: its name, and of every epoch its number, the mean loss and the validation error in percent."""

    name: str
    epochs: tuple[int, ...]
    losses: tuple[float, ...]
    errors: tuple[float, ...]


def read_log(path: Path) -> Course:
    """Read the `.log.jsonl` of a run.

    Raises:
        UsageError: missing, too large, empty, or a line that is none of a log.
    """
    if not path.is_file():
        raise UsageError(f"there is no log {path}; training writes NAME.log.jsonl beside NAME.pt")
    if path.stat().st_size > _MAX_BYTES:
        raise UsageError(f"{path} is larger than {_MAX_BYTES >> 20} MB, which no log of a training run is")
    lines = enumerate(path.read_text(errors="replace").splitlines(), 1)
    # A run that was killed between its log and its checkpoint says the epoch twice; the last one counts.
    rows = dict(_epoch(line, f"{path}, line {number}") for number, line in lines)
    if not rows:
        raise UsageError(f"{path} is empty: no epoch has ended yet")
    epochs = tuple(sorted(rows))
    name = path.name.removesuffix(".log.jsonl")
    return Course(name, epochs, tuple(rows[e][0] for e in epochs), tuple(rows[e][1] for e in epochs))


def _epoch(line: str, where: str) -> tuple[int, tuple[float, float]]:
    try:
        entry = json.loads(line)
        return int(entry["epoch"]), (float(entry["loss"]), float(entry["val_nme"]))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UsageError(f"{where}: expected an epoch's loss and val_nme as JSON") from error


def curves_png(courses: Sequence[Course]) -> bytes:
    """Both curves of all runs as a PNG by matplotlib.

    Raises:
        PackageMissingError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PackageMissingError("curves need matplotlib; install it with: pip install 'edgelm[train]'") from error
    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    loss, nme = figure.subplots(1, 2)
    for course in courses:
        loss.plot(course.epochs, course.losses, marker=".", label=course.name)
        last = next((e for e in reversed(course.errors) if math.isfinite(e)), math.nan)
        nme.plot(course.epochs, course.errors, marker=".", label=f"{course.name}, {last:.2f} % at last")
    loss.set(xlabel="epoch", ylabel="mean loss", title="training")
    nme.set(xlabel="epoch", ylabel="error, %", title="validation")
    if any(error > 0 for course in courses for error in course.errors):
        nme.set_yscale("log")
        nme.yaxis.set_major_formatter("{x:g}")
        nme.yaxis.set_minor_formatter("{x:g}")
    for axes in (loss, nme):
        axes.grid(alpha=0.25, which="both")
        axes.legend(fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
