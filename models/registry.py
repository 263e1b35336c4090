"""Model names: which network, of which size, quantized how.

A name is a network and a quantization, for example `cunet8` and `-bw`: networks are registered, quantizations come from
the table `SCHEMES`, and every network has every one. This module leaves building to the families' own files.
"""

import dataclasses
import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from edgelm.errors import UsageError
from edgelm.models.cunet import CUNet, CUNetConfig
from edgelm.models.dense_unet import DenseUNet, DenseUNetConfig
from edgelm.models.hourglass import Hourglass, HourglassConfig, hourglass_conventions
from edgelm.models.hrnet import HRNet, HRNetConfig, hrnet_conventions, hrnet_size
from edgelm.models.iterative import IterativeCUNet, IterativeCUNetConfig
from edgelm.models.quantizers import QuantScheme
from edgelm.models.sdu import SDU, SDUConfig, sdu_conventions, sdu_size
from edgelm.spec import ModelSpec

__all__ = [
    "SCHEMES",
    "Entry",
    "Family",
    "alias_note",
    "aliases",
    "families",
    "get_family",
    "model_names",
    "networks",
    "register_alias",
    "register_family",
    "register_network",
    "resolve",
]


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
        size: config -> (H, W) px of the input that its authors take.
        conventions: what of a fresh ModelSpec is another way in this family.
    """

    name: str
    config: type[Any]
    build: Callable[[Any, QuantScheme], nn.Module]
    stride: int
    multiple: int
    paper: str
    size: Callable[[Any], tuple[int, int]] = lambda config: (256, 256)
    conventions: Callable[[ModelSpec], ModelSpec] = lambda spec: spec


@dataclass(frozen=True)
class Entry:
    """One model: its family, hyper-parameters and quantization."""

    name: str
    family: Family
    config: Any
    scheme: QuantScheme

    def with_supervisions(self, supervisions: int) -> "Entry":
        """The same model with so many heads, spread evenly; UsageError for a network that has only its own."""
        if not any(field.name == "supervisions" for field in dataclasses.fields(self.config)):
            raise UsageError(f"{self.name} has a fixed number of heads; leave supervisions out")
        return dataclasses.replace(self, config=dataclasses.replace(self.config, supervisions=supervisions))

    def with_landmarks(self, landmarks: int) -> "Entry":
        """The same model for another number of landmarks."""
        return dataclasses.replace(self, config=dataclasses.replace(self.config, classes=landmarks))


_FAMILIES: dict[str, Family] = {}
_NETWORKS: dict[str, tuple[Family, Any]] = {}
_ALIASES: dict[str, tuple[str, str]] = {}


def register_family(family: Family) -> Family:
    """Make a family known to checkpoints; a second one of the same name raises UsageError."""
    if family.name in _FAMILIES:
        raise UsageError(f"the family {family.name!r} is registered already")
    _FAMILIES[family.name] = family
    return family


def register_network(name: str, family: Family, config: Any) -> None:
    """Make a network known by name, with every quantization; a second one of the same name raises UsageError."""
    if name in _NETWORKS or name in _ALIASES:
        raise UsageError(f"the network {name!r} is registered already")
    _NETWORKS[name] = family, config


def register_alias(alias: str, network: str, note: str) -> None:
    """Make a second name of a network known; `note` says what it is, such as "its name in an earlier paper".

    Raises:
        UsageError: the alias is a name already, or the network is not registered.
    """
    if alias in _NETWORKS or alias in _ALIASES:
        raise UsageError(f"the network {alias!r} is registered already")
    if network not in _NETWORKS:
        raise UsageError(f"no network {network!r} for the alias {alias!r}; known are {', '.join(_NETWORKS)}")
    _ALIASES[alias] = network, note


def aliases() -> Mapping[str, str]:
    """Networks by their second names."""
    return {alias: network for alias, (network, _) in _ALIASES.items()}


def alias_note(name: str) -> str | None:
    """One line about a model that is asked for by its second name, None for other models."""
    found = _split(name, _ALIASES)
    if found is None:
        return None
    network, note = _ALIASES[found[0]]
    return f"{name} is {network}{found[1]}: {found[0]} is {note}"


def families() -> Mapping[str, Family]:
    """The known families by name."""
    return dict(_FAMILIES)


def get_family(name: str) -> Family:
    """Look a family up; an unknown name raises UsageError with the known ones."""
    if name not in _FAMILIES:
        raise UsageError(f"no network family {name!r}; known are {', '.join(_FAMILIES)}")
    return _FAMILIES[name]


def networks() -> tuple[Entry, ...]:
    """Every registered network, not quantized, with as many landmarks as it has when nothing else is asked for."""
    return tuple(Entry(name, family, config, SCHEMES[""]) for name, (family, config) in _NETWORKS.items())


def model_names() -> tuple[str, ...]:
    """Every name, network by network."""
    return tuple(network + suffix for network in _NETWORKS for suffix in SCHEMES)


def resolve(name: str) -> Entry:
    """Look a model up, by a second name too, where the entry has the first; an unknown name raises UsageError."""
    if (alias := _split(name, _ALIASES)) is not None:
        return resolve(_ALIASES[alias[0]][0] + alias[1])
    if (found := _split(name, _NETWORKS)) is not None:
        network, suffix = found
        return Entry(name, *_NETWORKS[network], SCHEMES[suffix])
    close = difflib.get_close_matches(name, model_names(), 3)
    raise UsageError(
        f"no model {name!r}{'; did you mean ' + ' or '.join(close) + '?' if close else '.'} Known are the networks "
        f"{', '.join(_NETWORKS)}, each as it is (float) or with {', '.join(filter(None, SCHEMES))}, such as cunet8-bw"
    )


def _split(name: str, networks: Collection[str]) -> tuple[str, str] | None:
    """The network and the suffix of a model's name."""
    pairs = ((network, name.removeprefix(network)) for network in networks if name.startswith(network))
    return next((pair for pair in pairs if pair[1] in SCHEMES), None)


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

