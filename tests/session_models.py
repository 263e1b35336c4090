"""Whole model files for the tests of sessions: a network of one convolution that answers with two heatmaps."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qconv_cases import OPERANDS, Case, make_case

from edgelm.export.ops import QUANT_CONV
from edgelm.export.tflite_file import Model, Operator, Tensor, constant, write_model
from edgelm.spec import METADATA_KEY, CropSpec, InputSpec, LandmarkScheme, ModelSpec

SPEC = ModelSpec(
    name="two-points",
    task="face",
    scheme=LandmarkScheme("eyes2", ("left", "right"), flip_pairs=((0, 1),), contours=()),
    input=InputSpec(height=16, width=12),
    crop=CropSpec("plain", 1.0),
    heatmap_height=8,
    heatmap_width=6,
)
CASE = make_case(7, batch=1, channels=(3,), out_channels=2, stride_h=2, stride_w=2, absent=("residual",), H=16, W=12)
FLOAT_WEIGHT = np.random.default_rng(3).standard_normal((2, 1, 1, 3)).astype(np.float32)
"""(O, 1, 1, I) of the portable network, a 1x1 convolution with stride 2."""


def crops(count: int, seed: int = 0) -> NDArray[np.float32]:
    """(count, 16, 12, 3) float32."""
    return np.random.default_rng(seed).standard_normal((count, 16, 12, 3)).astype(np.float32)


def heatmaps(x: NDArray[np.float32]) -> Any:
    """The reference's answer (N, 2, 8, 6) to crops."""
    return Case(CASE.attributes, CASE.weight, (x.transpose(0, 3, 1, 2),), CASE.operands).reference()


def portable_heatmaps(x: NDArray[np.float32]) -> Any:
    """The answer of the portable network."""
    return np.einsum("nhwi,oi->nohw", x[:, ::2, ::2], FLOAT_WEIGHT[:, 0, 0])


def tflite_file(
    spec: ModelSpec | None = SPEC, *, portable: bool = False, size: tuple[int, int] = (16, 12), kind: str = ""
) -> bytes:
    """A .tflite file; `size` is its input's, `kind` replaces the custom operator's name."""
    H, W = size
    tensors = [Tensor("image", (1, H, W, 3)), Tensor("heatmaps", (1, (H + 1) // 2, (W + 1) // 2, 2))]
    if portable:
        tensors += [constant("weight", FLOAT_WEIGHT), constant("bias", np.zeros(2, np.float32))]
        options: dict[str, Any] = {"padding": "VALID", "stride_w": 2, "stride_h": 2}
        node = Operator("CONV_2D", ("image", "weight", "bias"), ("heatmaps",), options)
    else:
        tensors += [constant(name, value) for name, value in CASE.constants().items()]
        names = ("weight", *OPERANDS, "", "image")
        given = QUANT_CONV.options(CASE.attributes)
        node = Operator(kind or "edgelm.QuantConv2d", names, ("heatmaps",), custom_options=given)
    metadata = {} if spec is None else {METADATA_KEY: dataclasses.replace(spec, portable=portable).to_json().encode()}
    return write_model(Model(tensors, [node], ("image",), ("heatmaps",), metadata))
