"""Stacked hourglasses, FAN and BCLL against the papers' sizes; their options, and what they refuse."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="defining networks needs torch")
pytest.importorskip("onnx", reason="the exporter needs onnx")

import torch
from nets import make
from torch import nn
from torch.nn import functional as F

from edgelm.errors import UsageError
from edgelm.models.checkpoint import load_checkpoint, save_checkpoint
from edgelm.models.count import macs
from edgelm.models.create import create, default_spec
from edgelm.models.hourglass import Hourglass, HourglassConfig
from edgelm.models.hourglass_blocks import BLOCKS
from edgelm.models.outline import outline
from edgelm.models.paper import PAPER
from edgelm.models.quant_conv import QuantConv2d, freeze
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import HOURGLASS, SCHEMES, Entry, resolve
from edgelm.models.start import initialize

TINY = HourglassConfig(depth=2, width=16, stem=(8, 16), classes=5)


def on_paper(config: HourglassConfig, suffix: str = "") -> Hourglass:
    """The network without memory for its weights."""
    with outline():
        return Hourglass(config, SCHEMES[suffix])


def convs(model: nn.Module) -> dict[str, nn.Conv2d | QuantConv2d]:
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | QuantConv2d)}


@pytest.mark.parametrize("stacks", [8, 16])
def test_every_further_stack_costs_the_same(stacks: int) -> None:
    """Nobody needs to run sixteen stacks to know their products from those of one and four."""
    row = PAPER[f"shg{stacks}"]
    config = resolve(row.network).with_landmarks(row.classes).config
    assert config.stacks == stacks
    one, four = (on_paper(dataclasses.replace(config, stacks=n)) for n in (1, 4))

    def at(of_one: int, of_four: int) -> int:
        return of_one + (stacks - 1) * (of_four - of_one) // 3

    assert at(*(sum(m.weight.numel() for m in convs(model).values()) for model in (one, four))) == row.conv_weights
    assert at(macs(one, 256), macs(four, 256)) / 1e9 == pytest.approx(row.gmacs, abs=0.0005)


def test_sizes_beside_the_registered_ones() -> None:
    face = on_paper(resolve("bcll-hpm256").with_landmarks(68).config)
    assert sum(m.weight.numel() for m in convs(face).values()) == 6_234_304
    assert macs(face, 256) / 1e9 == pytest.approx(8.268, abs=0.0005)
    wide_stem = on_paper(HourglassConfig(width=192, stem=(64, 192), classes=16))
    assert sum(m.weight.numel() for m in convs(wide_stem).values()) == 3_828_672
    assert sum(p.numel() for p in on_paper(HourglassConfig(4)).parameters()) == PAPER["fan4"].parameters
    norms = [m for m in on_paper(HourglassConfig(classes=16)).modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(m.num_features for m in norms) == 7_488


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        ("first_last", {"stem", "stacks.0.head.conv"}),
        (
            "all_1x1",
            {"stem", "before.skip.conv", "after.1.skip.conv", "stacks.0.lin.conv", "stacks.0.head.conv"},
        ),
    ],
)
def test_real_layers(real: Any, expected: set[str]) -> None:
    model = on_paper(HourglassConfig(real_layers=real, classes=16), "-xnor")
    assert {n for n, m in convs(model).items() if isinstance(m, nn.Conv2d)} == expected
    spatial = sum(m.weight.numel() for m in convs(model).values() if m.weight.shape[2] == 3)
    assert spatial == 6_100_992


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("suffix", ["", "-bw-a8", "-xnor"])
def test_every_parameter_learns(block: str, suffix: str) -> None:
    torch.manual_seed(0)
    model = Hourglass(dataclasses.replace(TINY, block=block, stacks=2, depth=1), SCHEMES[suffix])
    outputs = model(torch.rand(2, 3, 64, 96))
    assert [maps.shape for maps in outputs] == [(2, 5, 16, 24)] * 2
    sum(maps.square().mean() for maps in outputs).backward()
    # A bias before a BatchNorm is taken off again: its gradient is zero but for rounding.
    taken_off = ("stem.bias", "stacks.0.lin.conv.bias", "stacks.1.lin.conv.bias")
    dead = [n for n, p in model.named_parameters() if p.grad is None or not (n in taken_off or p.grad.any())]
    assert dead == []


def test_an_hpm_block_is_what_the_paper_draws() -> None:
    """BatchNorm - sign - convolution with alpha - ReLU, three in a row, all concatenated, and the input added."""
    model, _ = make(Entry("tiny", HOURGLASS, dataclasses.replace(TINY, depth=1), QuantScheme("bwa", 1, -1)))
    block: Any = model.get_submodule("after.0")
    x = torch.randn(2, 16, 6, 5)
    parts = []
    y = x
    for layer in (block.a, block.b, block.c):
        levels, alpha = layer.conv.quantized()
        signs = torch.where(layer.norm(y) > 0, 1.0, -1.0)
        y = F.relu(F.conv2d(signs, levels, padding=1) * alpha[:, None, None])
        parts.append(y)
    assert [part.shape[1] for part in parts] == [8, 4, 4]
    torch.testing.assert_close(block(x), torch.cat(parts, 1) + x, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("place", "lowest"), [("post", 0.0), ("none", None)])
def test_place_of_the_relu(place: Any, lowest: float | None) -> None:
    model, _ = make(Entry("tiny", HOURGLASS, dataclasses.replace(TINY, binary_relu=place), SCHEMES["-xnor"]))
    y = model.get_submodule("after.0.c")(torch.randn(1, 4, 9, 9)).detach()
    assert float(y.min()) == lowest or (lowest is None and float(y.min()) < 0)


def test_pre_activation_signs() -> None:
    config = dataclasses.replace(TINY, binary_relu="pre")
    with pytest.raises(UsageError, match="take sign_zero 0 or -1"):
        on_paper(config, "-xnor")
    model, _ = make(Entry("tiny", HOURGLASS, config, QuantScheme("bwa", 1, 0)))
    layer: Any = model.get_submodule("after.0.c")
    x = torch.randn(1, 4, 9, 9)
    levels, alpha = layer.conv.quantized()
    expected = F.conv2d((layer.norm(x) > 0).float(), levels, padding=1) * alpha[:, None, None]
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pad_value", [-1, 0, 1])
def test_padding_around_signs(pad_value: int) -> None:
    conv = QuantConv2d(3, 2, 3, QuantScheme("bw", 1, pad_value=pad_value), padding=1)
    x = torch.randn(1, 3, 4, 5)
    levels, _ = conv.quantized()
    signs = F.pad(torch.where(x < 0, -1.0, 1.0), [1] * 4, value=pad_value)
    assert torch.equal(conv(x), F.conv2d(signs, levels))


def test_affine_false_keeps_norms_plain() -> None:
    model = Hourglass(dataclasses.replace(TINY, affine=False), QuantScheme())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(p.requires_grad for m in norms for p in m.parameters())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"classes": 0}, "classes is 1..1024, got 0"),
        ({"stacks": 0}, "stacks is"),
        ({"depth": 7}, "depth is 1..6, got 7"),
        ({"width": 18}, "multiples of 4, got 18"),
        ({"stem": (8, 10)}, "multiples of 4"),
        ({"stem": (8,)}, "two numbers"),
        ({"block": "resnet"}, "no block 'resnet'; known are bottleneck, wider, ms"),
        ({"pool": "sum"}, "pool is max or avg, got 'sum'"),
        ({"binary_relu": "both"}, "binary_relu is post or pre or none"),
        ({"real_layers": "none"}, "real_layers is first_last or all_1x1"),
        ({"inner": 0.3}, "inner is"),
    ],
)
def test_refuses_hyper_parameters(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        HourglassConfig(**change)


def test_refuses_sizes() -> None:
    with pytest.raises(UsageError, match="steps of 64"):
        default_spec(resolve("bcll-hpm256"), 96)
    with pytest.raises(UsageError, match=r"multiples of 64 px, got .96, 64."):
        on_paper(HourglassConfig())(torch.empty(1, 3, 96, 64, device="meta"))


def test_conventions_are_the_authors() -> None:
    face, pose = (default_spec(resolve("bcll-hpm256-xnor").with_landmarks(k), 256) for k in (68, 16))
    assert (face.crop.preset, face.decode, face.flip_test, face.heatmap_width) == (
        "bcll_aflw2000",
        "center",
        "none",
        64,
    )
    assert (pose.crop.preset, pose.decode, pose.flip_test) == ("mpii", "center", "average")


@pytest.mark.parametrize("packed", [False, True])
def test_checkpoints_keep_biases_and_padding(packed: bool, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, block="bottleneck")
    entry = Entry("tiny", HOURGLASS, config, QuantScheme("bwa", 1, pad_value=-1))
    model, spec = make(entry)
    biases = {n: p for n, p in model.named_parameters() if n.endswith("conv.bias") or n == "stem.bias"}
    with torch.no_grad():
        for bias in biases.values():
            bias.normal_()
    save_checkpoint(tmp_path / "a.pt", entry, model, spec, packed=packed)
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert loaded.entry == entry
    found = dict(loaded.model.named_parameters())
    assert {"stem.bias", "stacks.0.head.conv.bias", "stacks.0.lin.conv.bias", "before.skip.conv.bias"} <= biases.keys()
    for name, bias in biases.items():
        # Those of quantized layers are 24-bit floats in a packed file.
        torch.testing.assert_close(found[name], bias, rtol=2**-16 if packed else 0, atol=0)
    assert torch.equal(found["stem.bias"], biases["stem.bias"])
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(freeze(loaded.model)(x)[-1], freeze(model)(x)[-1], rtol=0, atol=1.0 if packed else 1e-5)


def test_names_have_every_scheme() -> None:
    entry, model, spec = create("bcll-hpm256-real1x1-xnor", landmarks=16, size=64)
    assert (entry.config.real_layers, entry.scheme.act_bits, spec.activation_bits) == ("all_1x1", 1, 1)
    assert isinstance(model, Hourglass)


def test_norms_that_only_quantized_layers_have_begin_fresh(tmp_path: Path) -> None:
    """An hourglass normalizes what it takes the signs of, also where the float one does not; the rest is taken over."""
    float_entry, float_model, spec = create("bcll-hpm96", size=64, seed=1)
    save_checkpoint(tmp_path / "float.pt", float_entry, float_model, spec)
    entry, model, _ = create("bcll-hpm96-xnor", size=64, seed=3)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    initialize(model, entry, tmp_path / "float.pt")
    given = float_model.state_dict()
    added = fresh.keys() - given.keys()
    assert added
    assert all(name.rpartition(".")[0].endswith("norm") for name in added)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, fresh[name] if name in added else given[name]), name
