"""All registered networks with their sizes, for `edgelm models` and tables in documents."""

from dataclasses import dataclass

import torch

from edgelm.models.count import conv_weights, macs
from edgelm.models.packed_size import packed_size
from edgelm.models.registry import SCHEMES, Entry, networks

__all__ = ["PACKED", "Row", "catalogue", "row"]

PACKED = "bwa"
"""The quantization that packed sizes are of: binary weights with a scale for each filter, float activations."""


@dataclass(frozen=True)
class Row:
    """A network.

    Attributes:
        network: its name.
        family: of it.
        paper: where it is defined.
        input: the authors' input in px, width x height.
        landmarks: that the figures are of.
        parameters: all of them, of the float network.
        conv_weights: those in convolutions, without biases.
        macs: multiply-accumulates for one image.
        float_bytes: of all parameters in float32.
        packed_bytes: with quantized weights packed, see `PACKED`; all else float32, BatchNorms as a scale and a shift.
    """

    network: str
    family: str
    paper: str
    input: str
    landmarks: int
    parameters: int
    conv_weights: int
    macs: int
    float_bytes: int
    packed_bytes: int


def row(entry: Entry) -> Row:
    """The figures of a network; its weights are never made."""
    family, config = entry.family, entry.config
    with torch.device("meta"):
        model = family.build(config, SCHEMES[""])
        packed = family.build(config, SCHEMES[f"-{PACKED}"])
    height, width = family.size(config)
    parameters = sum(one.numel() for one in model.parameters())
    return Row(
        entry.name, family.name, family.paper, f"{width}x{height}", config.classes, parameters, conv_weights(model),
        macs(model, (height, width)), 4 * parameters, packed_size(packed).total,
    )  # fmt: skip


def catalogue(landmarks: int) -> list[Row]:
    """Every registered network with that many landmarks, in the order of the registry."""
    return [row(entry.with_landmarks(landmarks)) for entry in networks()]
