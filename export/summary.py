"""What an export tells about its steps: counts of a graph, and sentences. Nothing here changes anything."""

import math
from collections.abc import Sequence

import onnx_ir as ir
from torch import nn

from edgelm.export.layerwise import LayerCheck
from edgelm.export.nodes import attributes_of, is_packed
from edgelm.export.verify import EndToEnd, Loss
from edgelm.models.checkpoint import Checkpoint
from edgelm.models.quant_conv import QuantConv2d

__all__ = ["describe", "layer_count", "macs", "packed", "price", "verdict"]


def describe(source: Checkpoint) -> str:
    """The network in a checkpoint."""
    s, scheme = source.spec, source.entry.scheme
    activations = {1: "sign", 32: "float"}.get(scheme.act_bits, f"{scheme.act_bits}-bit")
    return (
        f"{source.entry.name}, {len(s.scheme.names)} landmarks, weights {scheme.weights}, {activations} activations, "
        f"input {s.input.width}x{s.input.height}, crop {s.crop.preset}, decode {s.decode}"
    )


def layer_count(model: nn.Module) -> int:
    """Quantized convolutions of a torch network."""
    return sum(isinstance(m, QuantConv2d) for m in model.modules())


def macs(graph: ir.Model) -> int:
    """Multiply-accumulates of all convolutions for one image."""
    total = 0
    for node in graph.graph:
        if node.op_type in ("Conv", "QuantConv2d", "DeformConv"):
            weight, out = node.inputs[1], node.outputs[0].shape
            assert weight is not None
            assert weight.shape is not None
            assert out is not None
            total += math.prod(weight.shape.numpy()) * math.prod(int(str(d)) for d in out[2:])
    return total


def packed(nodes: Sequence[ir.Node]) -> tuple[int, int]:
    """Bytes of the weights of one or two bits, and how many weights they are; shared ones count once."""
    size = count = 0
    for weight, node in {node.inputs[0]: node for node in nodes if is_packed(node)}.items():
        a = attributes_of(node)
        assert weight is not None
        assert weight.const_value is not None
        size += weight.const_value.nbytes
        count += a["out_channels"] * a["kernel_h"] * a["kernel_w"] * a["in_channels"]
    return size, count


def price(loss: Loss) -> str:
    """What fewer bits cost."""
    return (
        f"landmarks move {loss.mean_px:.2f} px on average ({loss.mean_share:.2%} of the input, {loss.limit_share:.1%} "
        f"allowed), {loss.max_px:.2f} px at most, on {loss.points} clear landmarks of {loss.images} "
        f"image{'s' if loss.images > 1 else ''}; all landmarks, near ties too, {loss.all_mean_px:.2f} px on average"
    )


def verdict(layers: LayerCheck, whole: EndToEnd) -> str:
    """The result of both looks."""
    single = f"{layers.layers} layers, worst RMS error {layers.worst:.1e}; " if layers.layers else ""
    maps = (
        f"{single}{whole.images} images: heatmap max|d| "
        f"{whole.heatmap_max:.1e} of {whole.heatmap_range:.3g} ({whole.heatmap_limit:.1e} allowed), "
    )
    if not whole.decidable:
        return f"{maps}this network amplifies rounding until no landmark is certain: the layers are the proof"
    return (
        f"{maps}landmarks max {whole.point_max_px:.3f} px, mean {whole.point_mean_px:.4f} px, "
        f"{whole.near}/{whole.decidable} within 0.05 px ({whole.points - whole.decidable} near ties left out)"
    )