for _n in (2, 4, 8, 16):
    register_network(f"cunet{_n}", CUNET, CUNetConfig(nets=_n))
for _m, _n in ((64, 16), (128, 16), (128, 24), (192, 24), (192, 32)):
    register_network(f"cunet2-m{_m}n{_n}", CUNET, CUNetConfig(nets=2, width=_m, growth=_n))
for _n in (2, 4, 8, 16):
    register_alias(f"dunet{_n}", f"cunet{_n}", "DU-Net, the name of CU-Net in its first paper (ECCV 2018)")

ITERATIVE = register_family(
    Family(
        "cunet-iterative", IterativeCUNetConfig, IterativeCUNet, IterativeCUNet.stride, IterativeCUNet.multiple,
        "Tang et al., Towards Efficient U-Nets: A Coupled and Quantized Approach, iterative refinement",
    )
)  # fmt: skip

for _n in (2, 4, 8):
    register_network(f"cunet{_n}-iterative", ITERATIVE, IterativeCUNetConfig(nets=_n))

DENSE_UNET = register_family(
    Family(
        "denseunet", DenseUNetConfig, DenseUNet, DenseUNet.stride, DenseUNet.multiple,
        "Tang et al., Towards Efficient U-Nets: A Coupled and Quantized Approach, the Dense U-Net it compares with",
    )
)  # fmt: skip

for _n in (4, 8):
    register_network(f"denseunet{_n}", DENSE_UNET, DenseUNetConfig(layers=_n))

HRNET = register_family(
    Family(
        "hrnet", HRNetConfig, HRNet, HRNet.stride, HRNet.multiple,
        "Wang et al., Deep High-Resolution Representation Learning for Visual Recognition", hrnet_size,
        hrnet_conventions,
    )
)  # fmt: skip

for _width in (32, 48):
    register_network(f"hrnet_w{_width}", HRNET, HRNetConfig(_width, "v1"))
register_network("hrnetv2_w18", HRNET, HRNetConfig(18, "v2"))

HOURGLASS = register_family(
    Family(
        "hourglass", HourglassConfig, Hourglass, Hourglass.stride, Hourglass.multiple,
        "Newell et al., Stacked Hourglass Networks; Bulat & Tzimiropoulos, Binarized Convolutional Landmark Localizers",
        conventions=hourglass_conventions,
    )
)  # fmt: skip

for _stacks in (1, 4, 8, 16):
    register_network(f"shg{_stacks}", HOURGLASS, HourglassConfig(_stacks, block="bottleneck"))
register_network("fan4", HOURGLASS, HourglassConfig(4))
for _name, _config in {
    "hpm256": HourglassConfig(),
    "hpm192": HourglassConfig(width=192),
    "hpm96": HourglassConfig(width=96, stem=(32, 64)),
    "hpm256-real1x1": HourglassConfig(real_layers="all_1x1"),
    "ms": HourglassConfig(block="ms"),
    "ms-no1x1": HourglassConfig(block="ms_no1x1"),
    "wider": HourglassConfig(block="wider"),
    "bottleneck192": HourglassConfig(block="bottleneck", inner=0.75),
}.items():
    register_network(f"bcll-{_name}", HOURGLASS, _config)

SDU_FAMILY = register_family(
    Family(
        "sdu", SDUConfig, SDU, SDU.stride, SDU.multiple,
        "Guo et al., Stacked Dense U-Nets with Dual Transformers for Robust Face Alignment", sdu_size, sdu_conventions,
    )
)  # fmt: skip

for _name, _sdu in {
    "hg1-resnet": SDUConfig(block="resnet", stacks=1),
    **{f"hg2-{_kind}": SDUConfig(block=_kind) for _kind in ("resnet", "inception", "hpm", "cab")},
    **{f"hg2-{_kind}-d3": SDUConfig(block=_kind, depth=3) for _kind in ("hpm", "cab")},
    "unet2": SDUConfig("unet"),
    "dla2": SDUConfig("dla"),
    "sat1": SDUConfig("sat"),
    "sat2": SDUConfig("sat", depth=3),
    "sat3": SDUConfig("sat3", depth=3),
    **{f"sat3-dcn{_place}": SDUConfig("sat3", depth=3, deform=_place) for _place in (1, 2, 3)},
    "sat3-dcn3-stn": SDUConfig("sat3", depth=3, deform=3, rotate=True),
}.items():
    register_network(f"sdu-{_name}", SDU_FAMILY, _sdu)
