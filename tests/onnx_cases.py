"""ONNX models for tests, made with the onnx package."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qconv_cases import OPERANDS, Case
from session_models import CASE, FLOAT_WEIGHT, SPEC

from edgelm.spec import METADATA_KEY, ModelSpec


def qconv_model(case: Case, *, constants: bool = True, batch: str | int = "N", **replaced: Any) -> bytes:
    """A graph of one QuantConv2d with inputs x0, x1, ... (and residual) and the output y.

    Args:
        case: the operator.
        constants: whether the weights are initializers; else they are an input named weight.
        batch: a name, or a number for a fixed one.
        replaced: attributes other than the case's.
    """
    operands = case.constants()
    names = [name if name in operands else "" for name in ("weight", *OPERANDS)]
    values = {f"x{i}": value for i, value in enumerate(case.x)}
    if case.residual is not None:
        values["residual"] = case.residual
    names += ["residual" if "residual" in values else "", *(f"x{i}" for i in range(len(case.x)))]
    node = helper.make_node("QuantConv2d", names, ["y"], domain="edgelm", **(case.attributes | replaced))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *value.shape[1:]])
        for name, value in values.items()
    ]
    if not constants:
        inputs.append(helper.make_tensor_value_info("weight", TensorProto.UINT8, operands.pop("weight").shape))
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, *case.output_shape()[1:]])]
    initializers = [numpy_helper.from_array(value, name) for name, value in operands.items()]
    return write_onnx(helper.make_graph([node], "one", inputs, out, initializers))


def write_onnx(graph: Any, metadata: Mapping[str, str] | None = None, *, domain: str = "edgelm") -> bytes:
    """A model in the oldest form that edgelm's op needs."""
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(graph, ir_version=8, opset_imports=opsets)
    helper.set_model_props(model, dict(metadata or {}))
    return bytes(model.SerializeToString())


def feeds(case: Case) -> dict[str, np.ndarray[Any, Any]]:
    """The inputs of `qconv_model`."""
    values = {f"x{i}": value for i, value in enumerate(case.x)}
    return values if case.residual is None else values | {"residual": case.residual}


def session_file(
    spec: ModelSpec | None = SPEC, *, portable: bool = False, batch: str | int = "N", frozen: bool = False
) -> bytes:
    """The .onnx twin of `session_models.tflite_file`; a `frozen` one fails at other batches than one."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 16, 12])
    out = helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, [batch, 2, 8, 6])
    operands = CASE.constants()
    names = ["weight", *OPERANDS, "", "image"]
    attributes: dict[str, Any] = dict(CASE.attributes)
    node = helper.make_node("QuantConv2d", names, ["heatmaps"], domain="edgelm", **attributes)
    if portable:
        operands = {"weight": np.ascontiguousarray(FLOAT_WEIGHT.transpose(0, 3, 1, 2))}
        node = helper.make_node("Conv", ["image", "weight"], ["heatmaps"], strides=[2, 2])
    initializers = [numpy_helper.from_array(value, name) for name, value in operands.items()]
    metadata = {} if spec is None else {METADATA_KEY: dataclasses.replace(spec, portable=portable).to_json()}
    nodes = [node]
    if frozen:
        node.output[0] = "maps"
        nodes.append(helper.make_node("Reshape", ["maps", "shape"], ["heatmaps"]))
        initializers.append(numpy_helper.from_array(np.array([1, 2, 8, 6]), "shape"))
    graph = helper.make_graph(nodes, "two-points", [image], [out], initializers)
    return write_onnx(graph, metadata, domain="" if portable else "edgelm")
