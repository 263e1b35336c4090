"""From a torch network to the canonical graph: ONNX, NCHW, the final head only, one node per quantized convolution.

A quantized convolution is a node `edgelm.canonical::QuantConv2d` of x (N, I, H, W), its levels (O, I, kh, kw) float32
in {-1, 0, +1} and its scales (O,). Everything later is a graph pass.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import onnx
import onnx_ir as ir
import onnxsim
import torch
from torch import Tensor, nn

from edgelm.models.quant_conv import freeze
from edgelm.spec import ModelSpec

__all__ = ["OPSET_IMPORT", "capture", "simplify"]

OPSET_IMPORT = 18
"""ONNX op set of every file; ONNX Runtime 1.17, the oldest served, knows up to 20."""


class _Final(nn.Module):
    """The last heatmaps alone, so that intermediate heads are dead code."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        heatmaps: Tensor = self.model(image)[-1]
        return heatmaps


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints progress, warns of what does not concern us, and logs optional packages that are absent."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def capture(model: nn.Module, spec: ModelSpec) -> ir.Model:
    """The canonical graph of a network; freezes its quantized layers.

    Args:
        model: returns a list of heatmaps, the final one last.
        spec: gives the input size.

    Returns:
        a model with one input `image` (N, 3, H, W) and one output `heatmaps` (N, K, h, w).
    """
    # Two images: with one, the exporter would take the batch for a constant.
    example = torch.zeros(2, 3, spec.input.height, spec.input.width)
    batch = torch.export.Dim("N", min=1, max=1024)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            _Final(freeze(model)).eval(),
            (example,),
            input_names=["image"],
            output_names=["heatmaps"],
            dynamic_shapes={"image": {0: batch}},
            opset_version=OPSET_IMPORT,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    return program.model


def simplify(model: ir.Model) -> ir.Model:
    """Fold constants, merge BatchNorms into float convolutions and drop dead nodes with onnxsim.

    It must run before weights are packed: it would unpack them again.
    """
    with _quiet():
        simple, sound = onnxsim.simplify(ir.to_proto(model))
    assert sound, "onnxsim checked nothing, so it cannot have found a difference"
    assert isinstance(simple, onnx.ModelProto)
    return ir.from_proto(simple)
