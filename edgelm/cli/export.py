"""`edgelm export`: a checkpoint becomes a model file, verified against PyTorch. Needs torch and onnx."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelm.cli.output import human, print_json

if TYPE_CHECKING:
    from edgelm.export.pipeline import ExportReport, Step

__all__ = ["register"]


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint (.pt), float or packed.")],
    target: Annotated[str, typer.Option(help="onnx or tflite.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; by default beside the checkpoint.")
    ] = None,
    portable: Annotated[bool, typer.Option("--portable", help="Builtin ops only: slower, runs anywhere.")] = False,
    ops: Annotated[
        str | None,
        typer.Option(help="graph: pieces of the network as one op each (default); layers: an op for each convolution."),
    ] = None,
    real: Annotated[
        str | None,
        typer.Option(
            help="Convolutions with real weights: float (default), int8, engine: left to it, or fastest: measured."
        ),
    ] = None,
    activations: Annotated[
        str | None,
        typer.Option(help="Of a network trained with float activations: float (default), int8 or int13."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Of a float network: float (default), fp16, or int8, with 8-bit maps and --calibrate."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Images to fit fewer bits to, and to verify on, beside the portrait."),
    ] = None,
    verify: Annotated[bool, typer.Option(help="Compare the file with PyTorch on its engine.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a checkpoint as one small .onnx or .tflite file; a file that differs from PyTorch is not kept."""
    from edgelm.export.pipeline import export as run_export

    with human(as_json):
        done = run_export(
            checkpoint, target, output, portable=portable, ops=ops, real=real, activations=activations,
            weights=weights, calibrate=calibrate, verify=verify, report=_show,
        )  # fmt: skip
        if not as_json:
            typer.echo(f"wrote {done.path}, {_size(done.bytes)}")
            typer.echo(f"next: edgelm run {done.path} PHOTO -o OUT.png | edgelm bench {done.path}")
    if as_json:
        print_json(_plain(done))


def _show(step: "Step") -> None:
    from edgelm.export.pipeline import STEPS

    size = "" if step.bytes is None else f"{_size(step.bytes)}  "
    typer.echo(f"[{step.number}/{max(STEPS, step.number)}] {step.name:<7} {size:>11}{step.detail}")


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _plain(report: "ExportReport") -> dict[str, object]:
    """The report as JSON-ready values."""
    return {**dataclasses.asdict(report), "path": str(report.path)}


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application."""
    app.command()(export)
