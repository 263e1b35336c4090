"""Run every quantized convolution of a graph on the engine with torch's own inputs: where does a file first differ?

In a quantized network a value at a border may round to another level, and from there on two right computations drift
apart; end to end that tells little. Cut behind each QuantConv2d the graph is as deep as one layer everywhere: each
node's readers take torch's values instead of its own, which the engine returns for comparison. A residual is added to
those instead: torch adds it outside of the layer.
"""

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgelm.bits import pack_weights
from edgelm.export.nodes import FIRST_X, attributes_of, call_name, is_packed, layer_of, operand
from edgelm.export.verify import ROUNDING
from edgelm.models.evaluate import network_runner
from edgelm.models.quant_conv import QuantConv2d
from edgelm.runtimes.native import library_path
from edgelm.runtimes.tflite import import_engine
from edgelm.spec import ModelSpec
from edgelm.testvector import synthetic_input

__all__ = ["ENGINES", "LayerCheck", "Write", "compare_layers", "cut"]

Floats = NDArray[np.float32]
Array = NDArray[Any]
Write = Callable[[ir.Model], bytes]

_FLOAT_LIMIT = 1e-5
"""Allowed RMS error over RMS value: float sums of up to some thousand terms in another order."""
_NOISE = 10.0
"""The same in units of what rounding alone does, where that is more."""
_LEVEL_LIMIT = 1e-2
"""The same where activations are quantized: a BatchNorm rounds otherwise in torch, which turns a few levels."""


@dataclass(frozen=True)
class LayerCheck:
    """Result of the look at the layers.

    Attributes:
        layers: quantized convolutions compared, and the heatmaps; 0 where nothing is quantized.
        worst: largest RMS error of a layer as a share of its RMS value.
        exact: layers that agree bit for bit.
        diverging: name of the first layer out of tolerance, or None.
    """

    layers: int
    worst: float
    exact: int
    diverging: str | None


def cut(model: ir.Model) -> ir.Model:
    """A copy of the graph with every QuantConv2d's output exposed, and its readers fed from an input of its name.

    A residual is added behind the cut, for torch's layer has none.
    """
    copy = ir.from_proto(ir.to_proto(model))
    for node in [n for n in copy.graph if is_packed(n)]:
        made = node.outputs[0]
        fed = ir.Value(name=f"{node.name}.fed", shape=made.shape, type=made.type)
        total, residual = fed, node.inputs[FIRST_X - 1]
        if residual is not None:
            node.replace_input_with(FIRST_X - 1, None)
            add = ir.node("Add", [fed, residual])
            total = add.outputs[0]
            total.name, total.shape, total.type = f"{node.name}.sum", made.shape, made.type
            copy.graph.insert_after(node, add)
        for reader, index in made.uses():
            reader.replace_input_with(index, total)
        made.name = f"{node.name}.made"
        copy.graph.inputs.append(fed)
        copy.graph.outputs.append(made)
    return copy


def compare_layers(model: nn.Module, graph: ir.Model, write: Write, target: str, spec: ModelSpec) -> LayerCheck:
    """Compare the layers of a graph on an engine with torch's.

    Args:
        model: the frozen torch network, or what `edgelm.export.lossy.simulate` made of it.
        graph: after the fusing passes, not grouped.
        write: makes the target's file of a graph.
        target: "onnx" or "tflite".
        spec: of the network.
    """
    x = synthetic_input(1, spec.input.height, spec.input.width)
    outputs, heatmaps = _torch_outputs(model, x)
    whole = spec.activation_bits == 32 and not spec.options.rounds
    limit, noise = (_FLOAT_LIMIT, _noise(model, x, outputs, heatmaps)) if whole else (_LEVEL_LIMIT, {})
    packed = [node for node in graph.graph if is_packed(node)]
    named = [node.name or "" for node in packed]
    for node in packed:
        if attributes_of(node)["post_relu"]:
            outputs[node.name or ""] = outputs[node.name or ""].clip(0)
    feeds = {"image": x.transpose(0, 3, 1, 2), **{f"{name}.fed": outputs[name] for name in named}}
    parts = cut(graph)
    found = dict(zip([value.name for value in parts.graph.outputs], ENGINES[target](write(parts), feeds), strict=True))
    expected = {**{f"{name}.made": outputs[name] for name in named}, "heatmaps": heatmaps}
    if not named:
        del expected["heatmaps"]  # nothing was cut: they are as deep as the network, and the end-to-end look is theirs
    limits = {n: max(limit, _NOISE * noise.get(n.removesuffix(".made"), 0.0)) for n in expected}
    worst, exact, diverging = 0.0, 0, _wrong_weights(model, graph)
    for name, values in expected.items():
        error = _relative_rms(found[name], values)
        worst = max(worst, error)
        exact += bool((found[name] == values).all())
        if diverging is None and not error <= limits[name]:  # so that NaN diverges
            diverging = name.removesuffix(".made")
    return LayerCheck(len(expected), worst, exact, diverging)


