"""`--save-json` and `--save-csv`: landmarks into files, each whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelm.atomic import check_output, write_atomic
from edgelm.cli.output import write_json
from edgelm.errors import UsageError

if TYPE_CHECKING:
    from edgelm.landmarks import Landmarks

__all__ = ["SaveCsv", "SaveJson", "check_saves", "save"]

SaveJson = Annotated[Path | None, typer.Option("--save-json", help="Write what --json prints to a file.")]
SaveCsv = Annotated[Path | None, typer.Option("--save-csv", help="Write a CSV file with one line for each point.")]


def check_saves(*paths: Path | None) -> None:
    """Refuse files that cannot be written, or that would overwrite each other, before any work is done for them.

    Raises:
        UsageError: see `edgelm.atomic.check_output`; or two of the paths are one.
    """
    given = [check_output(path) for path in paths if path is not None]
    if len(set(given)) < len(given):
        raise UsageError("two outputs have the same path; give each a file of its own")


def save(report: Mapping[str, Any], found: "Landmarks", as_json: Path | None, as_csv: Path | None) -> list[Path]:
    """Write the files asked for; returns their paths."""
    if as_json is not None:
        write_json(as_json, report)
    if as_csv is not None:
        write_atomic(as_csv, found.to_csv().encode())
    return [path for path in (as_json, as_csv) if path is not None]
