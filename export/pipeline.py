"""`export`: the whole way from a checkpoint to a verified model file, step by step.

The steps' own work is in `capture`, `passes/`, `onnx`, `tflite` and `verify`; here is their order.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from torch import nn

from edgelm.atomic import atomic_path, check_output
from edgelm.errors import UsageError, VerificationError
from edgelm.export.capture import capture, simplify
from edgelm.export.fastest import choose_engine_layers
from edgelm.export.fewer_bits import Wanted, fewer_bits
from edgelm.export.layerwise import LayerCheck, compare_layers
from edgelm.export.levels import compare_levels, turning
from edgelm.export.nodes import is_ours, is_quant_conv
from edgelm.export.onnx import onnx_bytes
from edgelm.export.options import choose
from edgelm.export.passes.adopt_deform import AdoptDeform
from edgelm.export.passes.adopt_real import AdoptReal
from edgelm.export.passes.clean import Clean
from edgelm.export.passes.fuse_batch_norm import FuseBatchNorm
from edgelm.export.passes.fuse_concat import FuseConcat
from edgelm.export.passes.fuse_post_relu import FusePostRelu
from edgelm.export.passes.fuse_relu import FuseRelu
from edgelm.export.passes.fuse_residual import FuseResidual
from edgelm.export.passes.group import FuseGraph
from edgelm.export.passes.lower_portable import LowerPortable
from edgelm.export.passes.pack_weights import PackWeights
from edgelm.export.passes.spread_concat import SpreadConcat
from edgelm.export.photos import photos
from edgelm.export.summary import describe, layer_count, macs, packed, price, verdict
from edgelm.export.tflite import tflite_bytes
from edgelm.export.verify import ROUNDING, EndToEnd, Loss, compare_end_to_end, measure_loss
from edgelm.models.checkpoint import load_checkpoint
from edgelm.models.evaluate import network_runner
from edgelm.models.quant_conv import freeze
from edgelm.runtimes.runtime import Runtime
from edgelm.spec import ExportOptions, ModelSpec
from edgelm.testvector import make_vector

__all__ = ["TARGETS", "ExportReport", "Step", "export", "weights_sha256"]

TARGETS = ("onnx", "tflite")
_FUSE = (AdoptDeform, PackWeights, AdoptReal, FuseRelu, FusePostRelu, FuseBatchNorm, FuseConcat, FuseResidual)
"""After simplifying, which knows the canonical op as opaque; packing comes first since the others match its result."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """One finished step: number, name, what it did, and the size of the model after it in bytes where it has one."""

    number: int
    name: str
    detail: str
    bytes: int | None = None


STEPS = 6
"""Of an export; one more where layers are measured."""


@dataclass(frozen=True)
class ExportReport:
    """What an export did.

    Attributes:
        path: the written file.
        target: "onnx" or "tflite".
        portable: whether it holds builtin ops alone.
        options: how the network became operators.
        float_bytes: size of the same network as ONNX with float weights.
        bytes: size of the file.
        weight_bytes: of the packed weights alone.
        weight_count: how many weights those hold.
        layers: the look at the layers, None where nothing was verified.
        end_to_end: the look at the whole, None where nothing was verified.
        loss: what fewer bits than the network was trained with cost, None for options that take none away, and where
            nothing was verified.
        steps: what happened.
    """

    path: Path
    target: str
    portable: bool
    options: ExportOptions
    float_bytes: int
    bytes: int
    weight_bytes: int
    weight_count: int
    layers: LayerCheck | None
    end_to_end: EndToEnd | None
    loss: Loss | None
    steps: tuple[Step, ...]


def export(
    checkpoint: Path,
    target: str,
    output: Path | None = None,
    *,
    portable: bool = False,
    ops: str | None = None,
    real: str | None = None,
    activations: str | None = None,
    weights: str | None = None,
    calibrate: Path | None = None,
    verify: bool = True,
    report: Callable[[Step], None] = lambda _: None,
) -> ExportReport:
    """Export a checkpoint to a model file.

    Args:
        checkpoint: float or packed.
        target: "onnx" or "tflite".
        output: the file to write, ending in .onnx or .tflite; None puts it beside the checkpoint.
        portable: builtin ops only; weights stay 1 or 2 bits in the file, but run at float speed.
        ops: see `edgelm.spec.ExportOptions`, as the next two; None takes what `edgelm.export.options.choose` says.
        real: see there.
        activations: see there.
        weights: see there; "int8" needs `calibrate`.
        calibrate: folder of images to fit lossy options to and to verify on, beside the bundled ones.
        verify: compare the file with torch on the engine; a file that fails is not kept.
        report: called after each step.

    Raises:
        UsageError: an unknown target or option, a wrong suffix, a folder that cannot be read or written.
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
    options = choose(source.spec, portable=portable, ops=ops, real=real, activations=activations, weights=weights)
    if options.weights == "int8" and calibrate is None:
        raise UsageError(
            "--weights int8 counts maps in 256 steps, chosen on photos like those that the model will see: "
            "give a folder of them with --calibrate"
        )
    images = photos(source.spec, calibrate) if verify or options.lossy else []
    model = freeze(source.model)
    done("load", describe(source), checkpoint.stat().st_size)
    graph = simplify(capture(model, source.spec))
    float_bytes = len(ir.to_proto(graph).SerializeToString())
    before = sum(1 for _ in graph.graph)
    layers_of = f"{layer_count(model)} quantized convolutions"
    done("trace", f"{macs(graph) / 1e9:.2f} GMAC, {before} nodes, {layers_of}", float_bytes)
    if options.real == "fastest":
        options = dataclasses.replace(options, engine_layers=_slow_layers(graph, options, source.spec, target))
        done("measure", f"the engine is faster at {', '.join(options.engine_layers) or 'none of the real layers'}")
    _fuse(graph, options)
    ours = [n for n in graph.graph if is_quant_conv(n)]
    after = sum(1 for _ in graph.graph)
    done("fuse", f"{before} nodes -> {after}: BatchNorm, ReLU and concatenation inside {len(ours)} QuantConv2d")
    weight_bytes, weight_count = packed(ours)
    ratio = 4 * weight_count / weight_bytes if weight_bytes else 1.0
    done("pack", f"{weight_count:,} weights in {weight_bytes:,} bytes, 1/{ratio:.4g} of float32", weight_bytes)
    fewer = fewer_bits(graph, Wanted(model, source.spec, options, target, images))
    spec = _final_spec(source.spec, model, fewer.network, portable, options, graph)
    whole_graph = _grouped(graph) if options.ops == "graph" else graph
    data = _write(whole_graph, spec, target, portable)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
        done(
            "write", f"{path.name}, {_ops(whole_graph, portable)}, {_share(float_bytes, data, fewer.layers)}", len(data)
        )
        layers = whole = loss = None
        if verify:
            with Runtime(temporary) as runtime:  # first, since its words tell what an engine lacks
                write = partial(_write, spec=spec, target=target, portable=portable)
                trials: Sequence[nn.Module] = ()
                if options.weights == "int8":
                    layers, shares = compare_levels(graph, write, target, spec)
                    trials = turning(graph, shares)
                else:
                    layers = compare_layers(fewer.network, graph, write, target, spec)
                whole = compare_end_to_end(fewer.network, runtime.infer, spec, images, trials)
                loss = measure_loss(model, runtime.infer, spec, images) if options.lossy else None
            _judge(layers, whole, loss)
            done("verify", verdict(layers, whole) + (f"; {price(loss)}" if loss else ""))
    return ExportReport(
        path, target, portable, options, float_bytes, len(data), weight_bytes, weight_count, layers, whole, loss,
        tuple(steps),
    )  # fmt: skip


