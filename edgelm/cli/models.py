"""`edgelm models`, `edgelm new` and `edgelm pack`: names and checkpoint files. They need torch."""

from pathlib import Path
from typing import Annotated

import typer

from edgelm.atomic import check_output
from edgelm.cli.output import print_json
from edgelm.errors import UsageError

__all__ = ["Name", "check_checkpoint", "register"]

Name = Annotated[str, typer.Argument(help="A network, for example cunet8-bw; `edgelm models` lists them.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write (.pt).")]


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the networks that `new` and `train` know by name."""
    from edgelm.models.registry import model_names

    if as_json:
        print_json({"models": list(model_names())})
    else:
        typer.echo("\n".join(model_names()))


def new(
    name: Name,
    output: Output,
    landmarks: Annotated[int, typer.Option(min=1, help="Landmarks to find.")] = 68,
    size: Annotated[int, typer.Option("--input", min=1, help="Side of the square input in px.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights.")] = 0,
    packed: Annotated[
        bool, typer.Option("--packed", help="Store 1-bit weights as bits: small, not trainable.")
    ] = False,
) -> None:
    """Write a checkpoint with random weights and plausible statistics, for benchmarks and tests."""
    check_checkpoint(output)
    from edgelm.models.checkpoint import save_checkpoint
    from edgelm.models.create import create, randomize

    entry, model, spec = create(name, landmarks=landmarks, size=size, seed=seed)
    randomize(model, size, seed)
    written = save_checkpoint(output, entry, model, spec, packed=packed)
    kind = "packed" if packed else "float"
    typer.echo(
        f"wrote {output}: {name}, {landmarks} landmarks, {size}x{size} px, random, {kind}, {written / 1e6:.2f} MB"
    )


def pack(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint with 1-bit or 2-bit weights.")], output: Output
) -> None:
    """Store a trained checkpoint's quantized weights as bits: about 1/25 of the size, same outputs, not trainable."""
    check_checkpoint(output)
    from edgelm.models.checkpoint import load_checkpoint, save_checkpoint

    it = load_checkpoint(checkpoint)
    if it.packed:
        raise UsageError(f"{checkpoint} is packed already")
    if output.resolve() == checkpoint.resolve():
        raise UsageError(f"{checkpoint} would be lost, and what is packed cannot be trained further; name another file")
    before = checkpoint.stat().st_size
    written = save_checkpoint(output, it.entry, it.model, it.spec, packed=True, notes=it.notes)
    typer.echo(f"wrote {output}: {written / 1e6:.2f} MB, was {before / 1e6:.2f} MB ({before / written:.1f}x)")


def check_checkpoint(path: Path) -> None:
    """Refuse an output path that is no .pt file or cannot be written."""
    if path.suffix != ".pt":
        raise UsageError(f"a checkpoint is a .pt file, got {path}")
    check_output(path)


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application."""
    app.command()(models)
    app.command()(new)
    app.command()(pack)
