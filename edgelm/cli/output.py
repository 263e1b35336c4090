"""How the command line speaks: text for people, one JSON object for programs, complaints on stderr.

With --json stdout carries the JSON and nothing else; what people would read goes to stderr instead.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from edgelm.atomic import write_atomic

__all__ = ["human", "print_json", "progress", "warn", "write_json"]


def warn(text: str) -> None:
    """One line about a problem, on stderr."""
    typer.echo(f"edgelm: {text}", err=True)


def progress(text: str) -> None:
    """One line about what is going on, on stderr."""
    typer.echo(text, err=True)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout; NaN has no JSON form and would be a defect."""
    typer.echo(_json(value))


def write_json(path: Path, value: Any) -> None:
    """Write what `print_json` prints to a file, whole or not at all."""
    write_atomic(path, f"{_json(value)}\n".encode())


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False)


@contextlib.contextmanager
def human(as_json: bool) -> Iterator[None]:
    """Within the block stdout is stderr if `as_json`: neither our lines nor a library's chatter mix with the JSON."""
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        yield
