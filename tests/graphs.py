"""Graphs written as ONNX text, and engines to run them: the reference of the ops, ONNX Runtime, and LiteRT.

Activations are NCHW on both sides of every function here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime
import torch
from nets import SIZE, probe_entry
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from qconv_cases import OPERANDS, Case

from edgelm.export.onnx import onnx_bytes
from edgelm.export.ops import QUANT_CONV, quant_conv_reference
from edgelm.export.quant_decode import decode
from edgelm.export.quant_graph import quant_graph_reference
from edgelm.export.tflite import tflite_bytes
from edgelm.models.create import default_spec
from edgelm.models.quantizers import QuantScheme, quantize_activation
from edgelm.runtimes.native import library_path
from edgelm.runtimes.tflite import import_engine

Floats = NDArray[np.float32]
Array = NDArray[Any]

SPEC = default_spec(probe_entry("bw"), SIZE)
"""Any description; these graphs are no landmark networks."""


def graph(text: str, **constants: Array) -> ir.Model:
    """The graph `text`, such as "(float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu (x) }", with its constants."""
    header = '<ir_version: 8, opset_import: ["" : 18, "edgelm" : 1, "edgelm.canonical" : 1]>'
    proto = onnx.parser.parse_model(f"{header} g {text}")
    proto.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def statistics(channels: int, seed: int = 0) -> dict[str, Any]:
    """Constants g, b, m, v of a BatchNormalization, with a negative scale among them."""
    g, b, m = normal(3, channels, seed=seed)
    return dict(zip("gbmv", (g, b, m, np.exp(normal(channels, seed=seed + 1))), strict=True))


def ops(model: ir.Model) -> list[str]:
    """Kinds of the nodes in order."""
    return [node.op_type for node in model.graph]


class QuantConv2d(OpRun):
    """The custom op, by its definition."""

    op_domain = "edgelm"

    def _run(self, weight: Any, *inputs: Any, **_: Any) -> tuple[Any]:
        attributes = QUANT_CONV.complete({a.name: a.i for a in self.onnx_node.attribute})
        operands = dict(zip((*OPERANDS, "residual"), inputs[:5], strict=True))
        return (quant_conv_reference(inputs[5:], weight, attributes, **operands),)


class QuantGraph(OpRun):
    """The custom op for a piece of a network, by its definition."""

    op_domain = "edgelm"

    def _run(self, program: Any, data: Any, *x: Any, **_: Any) -> tuple[Any, ...]:
        return tuple(quant_graph_reference(decode(program, data), x))


class Canonical(OpRun):
    """The canonical op, by torch."""

    op_domain = "edgelm.canonical"

    def _run(self, x: Any, levels: Any, scale: Any, bias: Any = None, **_: Any) -> tuple[Any]:
        a = {a.name: a.i for a in self.onnx_node.attribute}
        scheme = QuantScheme("bw", a["act_bits"], a["sign_zero"])
        q = quantize_activation(torch.tensor(x), scheme).double()
        q = torch.nn.functional.pad(q, [a["padding"]] * 4, value=a.get("pad_value", 0))
        y = torch.conv2d(q, torch.tensor(levels).double(), stride=a["stride"]).float().numpy() * scale[:, None, None]
        return (y if bias is None else y + bias[:, None, None],)


Canonical.__name__ = "QuantConv2d"  # the evaluator finds ops by the names of their classes


def reference(model: ir.Model, *x: Array) -> list[Floats]:
    """Outputs of a graph by onnx's own reference implementation and the definitions of the ops."""
    proto = ir.to_proto(model)
    for domain in proto.opset_import:
        if not domain.domain:
            domain.version = max(domain.version, 19)  # it has no DequantizeLinear of an earlier one
    feeds = {value.name: values for value, values in zip(proto.graph.input, x, strict=True)}
    found = ReferenceEvaluator(proto, new_ops=[QuantConv2d, QuantGraph, Canonical]).run(None, feeds)
    assert isinstance(found, list)
    return found


def by_onnx(model: ir.Model, *x: Array, optimize: bool = True) -> list[Floats]:
    """Outputs of a graph in ONNX Runtime with edgelm's library; it moves scales into weights unless told not to."""
    options = onnxruntime.SessionOptions()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(onnx_bytes(model, SPEC), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    found: list[Floats] = session.run(None, dict(zip(names, x, strict=True)))
    return found


def by_tflite(model: ir.Model, *x: Array, portable: bool = False) -> list[Floats]:
    """Outputs of a graph, written as TFLite, in LiteRT; a portable file gets no delegate."""
    _, engine = import_engine("graph.tflite")
    delegates = [] if portable else [engine.load_delegate(str(library_path()))]
    interpreter = engine.Interpreter(
        model_content=tflite_bytes(model, SPEC, portable=portable), num_threads=1, experimental_delegates=delegates
    )
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), x, strict=True):
        interpreter.set_tensor(detail["index"], np.ascontiguousarray(values.transpose(0, 2, 3, 1)))
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]).transpose(0, 3, 1, 2) for d in interpreter.get_output_details()]


def qconv(case: Case) -> tuple[ir.Model, list[Array]]:
    """A graph of one QuantConv2d, and its inputs."""
    operands = case.constants()
    feeds: dict[str, Array] = {f"x{i}": x for i, x in enumerate(case.x)}
    parts = list(feeds)
    if case.residual is not None:
        feeds["r"] = case.residual
    names = [name if name in operands else '""' for name in ("weight", *OPERANDS)]
    inputs = ", ".join(f"float[{','.join(map(str, values.shape))}] {name}" for name, values in feeds.items())
    shape = ",".join(map(str, case.output_shape()))
    call = ", ".join([*names, "r" if "r" in feeds else '""', *parts])
    text = f"({inputs}) => (float[{shape}] y) {{ y = edgelm.QuantConv2d <{attributes(case.attributes)}> ({call}) }}"
    return graph(text, **operands), list(feeds.values())


def attributes(given: Mapping[str, int]) -> str:
    """Attributes in ONNX text."""
    return ", ".join(f"{name} = {value}" for name, value in given.items())
