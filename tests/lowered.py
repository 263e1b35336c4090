"""A graph in both engines: written as ONNX for ONNX Runtime, and as TFLite for LiteRT."""

import numpy as np
from graphs import SPEC, Array, by_onnx, by_tflite, graph, normal

from edgelm.export.tflite import tflite_bytes
from edgelm.runtimes.flatbuffer import FlatBuffer
from edgelm.runtimes.tflite_file import verify_tflite
from edgelm.runtimes.tflite_schema import BUILTINS, TABLES

X = normal(1, 3, 12, 14)


def same(text: str, *x: Array, tolerance: float = 1e-5, **constants: Array) -> bytes:
    """Compare both engines on a graph; returns the .tflite file."""
    model = graph(text, **constants)
    expected = by_onnx(model, *x)
    found = by_tflite(model, *x)
    assert len(expected) == len(found)
    for a, b in zip(expected, found, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * float(np.abs(a).max()))
    return tflite_bytes(model, SPEC, portable=False)


def operators(file: bytes) -> list[str]:
    """Kinds of the builtin operators in order."""
    verify_tflite(file)
    data = FlatBuffer(file)
    model = data.table(data.root(), TABLES["Model"])
    names = {builtin.code: name for name, builtin in BUILTINS.items()}
    codes = [names[code["builtin_code"]] for code in model["operator_codes"]]
    return [codes[op["opcode_index"]] for op in model["subgraphs"][0]["operators"]]
