"""Single layers as files for guest.py: a program of the native library and the step that counts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgelm.bench.kernels import PRECISIONS, layer
from edgelm.bench.shapes import SHAPES, LayerShape
from edgelm.errors import UsageError


@dataclass(frozen=True)
class Layer:
    """A layer in a precision.

    Attributes:
        precision: one of edgelm.bench.kernels.PRECISIONS.
        shape: of the layer.
    """

    precision: str
    shape: LayerShape


_BY_NAME = {shape.name: shape for shape in SHAPES}
LAYERS = tuple(
    Layer(precision, _BY_NAME[name])
    for precision in PRECISIONS
    for name in ("3x3 128->32 32x32", "3x3 128->32 8x8", "1x1 288->128 32x32")
)
"""What the report shows of single layers; more of them would only take longer to emulate."""


def parse_layer(text: str) -> Layer:
    """A layer from for example "W1A8:3x3 128->32 64x64".

    Raises:
        UsageError: an unknown precision or shape.
    """
    precision, _, name = text.partition(":")
    if precision not in PRECISIONS or name not in _BY_NAME:
        raise UsageError(
            f'{text!r} is no layer; expected one such as "W1A8:3x3 128->32 64x64" with a precision of '
            f"{', '.join(PRECISIONS)} and a shape of {', '.join(_BY_NAME)}"
        )
    return Layer(precision, _BY_NAME[name])


def write_layer(wanted: Layer, path: Path) -> None:
    """Write the layer, which reads levels and hands its own kind of levels on, or floats where there are none."""
    from edgelm.export.quant_graph import encode
    from edgelm.runtimes.native import QuantGraph

    precision, shape = PRECISIONS[wanted.precision], wanted.shape
    program, data = encode(layer(shape, precision, consumer=precision.act_bits < 32))
    with QuantGraph(program, data) as graph:
        step = next(index for index, info in enumerate(graph.steps()) if info.op == "conv")
    np.savez(path, program=program, data=data, shape=(1, shape.H, shape.W, shape.C), step=step)
