"""How a training run begins and what it listens to beside annotations: other weights, and a teacher's maps.

Two-stage binarization (BCLL; Martinez et al., Training Binary Neural Networks with Real-to-Binary Convolutions) is a
run with `initialize` from a less quantized network of the same shape; distillation adds the maps of a float twin.
N = batch, K = landmarks, H, W = heatmap height and width.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from edgelm.errors import UsageError
from edgelm.models.checkpoint import load_checkpoint
from edgelm.models.registry import Entry
from edgelm.spec import ModelSpec

__all__ = ["Teacher", "initialize", "load_teacher", "soft_target"]

Teacher = Callable[[Tensor], Tensor]
"""Images (N, 3, H, W) -> final maps (N, K, H, W)."""

GRID_HEADROOM = 4.0
"""A k-bit grid ends at 1; what BatchNorm makes, of a float network, at about 4 standard deviations of 1."""
_SHOWN = 3
_SOFT: dict[str, Callable[[Tensor], Tensor]] = {
    "mse": lambda maps: maps,
    "softmax": lambda maps: torch.softmax(maps.flatten(2), dim=-1).view_as(maps),
    "bce": torch.sigmoid,
}


def initialize(model: nn.Module, entry: Entry, path: Path) -> None:
    """Start from the weights and statistics of a checkpoint of the same network, however that is quantized.

    A binary layer's master weights are what the other layer's weights are, so that their signs are where it begins.
    A BatchNorm that the other network has not, for it quantizes nothing there, begins as it is: it changes nothing.
    Where activations come onto a grid for the first time, see `_fit_grid`.

    Raises:
        UsageError: the checkpoint is of another network, or some tensors do not fit.
        ModelFileError: it cannot be read.
    """
    source = load_checkpoint(path)
    if (source.entry.family.name, source.entry.config) != (entry.family.name, entry.config):
        raise UsageError(
            f"{path} holds {source.entry.name} {source.entry.config}, which is not the network to train, "
            f"{entry.name} {entry.config}; both may be quantized in any way, but must be of one shape"
        )
    given, own = source.model.state_dict(), model.state_dict()
    common = {name for name in own if name in given and given[name].shape == own[name].shape}
    # A frozen layer holds scales beside its levels, which a trained one computes.
    if missing := sorted(own.keys() - common - _added_norms(model, given)):
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise UsageError(f"{path} has nothing that fits {', '.join(missing[:_SHOWN])}{more}")
    model.load_state_dict({name: given[name].to(own[name].dtype) if name in common else own[name] for name in own})
    if 1 < entry.scheme.act_bits < 32 and source.entry.scheme.act_bits == 32:
        _fit_grid(model, entry.config.classes)


def _added_norms(model: nn.Module, given: Mapping[str, Tensor]) -> set[str]:
    """Names of the tensors of those BatchNorms of which `given` has none."""
    return {
        name
        for path, norm in model.named_modules()
        if isinstance(norm, nn.BatchNorm2d)
        for names in [{f"{path}.{own}" for own in norm.state_dict()}]
        if not names & given.keys()
        for name in names
    }


@torch.no_grad()
def _fit_grid(model: nn.Module, classes: int) -> None:
    """Make every activation `GRID_HEADROOM` times smaller, for the grid cuts off what is above 1.

    Every BatchNorm's scale and shift shrink, and the heads' real weights grow; other convolutions are followed by a
    BatchNorm, which takes out what reaches it. Its statistics are of the old size until training has renewed them.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.div_(GRID_HEADROOM)
            module.bias.div_(GRID_HEADROOM)
        elif isinstance(module, nn.Conv2d) and module.out_channels == classes:
            module.weight.mul_(GRID_HEADROOM)


def load_teacher(path: Path, spec: ModelSpec, device: torch.device) -> Teacher:
    """A network whose maps a run is to imitate.

    Raises:
        UsageError: it has other landmarks, another input or other heatmaps than `spec` says.
        ModelFileError: it cannot be read.
    """
    source = load_checkpoint(path)
    for what, theirs, ours in (
        ("landmarks", source.spec.scheme.names, spec.scheme.names),
        ("an input", source.spec.input, spec.input),
        ("heatmaps", _maps(source.spec), _maps(spec)),
        ("crops", source.spec.crop, spec.crop),
    ):
        if theirs != ours:
            raise UsageError(f"the teacher {path} has {what} of its own, {theirs}; the network to train has {ours}")
    model = source.model.eval().requires_grad_(False).to(device)

    def teach(image: Tensor) -> Tensor:
        with torch.no_grad():
            maps: Tensor = model(image)[-1]
        return maps

    return teach


def soft_target(loss: str, maps: Tensor) -> Tensor:
    """What a loss takes for a target, made of a teacher's maps (N, K, H, W)."""
    return _SOFT[loss](maps)


def _maps(spec: ModelSpec) -> tuple[int, int]:
    return spec.heatmap_height, spec.heatmap_width
