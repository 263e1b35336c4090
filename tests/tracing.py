"""Networks traced once, however many tests export them: tracing takes longer than all that follows it."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import onnx_ir as ir
import pytest
from torch import nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

from edgelm.export import pipeline
from edgelm.export.capture import capture
from edgelm.export.pipeline import weights_sha256
from edgelm.spec import ModelSpec

_TRACED: dict[str, onnx.ModelProto] = {}
_operators = functools.cache(ONNXRegistry.from_torchlib)
"""How each of torch's 500 operators is written in ONNX; the exporter parses them anew for every network."""


def _settings(module: nn.Module) -> list[tuple[str, Any]]:
    plain = (bool, int, float, str, tuple, type(None))
    return sorted(
        (key, repr(value))
        for key, value in vars(module).items()
        if isinstance(value, plain) or dataclasses.is_dataclass(value)
    )


def _fingerprint(model: nn.Module, spec: ModelSpec) -> str:
    """What tracing depends on: the network's classes, their settings, its weights, and the input size."""
    modules = [(name, repr(type(one)), _settings(one)) for name, one in model.named_modules(remove_duplicate=False)]
    whole = (modules, weights_sha256(model), spec.input.height, spec.input.width)
    return hashlib.sha256(repr(whole).encode()).hexdigest()


def traced(model: nn.Module, spec: ModelSpec) -> ir.Model:
    """What `capture` makes of a network; a second call with an equal network traces nothing."""
    key = _fingerprint(model, spec)
    if key not in _TRACED:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(_operators))
            _TRACED[key] = ir.to_proto(capture(model, spec))
    return ir.from_proto(_TRACED[key])


@contextmanager
def tracing_once() -> Iterator[None]:
    """`edgelm.export.pipeline.export` takes what was traced before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "capture", traced)
        yield
