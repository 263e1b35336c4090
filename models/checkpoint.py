"""Checkpoint files (.pt): architecture, hyper-parameters, quantization, ModelSpec and weights in one.

Two forms of one file: float (master weights, can be trained on) and packed (levels as bits, see
`edgelm.models.packed_state`). Files are read with `weights_only=True`: nothing in them is executed.
"""

import dataclasses
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgelm.atomic import write_atomic
from edgelm.errors import ModelFileError, UsageError
from edgelm.models.outline import outline
from edgelm.models.packed_state import pack_state, unpack_state
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import Entry, get_family
from edgelm.spec import ModelSpec

__all__ = ["MAX_BYTES", "Checkpoint", "checkpoint_bytes", "load_checkpoint", "save_checkpoint"]

_FORMAT = "edgelm.checkpoint"
_VERSION = 1
MAX_BYTES = 2 << 30
"""Of a checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """A model read from a file.

    Attributes:
        entry: name, family, hyper-parameters and quantization.
        model: the module in eval mode; frozen where the file is packed.
        spec: its ModelSpec.
        packed: whether the file held packed weights.
        notes: free text facts about the training, by name.
    """

    entry: Entry
    model: nn.Module
    spec: ModelSpec
    packed: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)


def checkpoint_bytes(
    entry: Entry, model: nn.Module, spec: ModelSpec, *, packed: bool = False, notes: Mapping[str, str] | None = None
) -> bytes:
    """The file as bytes; see `save_checkpoint`."""
    if packed and entry.scheme.weights == "float":
        raise UsageError(f"{entry.name} has float weights, there is nothing to pack; save it without --packed")
    state: dict[str, Any] = (
        pack_state(model) if packed else {k: v.detach().cpu() for k, v in model.state_dict().items()}
    )
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "name": entry.name,
        "architecture": entry.family.name,
        "config": dataclasses.asdict(entry.config),
        "scheme": dataclasses.asdict(entry.scheme),
        "spec": spec.to_json(),
        "packed": packed,
        "state": state,
        "notes": dict(notes or {}),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def save_checkpoint(
    path: Path,
    entry: Entry,
    model: nn.Module,
    spec: ModelSpec,
    *,
    packed: bool = False,
    notes: Mapping[str, str] | None = None,
) -> int:
    """Write a checkpoint, whole or not at all.

    Args:
        path: of the file.
        entry: the model's name, family, hyper-parameters and quantization.
        model: the module.
        spec: its ModelSpec.
        packed: store levels as bits and BatchNorms folded, about 1/25 of the size; not trainable afterwards.
        notes: facts about the training.

    Returns:
        bytes written.
    """
    data = checkpoint_bytes(entry, model, spec, packed=packed, notes=notes)
    write_atomic(path, data)
    return len(data)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of either form.

    Raises:
        ModelFileError: missing, truncated, of another tool, or with contents that do not fit its architecture.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} is not a file; make one with `edgelm new` or `edgelm train`")
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileError(f"{path} has {path.stat().st_size} bytes, a checkpoint has at most {MAX_BYTES}")
    foreign = (
        f"{path} is damaged or a checkpoint of another tool; expected one written by `edgelm new` or `edgelm train`"
    )
    if not zipfile.is_zipfile(path):
        raise ModelFileError(foreign)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load answers damaged and foreign files with a dozen kinds of exception
        raise ModelFileError(foreign) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ModelFileError(foreign)
    if content.get("version") != _VERSION:
        raise ModelFileError(
            f"{path} has version {content.get('version')!r}, this edgelm reads {_VERSION}; upgrade edgelm"
        )
    try:
        return _rebuild(content)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelFileError(f"{path} is damaged: {error}") from error


def _rebuild(content: dict[str, Any]) -> Checkpoint:
    family = get_family(content["architecture"])
    entry = Entry(str(content["name"]), family, family.config(**content["config"]), QuantScheme(**content["scheme"]))
    spec = ModelSpec.from_json(content["spec"])
    if len(spec.scheme.names) != entry.config.classes:
        raise ModelFileError(f"{entry.config.classes} heatmaps but a scheme of {len(spec.scheme.names)} landmarks")
    packed = bool(content["packed"])
    state: Mapping[str, Tensor] = content["state"]
    with outline():
        model = family.build(entry.config, entry.scheme)
    model.to_empty(device="cpu")
    if packed:
        unpack_state(model, state)
    else:
        model.load_state_dict(state)
    notes = {str(k): str(v) for k, v in dict(content["notes"]).items()}
    return Checkpoint(entry, model.eval(), spec, packed, notes)
