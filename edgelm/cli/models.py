"""`edgelm models`, `new`, `import` and `pack`: names and checkpoint files. They need torch."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from edgelm.atomic import check_output
from edgelm.cli.output import print_json, progress
from edgelm.errors import UsageError

__all__ = ["Name", "Supervisions", "check_checkpoint", "register", "tell_alias"]

Name = Annotated[str, typer.Argument(help="A network, for example cunet8-bw; `edgelm models` lists them.")]
InputSize = Annotated[
    str | None, typer.Option("--input", help="Input in px: a side, or HEIGHTxWIDTH; else the size of the papers.")
]
Supervisions = Annotated[
    int | None, typer.Option(min=1, help="CU-Nets: heads while training, spread evenly; by default one each.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write (.pt).")]


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the networks that `new` and `train` know by name, with their sizes."""
    from edgelm.models.paper import PAPER
    from edgelm.models.registry import SCHEMES, aliases, model_names, networks

    rows = [(entry, PAPER[entry.name], entry.family) for entry in networks()]
    if as_json:
        told = [
            {
                "family": family.name,
                "paper": family.paper,
                "input": family.size(entry.with_landmarks(row.classes).config),
                **dataclasses.asdict(row),
            }
            for entry, row, family in rows
        ]
        print_json({"models": list(model_names()), "networks": told, "aliases": dict(aliases())})
        return
    width = max(len(row.network) for _, row, _ in rows)
    typer.echo(
        f"{'network':<{width}}  {'family':<15} {'input':>7} {'points':>6} {'parameters':>11} {'GMAC':>6} {'float':>9} "
        f"{'1 bit':>8}"
    )
    for entry, row, family in rows:
        height, wide = family.size(entry.with_landmarks(row.classes).config)
        typer.echo(
            f"{row.network:<{width}}  {family.name:<15} {f'{wide}x{height}':>7} {row.classes:>6} {row.parameters:>11,} "
            f"{row.gmacs:>6.2f} {row.parameters * 4e-6:>6.1f} MB {row.packed_bytes / 1e6:>5.2f} MB"
        )
    typer.echo("1 bit: with -bwa, weights packed and the rest float32; any number of points can be asked for")
    typer.echo("other names: " + ", ".join(f"{alias} is {network}" for alias, network in aliases().items()))
    suffixes = ", ".join(suffix for suffix in SCHEMES if suffix)
    typer.echo(f"each as it is (float) or with {suffixes}: for example cunet8-bw")


def new(
    name: Name,
    output: Output,
    landmarks: Annotated[int, typer.Option(min=1, help="Landmarks to find.")] = 68,
    size: InputSize = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights.")] = 0,
    packed: Annotated[
        bool, typer.Option("--packed", help="Store 1-bit weights as bits: small, not trainable.")
    ] = False,
    supervisions: Supervisions = None,
) -> None:
    """Write a checkpoint with random weights and plausible statistics, for benchmarks and tests."""
    check_checkpoint(output)
    from edgelm.models.checkpoint import save_checkpoint
    from edgelm.models.create import create, randomize

    tell_alias(name)
    entry, model, spec = create(name, landmarks=landmarks, size=parse_size(size), seed=seed, supervisions=supervisions)
    randomize(model, (spec.input.height, spec.input.width), seed)
    written = save_checkpoint(output, entry, model, spec, packed=packed)
    kind = "packed" if packed else "float"
    typer.echo(
        f"wrote {output}: {name}, {landmarks} landmarks, {spec.input.height}x{spec.input.width} px, random, {kind}, "
        f"{written / 1e6:.2f} MB"
    )


def import_(
    published: Annotated[Path, typer.Argument(help="A state_dict or training state that torch.save wrote.")],
    arch: Annotated[str, typer.Option("--arch", help="Its network, for example hrnetv2_w18.")],
    scheme: Annotated[str, typer.Option("--scheme", help="The landmarks it finds, for example wflw98.")],
    output: Output,
    size: InputSize = None,
) -> None:
    """Make a checkpoint of published weights, taken as they are: only tensors are read, and every name must fit."""
    check_checkpoint(output)
    from edgelm.models.checkpoint import save_checkpoint
    from edgelm.models.published import import_published

    entry, model, spec = import_published(published, arch, scheme, parse_size(size))
    written = save_checkpoint(output, entry, model, spec, notes={"imported from": published.name})
    typer.echo(
        f"wrote {output}: {arch}, {scheme}, {spec.input.height}x{spec.input.width} px, {spec.crop.preset} crops, "
        f"{written / 1e6:.2f} MB"
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


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """A side, or (H, W) of "256x192"; UsageError where it is neither."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and len(side) <= 4 for side in sides):
        raise UsageError(f"--input is a side in px, such as 256, or HEIGHTxWIDTH, such as 256x192; got {text!r}")
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def tell_alias(name: str) -> None:
    """Say what a network is that is asked for by its second name."""
    from edgelm.models.registry import alias_note

    if (note := alias_note(name)) is not None:
        progress(note)


def check_checkpoint(path: Path) -> None:
    """Refuse an output path that is no .pt file or cannot be written."""
    if path.suffix != ".pt":
        raise UsageError(f"a checkpoint is a .pt file, got {path}")
    check_output(path)


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application."""
    app.command()(models)
    app.command()(new)
    app.command("import")(import_)
    app.command()(pack)
