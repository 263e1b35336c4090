"""Checkpoints of the probe network to export, traced once for many exports."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
from nets import make, probe_entry
from torch import nn
from tracing import traced, tracing_once

from edgelm.export.nodes import is_quant_conv
from edgelm.models.checkpoint import save_checkpoint
from edgelm.models.quant_conv import freeze
from edgelm.spec import ModelSpec


@dataclass(frozen=True)
class Made:
    """A checkpoint of the probe, its frozen network, and the canonical graph of that."""

    checkpoint: Path
    model: nn.Module
    spec: ModelSpec
    graph: Callable[[], ir.Model]


@contextmanager
def probes(folder: Path) -> Iterator[Callable[[str], Made]]:
    """Checkpoints by scheme, whose networks are traced once."""
    known: dict[str, Made] = {}

    def get(scheme: str) -> Made:
        if scheme not in known:
            entry = probe_entry(scheme)
            model, spec = make(entry, seed=1)
            save_checkpoint(folder / f"{scheme}.pt", entry, model, spec)
            model = freeze(model)
            known[scheme] = Made(folder / f"{scheme}.pt", model, spec, lambda: traced(model, spec))
        return known[scheme]

    with tracing_once():
        yield get


def ir_weights(model: ir.Model) -> dict[str, Any]:
    """Packed weights by layer."""
    found = {}
    for node in model.graph:
        if is_quant_conv(node):
            assert node.inputs[0] is not None
            assert node.inputs[0].const_value is not None
            found[node.name or ""] = node.inputs[0].const_value.numpy()
    return found
