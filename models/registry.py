"""Model names: which network, of which size, quantized how.

A name is the network and the quantization, for example `cunet8-bw`; both halves come from tables here, and every
combination is registered. This module leaves building to the families' own files.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from edgelm.errors import UsageError
from edgelm.models.cunet import CUNet, CUNetConfig
from edgelm.models.quantizers import QuantScheme

__all__ = ["Entry", "Family", "families", "get_family", "model_names", "register", "resolve"]


@dataclass(frozen=True)
class Family:
    """A network architecture.

    Attributes:
        name: as checkpoints store it.
        config: frozen dataclass of its hyper-parameters, with a field `classes`.
        build: (config, scheme) -> module returning a list of heatmaps, the final one last.
        stride: input px per heatmap px.
        multiple: the input's sides are multiples of this many px.
        paper: where it is defined.
    """

    name: str
    config: type[Any]
    build: Callable[[Any, QuantScheme], nn.Module]
    stride: int
    multiple: int
    paper: str


@dataclass(frozen=True)
class Entry:
    """A registered model: its family, hyper-parameters and quantization."""

    name: str
    family: Family
    config: Any
    scheme: QuantScheme

    def with_landmarks(self, landmarks: int) -> "Entry":
        """The same model for another number of landmarks."""
        return dataclasses.replace(self, config=dataclasses.replace(self.config, classes=landmarks))


_FAMILIES: dict[str, Family] = {}
_ENTRIES: dict[str, Entry] = {}


def register_family(family: Family) -> Family:
    """Make a family known to checkpoints; a second one of the same name raises UsageError."""
    if family.name in _FAMILIES:
        raise UsageError(f"the family {family.name!r} is registered already")
    _FAMILIES[family.name] = family
    return family


def register(entry: Entry) -> Entry:
    """Make a model known by name; a second one of the same name raises UsageError."""
    if entry.name in _ENTRIES:
        raise UsageError(f"the model {entry.name!r} is registered already")
    _ENTRIES[entry.name] = entry
    return entry


def families() -> Mapping[str, Family]:
    """The known families by name."""
    return dict(_FAMILIES)


def get_family(name: str) -> Family:
    """Look a family up; an unknown name raises UsageError with the known ones."""
    if name not in _FAMILIES:
        raise UsageError(f"no network family {name!r}; known are {', '.join(_FAMILIES)}")
    return _FAMILIES[name]


def model_names() -> tuple[str, ...]:
    """Every registered name, in order of registration."""
    return tuple(_ENTRIES)


def resolve(name: str) -> Entry:
    """Look a model up; an unknown name raises UsageError with the known ones."""
    if name not in _ENTRIES:
        raise UsageError(f"no model {name!r}; known are {', '.join(_ENTRIES)}")
    return _ENTRIES[name]


SCHEMES: Mapping[str, QuantScheme] = {
    "": QuantScheme(),
    **{f"-{w}": QuantScheme(w) for w in ("bw", "bwa", "tw")},
    **{f"-{w}-a{k}": QuantScheme(w, k) for w in ("bw", "bwa", "tw") for k in (8, 6)},
    "-xnor": QuantScheme("bwa", 1),
}
"""Quantization by the suffix of a model's name."""

CUNET = register_family(
    Family(
        "cunet", CUNetConfig, CUNet, CUNet.stride, CUNet.multiple,
        "Tang et al., Towards Efficient U-Nets: A Coupled and Quantized Approach",
    )
)  # fmt: skip

_CUNETS = {f"cunet{n}": CUNetConfig(nets=n) for n in (2, 4, 8, 16)} | {
    f"cunet2-m{m}n{n}": CUNetConfig(nets=2, width=m, growth=n)
    for m, n in ((64, 16), (128, 16), (128, 24), (192, 24), (192, 32))
}
for _size, _config in _CUNETS.items():
    for _suffix, _scheme in SCHEMES.items():
        register(Entry(_size + _suffix, CUNET, _config, _scheme))
