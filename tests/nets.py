"""A network small enough to be trained, stored and exported many times over, and faces to show it."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgelm.models.create import default_spec, randomize
from edgelm.models.quant_conv import Role, conv_for
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import SCHEMES, Entry, Family, register_family
from edgelm.spec import ModelSpec

SIZE = 64


@dataclass(frozen=True)
class ProbeConfig:
    """One hyper-parameter, as every family has it."""

    classes: int = 5


class Probe(nn.Module):
    """Every form of layer that CU-Net has, once: 9 convolutions, of which 7 may be quantized."""

    def __init__(self, config: ProbeConfig, scheme: QuantScheme) -> None:
        super().__init__()
        self.sign = scheme.act_bits == 1
        self.stem = conv_for("stem", 3, 8, 7, scheme, stride=2)
        self.stem_norm = nn.BatchNorm2d(8)
        places: list[tuple[str, Role, int, int, int]] = [
            ("squeeze", "pointwise", 8, 13, 1),
            ("grow", "spatial", 13, 5, 3),
            ("down", "pointwise", 8 + 5, 8, 1),
            ("skip", "pointwise", 8 + 5, 8, 1),
            ("deep", "spatial", 8, 8, 3),
            ("up", "pointwise", 8 + 8 + 5, 8, 1),
            ("head", "head", 8, config.classes, 1),
            ("last", "last_head", 8, config.classes, 1),
        ]
        self.norms = nn.ModuleDict({name: nn.BatchNorm2d(i) for name, _, i, _, _ in places})
        self.convs = nn.ModuleDict({name: conv_for(role, i, o, k, scheme) for name, role, i, o, k in places})

    def _unit(self, name: str, *parts: Tensor) -> Tensor:
        x = self.norms[name](torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])
        y: Tensor = self.convs[name](x if self.sign and name != "last" else F.relu(x))
        return y

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> heatmaps (N, classes, H/4, W/4) of an intermediate and the final head."""
        x = F.max_pool2d(F.relu(self.stem_norm(self.stem(x))), 2)
        feature = self._unit("grow", self._unit("squeeze", x))
        skip = self._unit("skip", x, feature)
        deep = self._unit("deep", F.max_pool2d(self._unit("down", x, feature), 2))
        up = self._unit("up", F.interpolate(deep, scale_factor=2, mode="nearest"), skip, feature)
        return [self._unit("head", skip), self._unit("last", up)]


PROBE = register_family(Family("probe", ProbeConfig, Probe, 4, 16, "none: a network of the tests"))


def probe_entry(scheme: str) -> Entry:
    """The probe's entry; `scheme` is "float" or the suffix of a registered model's name, such as "bw-a8"."""
    return Entry("probe", PROBE, ProbeConfig(), SCHEMES["" if scheme == "float" else f"-{scheme}"])


def make(entry: Entry, seed: int = 0) -> tuple[nn.Module, ModelSpec]:
    """A network with random weights and plausible statistics, in eval mode, and its ModelSpec."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = entry.family.build(entry.config, entry.scheme)
    randomize(model, SIZE, seed)
    return model, default_spec(entry, SIZE)


def draw_face(points: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """A grey image (side, side, 3) with a soft bright dot at each point (K, 2) px."""
    x, y = points.T[:, :, None]
    cell = np.arange(side)
    dots = np.einsum("kh,kw->hw", np.exp(-((cell - y) ** 2) / 4), np.exp(-((cell - x) ** 2) / 4)).clip(0, 1)
    image: NDArray[np.uint8] = np.rint(60 + dots[..., None] * np.array([30, 140, 190])).astype(np.uint8)
    return image


def random_face(seed: int, landmarks: int = 68, side: int = 96) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """An image and its landmarks (K, 2) px, 0-based."""
    random = np.random.default_rng(seed)
    xy = random.uniform(side * 0.25, side * 0.75, (landmarks, 2)).astype(np.float32)
    return draw_face(xy, side), xy


def write_pts(path: Path, xy: NDArray[np.float32]) -> None:
    """A 300-W annotation of landmarks (K, 2) in 0-based px."""
    lines = "\n".join(f"{x:.6f} {y:.6f}" for x, y in (xy + 1).tolist())
    path.write_text(f"version: 1\nn_points: {len(xy)}\n{{\n{lines}\n}}\n")


def write_faces(folder: Path, count: int, seed: int = 0) -> None:
    """`count` annotated images in a folder, as `edgelm.models.datasets.pts` reads them."""
    folder.mkdir(parents=True)
    for i in range(count):
        image, xy = random_face(seed + i)
        cv2.imwrite(str(folder / f"{i}.png"), image)
        write_pts(folder / f"{i}.pts", xy)
