"""Published checkpoints: a state_dict that another repository's training wrote becomes a checkpoint of edgelm.

Only tensors are read (`weights_only`): a file that holds objects of other classes is refused, never unpickled. The
networks' modules bear the published names, so that nothing is renamed but the prefix that parallel training leaves.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgelm.errors import ModelFileError, UsageError
from edgelm.models.checkpoint import MAX_BYTES
from edgelm.models.create import Size, default_spec
from edgelm.models.outline import outline
from edgelm.models.registry import Entry, resolve
from edgelm.schemes import get_scheme
from edgelm.spec import ModelSpec

__all__ = ["import_published", "read_state"]

_PREFIX = "module."
_INSIDE = ("state_dict", "best_state_dict", "model", "model_state_dict")
"""Keys under which training states keep the network's."""

_LISTED = 8
"""Names of a list that an error shows."""


def import_published(
    path: Path, arch: str, scheme: str, size: Size | None = None
) -> tuple[Entry, nn.Module, ModelSpec]:
    """Read a published checkpoint.

    Args:
        path: a file of `torch.save`: a state_dict, or a training state that holds one.
        arch: a registered network, for example "hrnetv2_w18"; its weights are float.
        scheme: the landmark scheme it was trained for, for example "wflw98".
        size: of the input; None for what the authors take.

    Returns:
        its entry, the module in eval mode, and its ModelSpec.

    Raises:
        UsageError: an unknown or quantized architecture, an unknown scheme, an impossible size.
        ModelFileError: no such file, not only tensors in it, or the tensors of another network: every name that is
            missing, left over or of another shape is listed.
    """
    landmarks = get_scheme(scheme)
    entry = resolve(arch).with_landmarks(len(landmarks.names))
    if entry.scheme.weights != "float":
        raise UsageError(f"{arch} is quantized, published weights are float; import them as another name")
    spec = default_spec(entry, entry.family.size(entry.config) if size is None else size)
    state = read_state(path)
    with outline():
        model = entry.family.build(entry.config, entry.scheme)
    model.to_empty(device="cpu")
    _check(path, arch, scheme, state, model.state_dict())
    for norm in model.modules():  # old files do not count batches
        if isinstance(norm, nn.BatchNorm2d) and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.zero_()
    model.load_state_dict(state, strict=False)  # names were compared
    return entry, model.eval(), spec


def read_state(path: Path) -> dict[str, Tensor]:
    """The network's tensors by name, without the prefix of parallel training.

    Raises:
        ModelFileError: no such file, too large, not only tensors and plain values in it, or no state_dict.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} is not a file")
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileError(f"{path} has {path.stat().st_size} bytes, a checkpoint has at most {MAX_BYTES}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load answers damaged and foreign files with a dozen kinds of exception
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(
            f"{path} is damaged or holds more than tensors, which edgelm does not unpickle ({reason}); save the "
            "state_dict alone where the file comes from: torch.save(model.state_dict(), path)"
        ) from error
    for _ in range(2):
        inside = next(
            (key for key in _INSIDE if isinstance(content, dict) and isinstance(content.get(key), dict)), None
        )
        if inside is None:
            break
        content = content[inside]
    if not isinstance(content, dict) or not content or not all(_is_entry(k, v) for k, v in content.items()):
        raise ModelFileError(f"{path} holds no state_dict: expected tensors by name, got {_kind(content)}")
    if all(name.startswith(_PREFIX) for name in content):
        content = {name.removeprefix(_PREFIX): value for name, value in content.items()}
    return dict(content)


def _is_entry(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _kind(content: Any) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    return f"a dictionary of {', '.join(map(str, list(content)[:_LISTED])) or 'nothing'}"


def _check(path: Path, arch: str, scheme: str, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Every difference at once: a wrong --arch or --scheme shows in the pattern of it."""
    wrong = {
        "missing": [n for n in wanted if n not in state and not n.endswith("num_batches_tracked")],
        "left over": [n for n in state if n not in wanted],
        "of another shape": [
            f"{n} {tuple(state[n].shape)} instead of {tuple(t.shape)}"
            for n, t in wanted.items()
            if n in state and state[n].shape != t.shape
        ],
    }
    if any(wrong.values()):
        told = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in wrong.items() if names)
        raise ModelFileError(f"{path} is not {arch} for {scheme}: {told}")
    if bad := [n for n, t in state.items() if t.is_floating_point() and not torch.isfinite(t).all()]:
        raise ModelFileError(f"{path} holds values that are no finite numbers, in {_some(bad)}")


def _some(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