def _fuse(graph: ir.Model, options: ExportOptions) -> None:
    for fuse in _FUSE:
        if fuse is not AdoptReal:
            fuse()(graph)
        elif options.real != "engine":
            AdoptReal(options.engine_layers)(graph)
    Clean()(graph)


def _slow_layers(graph: ir.Model, options: ExportOptions, spec: ModelSpec, target: str) -> tuple[str, ...]:
    adopt = AdoptReal()
    adopt(graph.clone())

    def make(layers: tuple[str, ...]) -> bytes:
        trial = graph.clone()
        _fuse(trial, dataclasses.replace(options, engine_layers=layers))
        return _write(_grouped(trial) if options.ops == "graph" else trial, spec, target, False)

    return choose_engine_layers(adopt.adopted, make, target)


def _grouped(graph: ir.Model) -> ir.Model:
    whole = graph.clone()
    for change in (SpreadConcat, FuseConcat, Clean, FuseResidual, FuseGraph, Clean):
        change()(whole)
    return whole


def _ops(graph: ir.Model, portable: bool) -> str:
    ours = [node.op_type for node in graph.graph if is_ours(node)]
    if portable or not ours:
        return "builtin ops only"
    return " and ".join(f"{ours.count(kind)} {kind}" for kind in sorted(set(ours)))


def _share(float_bytes: int, data: bytes, layers: int) -> str:
    fewer = f", {layers} layers on fewer bits" if layers else ""
    return f"1/{float_bytes / len(data):.3g} of the float network{fewer}"


def _final_spec(
    spec: ModelSpec, model: nn.Module, twin: nn.Module, portable: bool, options: ExportOptions, graph: ir.Model
) -> ModelSpec:
    """The spec as the file holds it: versions, options, hash of the weights and the test vector added."""
    versions = {name: version(name) for name in ("edgelm", "torch", "onnx", "onnxscript", "onnxsim")}
    sha = weights_sha256(model)
    spec = dataclasses.replace(spec, portable=portable, options=options, versions=versions, weights_sha256=sha)
    rounding = 0.0 if spec.activation_bits == 32 and not options.rounds else ROUNDING
    others = [network_runner(trial) for trial in turning(graph)] if options.weights == "int8" else ()
    vector = make_vector(network_runner(twin), spec, rounding=rounding, others=others)
    return dataclasses.replace(spec, test_vector=vector)


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


def _judge(layers: LayerCheck, whole: EndToEnd, loss: Loss | None) -> None:
    if layers.diverging is not None:
        raise VerificationError(f"the layer {layers.diverging} differs from torch: {verdict(layers, whole)}")
    if not whole.passed:
        raise VerificationError(f"the file differs from torch, though every layer agrees: {verdict(layers, whole)}")
    if loss is not None and not loss.passed:
        raise VerificationError(
            f"the file computes what it should, but fewer bits cost too much here: {price(loss)}; "
            "take other --weights, --activations or --real, fit them to more photos with --calibrate, "
            "or train with few bits"
        )
