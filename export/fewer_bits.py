"""Make a graph less exact than its network, where the options ask for it, and name the network that it then stands for.

Two ways: networks with quantized weights count their layers' inputs in steps (`edgelm.export.lossy`); float networks
get smaller weights after training, and with int8 maps in steps (`edgelm.export.passes.quantize_float`). The second
works on the graph, whose BatchNorms are in its weights already, so the graph itself, run as it stands, is the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from torch import nn

from edgelm.errors import VerificationError
from edgelm.export.interpret import Interpreted
from edgelm.export.lossy import fit, simulate
from edgelm.export.passes.clean import Clean
from edgelm.export.passes.halve_weights import HalveWeights
from edgelm.export.passes.quantize_float import QuantizeFloat
from edgelm.export.passes.quantize_inputs import QuantizeInputs
from edgelm.export.ranges import observe
from edgelm.export.verify import compare_end_to_end, measure_loss, synthetic_images
from edgelm.models.evaluate import network_runner
from edgelm.spec import ExportOptions, ModelSpec

__all__ = ["Fewer", "Wanted", "fewer_bits"]

Floats = NDArray[np.float32]
_LEVELS = {"onnx": 64, "tflite": 127}
"""The largest level of a weight: ONNX Runtime's kernels for AVX2 add pairs of products in 16 bits, and at 127 some sums
do not fit, silently; XNNPACK's widen first."""
_TRIALS = 16
"""Images on which two ways to choose ranges are compared."""


@dataclass(frozen=True)
class Wanted:
    """A network, and what is to have fewer bits in its graph.

    Attributes:
        model: the frozen torch network.
        spec: of the network.
        options: what to quantize.
        target: "onnx" or "tflite".
        images: inputs (H, W, 3) float32 to choose steps on, beside synthetic ones.
    """

    model: nn.Module
    spec: ModelSpec
    options: ExportOptions
    target: str
    images: Sequence[Floats]

    def cost(self, network: nn.Module, most: int | None = None) -> float:
        """How far `network` moves the landmarks of all images, or of the first `most`, crop px on average."""
        return measure_loss(self.model, network_runner(network), self.spec, self.images[:most]).all_mean_px


@dataclass(frozen=True)
class Fewer:
    """What a graph stands for now, and how many of its layers have fewer bits than before."""

    network: nn.Module
    layers: int = 0


def fewer_bits(graph: ir.Model, wanted: Wanted) -> Fewer:
    """Quantize what the options ask for in a graph after the fusing passes, which is changed.

    Raises:
        UsageError: an operator or a weight that cannot be made smaller.
        VerificationError: the graph is not the network even before.
    """
    model, spec, options = wanted.model, wanted.spec, wanted.options
    if options.weights != "float":
        return _after_training(graph, wanted)
    if not options.lossy:
        return Fewer(model)
    grids = fit(model, graph, options, spec, [*wanted.images, *synthetic_images(spec)], wanted.cost)
    QuantizeInputs(grids)(graph)
    Clean()(graph)
    return Fewer(simulate(model, grids), len(grids))


def _after_training(graph: ir.Model, wanted: Wanted) -> Fewer:
    exact = Interpreted(graph)
    captured = compare_end_to_end(wanted.model, network_runner(exact), wanted.spec, wanted.images[:2])
    if not captured.passed:
        raise VerificationError(
            f"the captured graph is not the network, before any rounding: heatmaps differ by {captured.heatmap_max:.2g}"
        )
    if wanted.options.weights == "fp16":
        HalveWeights()(graph)
    else:
        _count_in_levels(graph, exact, wanted)
    Clean()(graph)
    weights = [n.inputs[1] for n in graph.graph if n.op_type in ("Conv", "ConvTranspose")]
    layers = sum(value is not None and value.producer() is not None for value in weights)  # of stored, smaller ones
    return Fewer(Interpreted(graph), layers)


def _count_in_levels(graph: ir.Model, exact: Interpreted, wanted: Wanted) -> None:
    """Quantize to int8 with the ranges, all that occurs or nearly all, that move the landmarks less."""
    seen = observe(exact, wanted.images or synthetic_images(wanted.spec))

    def quantized(graph: ir.Model, choice: int) -> ir.Model:
        QuantizeFloat({name: ranges[choice] for name, ranges in seen.items()}, _LEVELS[wanted.target])(graph)
        return graph

    def cost(choice: int) -> float:
        return wanted.cost(Interpreted(quantized(graph.clone(), choice)), _TRIALS)

    quantized(graph, min((0, 1), key=cost))
