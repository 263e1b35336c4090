"""What lowerings from ONNX ops to TFLite's have in common: their type, and the forms that are refused."""

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir

from edgelm.errors import UsageError
from edgelm.export.tflite_graph import TFLiteGraph

__all__ = ["Lowering", "expect"]

Lowering = Callable[[TFLiteGraph, ir.Node], None]
"""Writes an ONNX node, all of whose inputs are there."""


def expect(node: ir.Node, found: Mapping[str, Any], **expected: Any) -> None:
    """Refuse forms of an op that the lowering would compute wrongly."""
    for name, value in expected.items():
        got = found.get(name)
        if (tuple(got) if isinstance(got, list | tuple) else got) != value:
            raise UsageError(f"{node.op_type} with {name}={got!r} cannot be written as TFLite, only {value!r}")