def _noise(model: nn.Module, x: Floats, outputs: Mapping[str, Floats], heatmaps: Floats) -> dict[str, float]:
    """What rounding alone changes in each layer, as a share of its RMS value, where the graph is cut as `cut` does.

    Torch computes in float64, and on inputs changed by a rounding. Between two cuts lie some layers at most, but before
    the first of them may lie a network that finds a rotation.
    """
    found: dict[str, float] = {}

    def note(name: str, values: NDArray[Any], exact: Floats) -> None:
        found[name] = max(found.get(name, 0.0), _relative_rms(values, exact))

    calls: Counter[str] = Counter()

    def force(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        assert isinstance(module, QuantConv2d)
        name = call_name(module.layer, calls[module.layer])
        calls[module.layer] += 1
        note(name, output.numpy(), outputs[name])
        return torch.from_numpy(outputs[name]).to(output.dtype)

    trials = [(model, x * np.float32(1 + change)) for change in (ROUNDING, -ROUNDING)]
    for network, image in (*trials, (copy.deepcopy(model).double(), x.astype(np.float64))):
        calls.clear()
        hooks = [m.register_forward_hook(force) for m in network.modules() if isinstance(m, QuantConv2d)]
        try:
            with torch.no_grad():
                note("heatmaps", network(torch.from_numpy(image).permute(0, 3, 1, 2))[-1].numpy(), heatmaps)
        finally:
            for hook in hooks:
                hook.remove()
    return found


def _wrong_weights(model: nn.Module, graph: ir.Model) -> str | None:
    """The first layer whose packed levels are not torch's, bit for bit: a single one hides below any float limit."""
    layers = {m.layer: m for m in model.modules() if isinstance(m, QuantConv2d)}
    for node in graph.graph:
        if is_packed(node):
            layer = layers[layer_of(node)]
            levels = layer.weight.permute(0, 2, 3, 1).to(torch.int8).contiguous().numpy()
            packed = operand(node, "weight")
            if packed is None or not np.array_equal(packed, pack_weights(levels, layer.quantizer.bits)):
                return node.name
    return None


def _relative_rms(found: NDArray[Any], expected: Floats) -> float:
    difference = np.sqrt(np.mean((found.astype(np.float64) - expected) ** 2))
    return float(difference / max(float(np.sqrt(np.mean(expected.astype(np.float64) ** 2))), 1e-30))


def _torch_outputs(model: nn.Module, x: Floats) -> tuple[dict[str, Floats], Floats]:
    """What every call of a QuantConv2d makes of an image, by the name of its node, and the heatmaps."""
    outputs: dict[str, Floats] = {}
    calls: Counter[str] = Counter()

    def keep(module: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(module, QuantConv2d)
        outputs[call_name(module.layer, calls[module.layer])] = output.numpy()
        calls[module.layer] += 1

    hooks = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, QuantConv2d)]
    try:
        return outputs, network_runner(model)(x)
    finally:
        for hook in hooks:
            hook.remove()


def _run_onnx(file: bytes, feeds: Mapping[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it finds the shapes of the cut graph noteworthy
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    made: list[Array] = session.run(None, {name: np.ascontiguousarray(values) for name, values in feeds.items()})
    return made


def _run_tflite(file: bytes, feeds: Mapping[str, Array]) -> list[Array]:
    _, engine = import_engine("the file to verify")
    delegates = [engine.load_delegate(str(library_path()))]
    interpreter = engine.Interpreter(model_content=file, num_threads=1, experimental_delegates=delegates)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        values = np.ascontiguousarray(feeds[detail["name"]].transpose(0, 2, 3, 1))
        interpreter.set_tensor(detail["index"], _signed(values) if values.dtype == np.uint8 else values)
    interpreter.invoke()
    made = [interpreter.get_tensor(d["index"]).transpose(0, 3, 1, 2) for d in interpreter.get_output_details()]
    return [_signed(values).view(np.uint8) if values.dtype == np.int8 else values for values in made]


def _signed(levels: Array) -> Array:
    """Levels of 0 to 255 as TFLite counts them, from -128, or back: the highest bit is the other one."""
    flipped: Array = (levels.view(np.uint8) ^ np.uint8(128)).view(np.int8)
    return flipped


ENGINES: Mapping[str, Callable[[bytes, Mapping[str, Array]], list[Array]]] = {"onnx": _run_onnx, "tflite": _run_tflite}
"""Run a file once; maps are (N, C, H, W), 8-bit ones 0 to 255, on both sides."""
