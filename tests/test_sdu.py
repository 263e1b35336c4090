"""Stacked dense U-Nets have exactly the paper's sizes, learn everywhere, keep to their scheme, and refuse bad input."""

from functools import cache
from typing import Any

import pytest

pytest.importorskip("torch", reason="defining networks needs torch")

import torch
from torch import nn

from edgelm.errors import UsageError
from edgelm.models.count import macs
from edgelm.models.create import default_spec
from edgelm.models.deform_conv import DeformConv2d
from edgelm.models.outline import outline
from edgelm.models.paper import PAPER
from edgelm.models.quant_conv import QuantConv2d
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import SCHEMES, resolve
from edgelm.models.rotate import Rotate
from edgelm.models.sdu import SDU, SDUConfig

# MACs at 128 px; `PAPER` has them in billions.
PRODUCTS = {
    "sdu-hg1-resnet": 5_079_040_000,
    "sdu-hg2-resnet": 8_372_355_072,
    "sdu-hg2-inception": 11_042_881_536,
    "sdu-hg2-hpm": 13_797_818_368,
    "sdu-hg2-cab": 13_372_499_968,
    "sdu-hg2-hpm-d3": 13_758_889_984,
    "sdu-hg2-cab-d3": 13_335_175_168,
    "sdu-unet2": 9_142_355_968,
    "sdu-dla2": 42_075_977_728,
    "sdu-sat1": 46_379_333_632,
    "sdu-sat2": 37_559_984_128,
    "sdu-sat3": 17_634_549_760,
    "sdu-sat3-dcn3": 26_335_633_408,
    "sdu-sat3-dcn3-stn": 26_692_935_808,
}


@cache
def on_paper(config: SDUConfig) -> SDU:
    """The network without memory for its weights."""
    with outline():
        return SDU(config, QuantScheme())


@pytest.mark.parametrize("name", PRODUCTS)
def test_sizes_are_the_papers(name: str) -> None:
    """Megabytes are cut off, of float32 parameters and BatchNorm's statistics; of two that do not fit `PAPER` tells."""
    row = PAPER[name]
    model = on_paper(resolve(name).config)
    assert sum(p.numel() for p in model.parameters()) == row.parameters
    assert macs(model, 128) == PRODUCTS[name]
    assert row.printed_mb is not None
    stored = row.parameters + sum(b.numel() for n, b in model.named_buffers() if "running" in n)
    assert (-0.1 < 4e-6 * stored - row.printed_mb < 1) == (name not in ("sdu-unet2", "sdu-sat3"))


def test_deformable_places_add_up() -> None:
    """Before the second stack, in both heads, and both."""
    plain, *dcn = (
        sum(p.numel() for p in on_paper(resolve(f"sdu-sat3{place}").config).parameters())
        for place in ("", "-dcn1", "-dcn2", "-dcn3")
    )
    assert dcn[0] - plain + dcn[1] - plain == dcn[2] - plain
    assert dcn[0] - plain == 256 * 18 * 9 + 18 + 256 * 256 * 9 + 256


def tiny(topology: str = "sat3", block: str = "cab", suffix: str = "", **changes: Any) -> SDU:
    torch.manual_seed(0)
    changes = {"depth": 3, "width": 16, "classes": 5, "side": 32} | changes
    return SDU(SDUConfig(topology, block, **changes), SCHEMES[suffix])


def wake(model: nn.Module) -> None:
    """Let offsets and angles be other than the zero that they are at first."""
    for module in model.modules():
        if isinstance(module, DeformConv2d):
            nn.init.normal_(module.offset.weight, std=0.2)
        if isinstance(module, Rotate):
            nn.init.normal_(module.last.weight, std=0.2)


