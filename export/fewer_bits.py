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

__all__ = ["Fewer", "fewer_bits"]

Floats = NDArray[np.float32]
_LEVELS = {"onnx": 64, "tflite": 127}
"""The largest level of a weight: ONNX Runtime's kernels for AVX2 add pairs of products in 16 bits, and at 127 some sums
do not fit, silently; XNNPACK's widen first."""
_TRIALS = 16
"""Images on which two ways to choose ranges are compared."""


@dataclass(frozen=True)
class Fewer:
    """What a graph stands for now, and how many of its layers have fewer bits than before."""

    network: nn.Module
    layers: int = 0


def fewer_bits(
    model: nn.Module,
    graph: ir.Model,
    options: ExportOptions,
    spec: ModelSpec,
    images: Sequence[Floats],
    target: str,
) -> Fewer:
    """Quantize what the options ask for.

    Args:
        model: the frozen torch network.
        graph: after the fusing passes; changed.
        options: what to quantize.
        spec: of the network.
        images: inputs (H, W, 3) float32 to choose steps on, beside synthetic ones.
        target: "onnx" or "tflite".

    Raises:
        UsageError: an operator or a weight that cannot be made smaller.
        VerificationError: the graph is not the network even before.
    """
    if options.weights != "float":
        return _after_training(model, graph, options, spec, images, target)
    if not options.lossy:
        return Fewer(model)

    def cost(network: nn.Module) -> float:
        return measure_loss(model, network_runner(network), spec, images).all_mean_px

    grids = fit(model, graph, options, spec, [*images, *synthetic_images(spec)], cost)
    QuantizeInputs(grids)(graph)
    Clean()(graph)
    return Fewer(simulate(model, grids), len(grids))


def _after_training(
    model: nn.Module,
    graph: ir.Model,
    options: ExportOptions,
    spec: ModelSpec,
    images: Sequence[Floats],
    target: str,
) -> Fewer:
    exact = Interpreted(graph)
    captured = compare_end_to_end(model, network_runner(exact), spec, images[:2])
    if not captured.passed:
        raise VerificationError(
            f"the captured graph is not the network, before any rounding: heatmaps differ by {captured.heatmap_max:.2g}"
        )
    if options.weights == "fp16":
        HalveWeights()(graph)
    else:
        _count_in_levels(model, graph, exact, spec, images, _LEVELS[target])
    Clean()(graph)
    weights = [n.inputs[1] for n in graph.graph if n.op_type in ("Conv", "ConvTranspose")]
    layers = sum(value is not None and value.producer() is not None for value in weights)  # of stored, smaller ones
    return Fewer(Interpreted(graph), layers)


def _count_in_levels(
    model: nn.Module,
    graph: ir.Model,
    exact: Interpreted,
    spec: ModelSpec,
    images: Sequence[Floats],
    levels: int,
) -> None:
    """Quantize to int8 with the ranges, all that occurs or nearly all, that move the landmarks less."""
    seen = observe(exact, images or synthetic_images(spec))

    def quantized(graph: ir.Model, choice: int) -> ir.Model:
        QuantizeFloat({name: ranges[choice] for name, ranges in seen.items()}, levels)(graph)
        return graph

    def cost(choice: int) -> float:
        trial = Interpreted(quantized(graph.clone(), choice))
        return measure_loss(model, network_runner(trial), spec, images[:_TRIALS]).all_mean_px

    quantized(graph, min((0, 1), key=cost))
