"""A QuantGraph written as TFLite: the operator in the file, and what LiteRT makes of it."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")
pytest.importorskip("ai_edge_litert", reason="needs an engine for .tflite files")

import onnx_ir as ir
from graphs import SPEC, by_onnx, by_tflite, graph, normal, reference
from square import POOL, SQUARE, UP
from square import Q as CALL

from edgelm.export.passes.clean import Clean
from edgelm.export.passes.group import FuseGraph
from edgelm.export.quant_decode import decode
from edgelm.export.tflite import tflite_bytes
from edgelm.runtimes.flatbuffer import FlatBuffer
from edgelm.runtimes.tflite_file import verify_tflite
from edgelm.runtimes.tflite_schema import TABLES

X = normal(1, 4, 6, 8)


def grouped() -> ir.Model:
    """Two outputs of one piece, one of them read by a builtin operator too."""
    text = f"""(float[1,4,6,8] x) => (float[1,4,6,8] t, float[1,4,3,4] p, float[1,4,12,16] u) <float[1,4,6,8] c> {{
        c = {CALL} (w, "", "", "", "", "", x) t = Sigmoid (c) p = {POOL} (c) u = {UP} (c, "", two) }}"""
    model = graph(text, w=SQUARE.weight, two=np.array([1, 1, 2, 2], np.float32))
    FuseGraph()(model)
    Clean()(model)
    return model


def operator(file: bytes) -> tuple[Any, Any]:
    """The custom operator and a function that gives the data of a tensor."""
    data = FlatBuffer(file)
    model = data.table(data.root(), TABLES["Model"])
    (place,) = (i for i, code in enumerate(model["operator_codes"]) if code["custom_code"])
    subgraph = model["subgraphs"][0]
    (found,) = (op for op in subgraph["operators"] if op["opcode_index"] == place)
    return found, lambda index: bytes(model["buffers"][subgraph["tensors"][index]["buffer"]]["data"])


def test_operands() -> None:
    file = tflite_bytes(grouped(), SPEC, portable=False)
    assert verify_tflite(file).custom_ops == {"edgelm.QuantGraph"}
    op, data = operator(file)
    assert len(op["inputs"]) == 3
    assert len(op["outputs"]) == 3
    assert bytes(op["custom_options"]) == b""
    words, constants = (
        np.frombuffer(data(index), dtype) for index, dtype in zip(op["inputs"], ("<i4", "u1"), strict=False)
    )
    program = decode(words.astype(np.int32), constants)
    assert [type(node).__name__ for node in program.nodes] == ["Conv", "MaxPool", "Upsample"]
    assert (program.inputs, program.outputs) == ((4,), (1, 2, 3))


def test_engines_agree_with_the_definition() -> None:
    model = grouped()
    for found, expected in zip(by_tflite(model, X), reference(model, X), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))
    for found, expected in zip(by_onnx(model, X), reference(model, X), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))
