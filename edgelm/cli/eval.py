"""`edgelm eval`: the accuracy of a checkpoint or an exported file on an annotated data set."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelm.cli.bar import Bar
from edgelm.cli.output import human, print_json, warn, write_json
from edgelm.cli.save import check_saves
from edgelm.errors import UsageError

if TYPE_CHECKING:
    from edgelm.models.faults import Faults
    from edgelm.models.localize import Found
    from edgelm.models.report import Measured
    from edgelm.spec import ModelSpec

__all__ = ["register"]

_QUIET_S = 10.0
"""Without a terminal, seconds between two lines of progress."""
_WORST = 24


def evaluate(
    model: Annotated[Path, typer.Argument(help="A checkpoint (.pt), or an exported .onnx or .tflite.")],
    data: Annotated[Path, typer.Argument(help="An annotation file, or a folder with one or with .pts files.")],
    format: Annotated[str | None, typer.Option(help="Of the annotation; by default what the file holds.")] = None,
    split: Annotated[str | None, typer.Option(help="Part of the data, by the names of its format.")] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Of the images, where they do not lie beside the annotation.")
    ] = None,
    flip_test: Annotated[
        bool, typer.Option("--flip-test", help="Average with mirrored crops: twice the time.")
    ] = False,
    bad: Annotated[str, typer.Option(help="A sample that cannot be used: fail, or skip and count it.")] = "fail",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many samples.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 1,
    curve: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Draw the cumulative error distribution, for faces.")
    ] = None,
    worst: Annotated[Path | None, typer.Option(metavar="OUT.png", help="Draw the 24 worst samples.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write what --json prints to a file.")] = None,
) -> None:
    """Measure a model on annotated images: NME, AUC and failures of faces, PCKh, PCK or OKS of persons."""
    check_saves(curve, worst, output)
    for picture in (curve, worst):
        if picture is not None and picture.suffix.lower() != ".png":
            raise UsageError(f"expected a picture ending in .png, got {picture}")
    from edgelm.models.datasets import open_data
    from edgelm.models.faults import Faults
    from edgelm.models.localize import localize
    from edgelm.models.report import measure
    from edgelm.models.runner import open_runner

    if bad not in ("fail", "skip"):
        raise UsageError(f"--bad is fail or skip, got {bad!r}")
    faults = Faults("skip" if bad == "skip" else "fail")
    with human(as_json), open_runner(model, threads=threads) as (run, spec):
        if curve is not None and spec.task != "face":
            raise UsageError(f"{model} is a {spec.task} model; --curve draws the errors of faces")
        form, samples = open_data(data, spec.scheme, format, split=split, images=images, faults=faults)
        with Bar("evaluating", _QUIET_S, time_left=True) as bar:
            found = localize(
                run, spec, samples[:limit], flip_test=flip_test, faults=faults,
                report=lambda done, total: bar.show(done, total, f"{done}/{total} samples"),
            )  # fmt: skip
        measured = measure(found, spec.scheme)
        facts: dict[str, Any] = {
            "model": str(model),
            "data": str(data),
            "format": form.name,
            "split": split,
            "scheme": spec.scheme.name,
            "crop": spec.crop.preset,
            "flip_test": flip_test,
        }
        summary = facts | _plain(measured, found, faults)
        _draw(found, measured, spec, curve, worst)
        if output is not None:
            write_json(output, summary)
        if not as_json:
            _show(facts, measured, found, faults)
            for path in (curve, worst, output):
                if path is not None:
                    typer.echo(f"wrote {path}")
    if as_json:
        print_json(summary)


def _draw(found: "Found", measured: "Measured", spec: "ModelSpec", curve: Path | None, worst: Path | None) -> None:
    from edgelm.atomic import write_atomic
    from edgelm.models.pictures import ced_png, worst_png

    if curve is not None:
        write_atomic(curve, ced_png(measured.errors, measured.unit, spec.name))
    if worst is not None:
        write_atomic(worst, worst_png(found, measured.errors, measured.unit, spec, _WORST))


def _plain(measured: "Measured", found: "Found", faults: "Faults") -> dict[str, Any]:
    """The result as JSON-ready values; what could not be measured is null."""
    rows = zip(found.samples, measured.errors.tolist(), strict=True)
    ordered = sorted(rows, key=lambda row: -row[1] if math.isfinite(row[1]) else math.inf)
    return {
        "samples": len(found.samples),
        "skipped": [{"path": str(f.path), "why": f.why} for f in faults.found],
        "metrics": {name: _finite(value) for name, value in measured.metrics.items()},
        "joints": {name: _finite(value) for name, value in measured.joints.items()},
        "remarks": list(measured.remarks),
        "error_unit": measured.unit,
        "worst": [{"path": str(s.path), "error": _finite(e)} for s, e in ordered[:_WORST]],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _show(facts: dict[str, Any], measured: "Measured", found: "Found", faults: "Faults") -> None:
    part = f", split {facts['split']}" if facts["split"] else ""
    flipped = ", flip test" if facts["flip_test"] else ""
    typer.echo(f"{facts['model']} on {facts['data']}")
    typer.echo(
        f"{len(found.samples)} samples of {facts['scheme']} ({facts['format']}{part}), crop {facts['crop']}{flipped}"
    )
    figures = [*measured.joints.items(), *measured.metrics.items()]
    width = max(len(name) for name, _ in figures)
    for name, value in figures:
        typer.echo(f"  {name:<{width}}  {'-' if not math.isfinite(value) else f'{value:.3f} %':>9}")
    for remark in measured.remarks:
        typer.echo(remark)
    if faults.found:
        warn(f"{len(faults.found)} samples were left out:")
    for fault in faults.found:
        warn(str(fault))


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application."""
    app.command("eval")(evaluate)
