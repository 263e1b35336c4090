"""Make a model from its registered name: module and ModelSpec; for tests and benchmarks plausible random statistics."""

import torch
from torch import nn

from edgelm.crops import get_crop
from edgelm.errors import UsageError
from edgelm.models.registry import Entry, resolve
from edgelm.schemes import get_scheme, scheme_names
from edgelm.spec import InputSpec, LandmarkScheme, ModelSpec

__all__ = ["Size", "create", "default_spec", "randomize"]

_CALIBRATION_PIXELS = 2 * 256 * 256
"""Of all images together: at the neck a map has 1/64 of the side, and a variance needs more than one value or two."""


Size = int | tuple[int, int]
"""Side of a square input, or (H, W), in px."""


def _scheme(landmarks: int) -> LandmarkScheme:
    """The one known landmark scheme of that many points, or a nameless one."""
    found = [s for s in map(get_scheme, scheme_names()) if len(s.names) == landmarks]
    if len(found) == 1:
        return found[0]
    return LandmarkScheme(f"points{landmarks}", tuple(f"point {i}" for i in range(landmarks)), (), ())


_POSE_CROPS = {"mpii16": "mpii", "lsp14": "lsp", "coco17": "hrnet_face"}  # hrnet_pose is for inputs of 3:4


def default_spec(entry: Entry, size: Size) -> ModelSpec:
    """The ModelSpec of a fresh model.

    RGB in [0, 1], `hrnet_face` crops (MPII, LSP: their own), decode `center`; and what is another way in its family.
    """
    family = entry.family
    height, width = (size, size) if isinstance(size, int) else size
    if any(side % family.multiple or not family.multiple <= side <= 1024 for side in (height, width)):
        got = size if isinstance(size, int) else f"{height}x{width}"
        raise UsageError(
            f"{entry.name} takes an input with sides of {family.multiple}..1024 px in steps of {family.multiple}, "
            f"got {got}"
        )
    scheme = _scheme(entry.config.classes)
    pose = scheme.name in _POSE_CROPS
    spec = ModelSpec(
        name=entry.name,
        task="pose" if pose else "face",
        scheme=scheme,
        input=InputSpec(height, width),
        crop=get_crop(_POSE_CROPS.get(scheme.name, "hrnet_face")),
        heatmap_height=height // family.stride,
        heatmap_width=width // family.stride,
        weights=entry.scheme.weights,
        activation_bits=entry.scheme.act_bits,
    )
    return family.conventions(spec)


def randomize(model: nn.Module, size: Size, seed: int) -> None:
    """Give BatchNorm scales and shifts of mixed size and sign, and running statistics that fit the random weights.

    A fresh network has unit statistics, so that its maps would grow or vanish with depth; here every normalised map has
    about unit variance, as in a trained network.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    with torch.no_grad():
        for norm in norms:
            norm.weight.copy_(torch.empty_like(norm.weight).uniform_(0.5, 1.5, generator=generator))
            norm.weight.mul_(torch.where(torch.rand(norm.weight.shape, generator=generator) < 0.1, -1.0, 1.0))
            norm.bias.copy_(torch.empty_like(norm.bias).normal_(0, 0.3, generator=generator))
            norm.momentum = 1.0
        height, width = (size, size) if isinstance(size, int) else size
        images = max(2, _CALIBRATION_PIXELS // (height * width))
        coarse = torch.rand(images, 3, height // 16, width // 16, generator=generator)
        model.train()
        model(nn.functional.interpolate(coarse, size=(height, width), mode="bilinear"))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def create(
    name: str, *, landmarks: int = 68, size: Size | None = None, seed: int = 0, supervisions: int | None = None
) -> tuple[Entry, nn.Module, ModelSpec]:
    """A model with random weights.

    Args:
        name: a registered name.
        landmarks: heatmaps of the head.
        size: of the input; None for what the family's authors take.
        seed: of the weights; the same seed gives the same model.
        supervisions: heads of a network that has one for each U-Net, spread evenly; None for all.

    Returns:
        its entry, the module in training mode, and its ModelSpec.

    Raises:
        UsageError: unknown name, or a size or number of landmarks the family cannot have.
    """
    entry = resolve(name).with_landmarks(landmarks)
    if supervisions is not None:
        entry = entry.with_supervisions(supervisions)
    spec = default_spec(entry, entry.family.size(entry.config) if size is None else size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = entry.family.build(entry.config, entry.scheme)
    return entry, model, spec
