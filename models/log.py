"""The log of a training run: a line of JSON for each epoch, beside the checkpoint.

It is read and drawn by `edgelm.models.curves`.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from edgelm.atomic import write_atomic

__all__ = ["log_epoch", "log_path"]


def log_path(checkpoint: Path) -> Path:
    """Where the log of the run that writes `checkpoint` lies."""
    return checkpoint.with_suffix(".log.jsonl")


def log_epoch(path: Path, row: Mapping[str, float], *, continued: bool) -> None:
    """Add an epoch, whole or not at all.

    A run that was killed after this and before its state was written does the epoch again, whose line is then replaced.

    Args:
        path: of the log.
        row: the epoch's facts, with its number `epoch`.
        continued: whether the lines of earlier epochs are of this run; if not, they are dropped.

    Raises:
        EdgelmError: the disk is full.
    """
    lines = path.read_text(errors="replace").splitlines() if continued and path.is_file() else []
    earlier = [line for line in lines if _number(line) < row["epoch"]]
    write_atomic(path, "".join(f"{line}\n" for line in [*earlier, json.dumps(dict(row))]).encode())


def _number(line: str) -> float:
    """The epoch of a line, infinite where it is none: half a line, of a log that was written in place."""
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
