"""`export`: the whole way from a checkpoint to a verified model file, step by step.

The steps' own work is in `capture`, `passes/`, `onnx`, `tflite` and `verify`; here is their order.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from torch import nn

from edgelm import zoo
from edgelm.atomic import atomic_path, check_output
from edgelm.errors import UsageError, VerificationError
from edgelm.export.capture import capture, simplify
from edgelm.export.layerwise import LayerCheck, compare_layers
from edgelm.export.nodes import attributes_of, is_quant_conv
from edgelm.export.onnx import onnx_bytes
from edgelm.export.passes.clean import Clean
from edgelm.export.passes.fuse_batch_norm import FuseBatchNorm
from edgelm.export.passes.fuse_concat import FuseConcat
from edgelm.export.passes.fuse_relu import FuseRelu
from edgelm.export.passes.lower_portable import LowerPortable
from edgelm.export.passes.pack_weights import PackWeights
from edgelm.export.tflite import tflite_bytes
from edgelm.export.verify import EndToEnd, compare_end_to_end
from edgelm.images import read_image
from edgelm.models.checkpoint import Checkpoint, load_checkpoint
from edgelm.models.evaluate import network_runner
from edgelm.models.quant_conv import QuantConv2d, freeze
from edgelm.runtimes.detect import find_faces
from edgelm.runtimes.runtime import Runtime
from edgelm.spec import ModelSpec
from edgelm.testvector import make_vector

__all__ = ["TARGETS", "ExportReport", "Step", "export", "weights_sha256"]

TARGETS = ("onnx", "tflite")
_FUSE = (PackWeights, FuseRelu, FuseBatchNorm, FuseConcat)
"""After simplifying, which knows the canonical op as opaque; packing comes first since the others match its result."""


@dataclass(frozen=True)
class Step:
    """One finished step: number, name, what it did, and the size of the model after it in bytes where it has one."""

    number: int
    name: str
    detail: str
    bytes: int | None = None


STEPS = 6


@dataclass(frozen=True)
class ExportReport:
    """What an export did.

    Attributes:
        path: the written file.
        target: "onnx" or "tflite".
        portable: whether it holds builtin ops alone.
        float_bytes: size of the same network as ONNX with float weights.
        bytes: size of the file.
        weight_bytes: of the packed weights alone.
        weight_count: how many weights those hold.
        layers: the look at the layers, None where nothing was verified.
        end_to_end: the look at the whole, None where nothing was verified.
        steps: what happened.
    """

    path: Path
    target: str
    portable: bool
    float_bytes: int
    bytes: int
    weight_bytes: int
    weight_count: int
    layers: LayerCheck | None
    end_to_end: EndToEnd | None
    steps: tuple[Step, ...]


def export(
    checkpoint: Path,
    target: str,
    output: Path | None = None,
    *,
    portable: bool = False,
    verify: bool = True,
    report: Callable[[Step], None] = lambda _: None,
) -> ExportReport:
    """Export a checkpoint to a model file.

    Args:
        checkpoint: float or packed.
        target: "onnx" or "tflite".
        output: the file to write, ending in .onnx or .tflite; None puts it beside the checkpoint.
        portable: builtin ops only; weights stay 1 or 2 bits in the file, but run at float speed.
        verify: compare the file with torch on the engine; a file that fails is not kept.
        report: called after each step.

    Raises:
        UsageError: an unknown target, a wrong suffix, a folder that cannot be written.
        ModelFileError: an unusable checkpoint.
        EngineMissingError: nothing installed to verify with.
        VerificationError: the file is out of tolerance; it was removed.
    """
    if target not in TARGETS:
        raise UsageError(f"no target {target!r}; known are {', '.join(TARGETS)}")
    suffix = ".portable" if portable else ""
    path = output or checkpoint.with_name(f"{checkpoint.stem}{suffix}.{target}")
    if path.suffix != f".{target}":
        raise UsageError(f"a file for {target} ends in .{target}, got {path.name}")
    check_output(path)
    steps: list[Step] = []

    def done(name: str, detail: str, size: int | None = None) -> None:
        steps.append(Step(len(steps) + 1, name, detail, size))
        report(steps[-1])

    source = load_checkpoint(checkpoint)
    model = freeze(source.model)
    done("load", _describe(source), checkpoint.stat().st_size)
    graph = simplify(capture(model, source.spec))
    float_bytes = len(ir.to_proto(graph).SerializeToString())
    done(
        "trace",
        f"{_macs(graph) / 1e9:.2f} GMAC, {sum(1 for _ in graph.graph)} nodes, {_count(model)} quantized convolutions",
        float_bytes,
    )
    before = sum(1 for _ in graph.graph)
    for fuse in _FUSE:
        fuse()(graph)
    Clean()(graph)
    packed = [n for n in graph.graph if is_quant_conv(n)]
    after = sum(1 for _ in graph.graph)
    done("fuse", f"{before} nodes -> {after}: BatchNorm, ReLU and concatenation inside {len(packed)} QuantConv2d")
    weight_bytes, weight_count = _weights(packed)
    ratio = 4 * weight_count / weight_bytes if weight_bytes else 1.0
    done("pack", f"{weight_count:,} weights in {weight_bytes:,} bytes, 1/{ratio:.4g} of float32", weight_bytes)
    spec = _final_spec(source.spec, model, portable)

    def write(made: ir.Model) -> bytes:
        return _write(made, spec, target, portable)

    data = write(graph)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
        ops = "builtin ops only" if portable or not packed else "custom op edgelm::QuantConv2d"
        done("write", f"{path.name}, {ops}, 1/{float_bytes / len(data):.3g} of the float network", len(data))
        layers = whole = None
        if verify:
            layers = compare_layers(model, graph, write, target, spec)
            whole = _run_whole(temporary, model, spec)
            _judge(layers, whole)
            done("verify", _verdict(layers, whole))
    return ExportReport(
        path, target, portable, float_bytes, len(data), weight_bytes, weight_count, layers, whole, tuple(steps)
    )


def _describe(source: Checkpoint) -> str:
    s, scheme = source.spec, source.entry.scheme
    activations = {1: "sign", 32: "float"}.get(scheme.act_bits, f"{scheme.act_bits}-bit")
    return (
        f"{source.entry.name}, {len(s.scheme.names)} landmarks, weights {scheme.weights}, {activations} activations, "
        f"input {s.input.width}x{s.input.height}, crop {s.crop.preset}, decode {s.decode}"
    )


def _count(model: nn.Module) -> int:
    return sum(isinstance(m, QuantConv2d) for m in model.modules())


def _macs(graph: ir.Model) -> int:
    """Multiply-accumulates of all convolutions for one image."""
    total = 0
    for node in graph.graph:
        if node.op_type in ("Conv", "QuantConv2d"):
            weight, out = node.inputs[1], node.outputs[0].shape
            assert weight is not None
            assert weight.shape is not None
            assert out is not None
            total += math.prod(weight.shape.numpy()) * math.prod(int(str(d)) for d in out[2:])
    return total


def _weights(nodes: Sequence[ir.Node]) -> tuple[int, int]:
    """Bytes of the packed weights, and how many weights they are."""
    size = count = 0
    for node in nodes:
        a = attributes_of(node)
        weight = node.inputs[0]
        assert weight is not None
        assert weight.const_value is not None
        size += weight.const_value.nbytes
        count += a["out_channels"] * a["kernel_h"] * a["kernel_w"] * a["in_channels"]
    return size, count


def _final_spec(spec: ModelSpec, model: nn.Module, portable: bool) -> ModelSpec:
    """The spec as the file holds it: versions, hash of the weights and the test vector added."""
    versions = {name: version(name) for name in ("edgelm", "torch", "onnx", "onnxscript", "onnxsim")}
    spec = dataclasses.replace(spec, portable=portable, versions=versions, weights_sha256=weights_sha256(model))
    rounding = 0.0 if spec.activation_bits == 32 else 1e-6
    return dataclasses.replace(spec, test_vector=make_vector(network_runner(model), spec, rounding=rounding))


def weights_sha256(model: nn.Module) -> str:
    """Hash of a network's weights and statistics once its layers are frozen: the same for every file made of it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(freeze(model).state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def _write(graph: ir.Model, spec: ModelSpec, target: str, portable: bool) -> bytes:
    if target == "tflite":
        return tflite_bytes(graph, spec, portable=portable)
    graph = graph.clone()
    if portable:
        LowerPortable()(graph)
    Clean()(graph)
    return onnx_bytes(graph, spec)


def _run_whole(path: Path, model: nn.Module, spec: ModelSpec) -> EndToEnd:
    """On synthetic images, and for a face model on the bundled portrait too, cropped as the runtime does it."""
    with Runtime(path) as runtime:
        photo = zoo.photo() if spec.task == "face" else None
        images: list[NDArray[np.float32]] = []
        if photo is not None:
            portrait = read_image(photo)
            images = list(runtime.crop(portrait, find_faces(portrait)[0])[0])
        return compare_end_to_end(model, runtime.infer, spec, images)


def _judge(layers: LayerCheck, whole: EndToEnd) -> None:
    if layers.diverging is not None:
        raise VerificationError(f"the layer {layers.diverging} differs from torch: {_verdict(layers, whole)}")
    if not whole.passed:
        raise VerificationError(f"the file differs from torch, though every layer agrees: {_verdict(layers, whole)}")


def _verdict(layers: LayerCheck, whole: EndToEnd) -> str:
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
