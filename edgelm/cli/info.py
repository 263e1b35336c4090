"""`edgelm info`: what is in a checkpoint, an .onnx or a .tflite file. Only checkpoints need torch."""

import dataclasses
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelm.cli.output import print_json
from edgelm.spec import ModelSpec

if TYPE_CHECKING:
    from edgelm.file_info import FileInfo, LayerInfo

__all__ = ["register"]


def info(
    file: Annotated[Path, typer.Argument(help="A checkpoint (.pt), an .onnx or a .tflite file.")],
    layers: Annotated[bool, typer.Option("--layers", help="List every layer, not only the kinds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every layer.")] = False,
) -> None:
    """Show what a model file holds: landmarks, crop, layers, bits, sizes, custom operators."""
    found = _read(file)
    if as_json:
        print_json({"file": str(file), **dataclasses.asdict(found)})
        return
    typer.echo(f"{file}: {found.format}, {found.bytes:,} bytes, {found.constants_bytes:,} of them weights")
    for label, text in [*_description(found.spec), *found.facts.items()]:
        typer.echo(f"{label:<12} {text}")
    if found.operators:
        counted = ", ".join(f"{count} {kind}" for kind, count in found.operators.items())
        typer.echo(f"{'operators':<12} {counted}")
        needs = ", ".join(found.custom_ops) or "none: any engine runs it"
        typer.echo(f"{'custom ops':<12} {needs}")
    typer.echo(f"\n{_HEAD}")
    for line in _lines(found.layers, layers):
        typer.echo(line)


_NAME = 34  # width of the first column
_HEAD = f"{'layer':<{_NAME}} {'kernel':>6} {'in':>6} {'out':>6} {'weight':>7} {'act':>6} {'weights':>12} {'bytes':>11}"


def _read(file: Path) -> "FileInfo":
    if file.suffix == ".pt":
        from edgelm.models.checkpoint_info import read_checkpoint_info

        return read_checkpoint_info(file)
    from edgelm.file_info import read_info

    return read_info(file)


def _description(spec: ModelSpec) -> list[tuple[str, str]]:
    given = spec.input
    activations = {1: "sign", 32: "float"}.get(spec.activation_bits, f"{spec.activation_bits} bits")
    plain = given.mean == (0.0, 0.0, 0.0) and given.std == (1.0, 1.0, 1.0)
    pixels = "0..1" if plain else f"mean {given.mean}, std {given.std}"
    after = {"fp16": ", in the file float16", "int8": ", in the file 8 bits as its maps"}.get(spec.options.weights, "")
    lines = [
        ("model", f"{spec.name}: {spec.task}, {len(spec.scheme.names)} landmarks ({spec.scheme.name})"),
        ("quantized", f"weights {spec.weights}, activations {activations}{after}"),
        ("input", f"{given.width}x{given.height} px, {given.channels}, {pixels}"),
        ("crop", f"{spec.crop.preset}, box x {spec.crop.factor:g}"),
        ("heatmaps", f"{spec.heatmap_width}x{spec.heatmap_height}, decode {spec.decode}, score {spec.score}"),
    ]
    if spec.versions:
        lines.append(("made with", ", ".join(f"{name} {version}" for name, version in spec.versions.items())))
        lines.append(("test vector", "none" if spec.test_vector is None else "there, for `edgelm selftest`"))
    return lines


def _lines(layers: Sequence["LayerInfo"], every: bool) -> list[str]:
    """One line for each layer, or for each kind of layer, and one for all."""
    lines = []
    if every:
        lines = [_line(one.name or f"#{number} {one.operator}", [one]) for number, one in enumerate(layers)]
    else:
        kinds = groupby(sorted(layers, key=_kind), key=_kind)
        for (operator, *_), group in kinds:
            members = list(group)
            lines.append(_line(f"{len(members)} x {operator}", members))
    count, size = sum(one.weights for one in layers), sum(one.bytes for one in layers)
    total = f"{f'{len(layers)} layers':<{_NAME}} {'':>6} {'':>6} {'':>6} {_bits(size * 8 / count) if count else '':>7}"
    return [*lines, f"{total} {'':>6} {count:>12,} {size:>11,}"]


def _kind(layer: "LayerInfo") -> tuple[str, str, float, int]:
    return layer.operator, layer.kernel, layer.weight_bits, layer.act_bits


def _line(name: str, members: Sequence["LayerInfo"]) -> str:
    first = members[0]
    inputs, outputs = ({getattr(one, side) for one in members} for side in ("in_channels", "out_channels"))
    cells = [_span(inputs), _span(outputs)]
    activations = {0: "-", 1: "sign", 32: "float"}.get(first.act_bits, f"{first.act_bits} bit")
    count, size = sum(one.weights for one in members), sum(one.bytes for one in members)
    return (
        f"{name:<{_NAME}} {first.kernel:>6} {cells[0]:>6} {cells[1]:>6} {_bits(first.weight_bits):>7} "
        f"{activations:>6} {count:>12,} {size:>11,}"
    )


def _span(values: set[int]) -> str:
    return str(min(values)) if len(values) == 1 else f"{min(values)}-{max(values)}"


def _bits(bits: float) -> str:
    return f"{bits:.3g} bit"


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application."""
    app.command()(info)