@pytest.mark.parametrize(
    ("topology", "block", "suffix", "changes"),
    [
        ("hourglass", "resnet", "-bw", {}),
        ("hourglass", "inception", "-bwa-a8", {}),
        ("hourglass", "hpm", "-xnor", {"stacks": 3}),
        ("unet", "cab", "", {"depth": 1}),
        ("dla", "cab", "-tw", {}),
        ("sat", "hpm", "-xnor", {"depth": 4}),
        ("sat3", "cab", "-bw", {"deform": 1}),
        ("sat3", "cab", "-xnor", {"deform": 2, "stacks": 1}),
        ("sat3", "resnet", "", {"deform": 3, "rotate": True}),
    ],
)
def test_every_parameter_learns(topology: str, block: str, suffix: str, changes: dict[str, Any]) -> None:
    model = tiny(topology, block, suffix, **changes)
    wake(model)
    maps = model(torch.rand(2, 3, 32, 32))
    assert [m.shape for m in maps] == [(2, 5, 16, 16)] * model.config.stacks
    torch.stack([m.square().mean() for m in maps]).sum().backward()
    # A bias before a BatchNorm is taken off again: its gradient is zero but for rounding.
    idle = {n for n, _ in model.named_parameters() if n.endswith("features.bias")}
    assert {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()} <= idle


def test_a_rectangle_has_a_rectangle_of_heatmaps() -> None:
    assert tiny(depth=2)(torch.rand(1, 3, 32, 48))[-1].shape == (1, 5, 16, 24)


@pytest.mark.parametrize("deform", [0, 2])
def test_the_scheme_holds_for_ordinary_convolutions_alone(deform: int) -> None:
    model = tiny(suffix="-bw", deform=deform)
    real = {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.groups == 1}
    assert real == {"stem"} | ({"heads.1.maps"} if not deform else {
        f"heads.{i}.{what}.offset" for i in (0, 1) for what in ("features", "maps")
    })  # fmt: skip
    grouped = [m.weight.shape for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert grouped, "CAB and SAT III have depthwise convolutions"
    assert all(shape[1] == 1 for shape in grouped)
    assert sum(isinstance(m, QuantConv2d) for m in model.modules()) > 50


def test_new_transformers_change_nothing() -> None:
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(Rotate(32)(x), x, rtol=0, atol=1e-5)  # places are sums of numbers up to 16
    plain, layer = torch.rand(2, 4, 7, 5), DeformConv2d(4, 3)
    expected = torch.conv2d(plain, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(plain), expected, rtol=0, atol=1e-5)


def test_turns_each_image_by_its_own_angle() -> None:
    """A quarter turn is exact, and an image's angle does not depend on the others."""
    model = Rotate(32).eval()
    wake(model)
    x = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=0, atol=1e-5)
    assert len(model.angle(x).unique()) == 3
    model.angle = lambda x: torch.full((len(x), 1, 1, 1), torch.pi / 2)  # type: ignore[method-assign]
    torch.testing.assert_close(model(x), x.rot90(-1, (2, 3)), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"topology": "tree"}, "topology is one of hourglass, unet, dla, sat, sat3, got 'tree'"),
        ({"block": "vgg"}, "block is one of resnet, inception, hpm, cab, got 'vgg'"),
        ({"stacks": 0}, "stacks is 1..16"),
        ({"depth": 5}, "depth is 1..4"),
        ({"deform": 4}, "deform is 0..3"),
        ({"deform": 1, "stacks": 1}, "there is only one"),
        ({"width": 24}, "steps of 16"),
        ({"side": 100}, "steps of 16 and side of 32"),
        ({"classes": 0}, "classes is 1..1024"),
    ],
)
def test_refuses_hyper_parameters(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        SDUConfig(**changes)


def test_refuses_sizes() -> None:
    with pytest.raises(UsageError, match="multiples of 32"):
        on_paper(SDUConfig(width=16))(torch.empty(1, 3, 48, 64, device="meta"))
    with pytest.raises(UsageError, match=r"turns images of 128x128 px, got \(256, 256\)"):
        on_paper(SDUConfig(width=16, rotate=True))(torch.empty(1, 3, 256, 256, device="meta"))
    with pytest.raises(UsageError, match="steps of 32"):
        default_spec(resolve("sdu-sat3"), 72)


def test_conventions_are_the_authors() -> None:
    entry = resolve("sdu-sat3-bw")
    spec = default_spec(entry, entry.family.size(entry.config))
    assert (spec.input.height, spec.input.width, spec.input.channels) == (128, 128, "RGB")
    assert (spec.heatmap_height, spec.heatmap_width) == (64, 64)
    assert (spec.crop.preset, spec.crop.factor, spec.decode) == ("sdu", 2.0, "resize_argmax")
    mean, std = spec.input.mean[0], spec.input.std[0]
    assert [(v / 255 - mean) / std for v in (0, 255)] == pytest.approx([-127.5 / 128, 127.5 / 128])
