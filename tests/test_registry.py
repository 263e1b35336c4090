"""Every registered network has the counts of the papers; every family trains, exports and verifies end to end.

The counts are taken of each network in full, on the meta device. The rest is done with a small configuration of
each family; whole networks are exported by benchmarks/every_network.py.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="defining networks needs torch")

import torch
from torch import nn
from tracing import tracing_once

from edgelm.errors import UsageError
from edgelm.export.pipeline import export
from edgelm.models.checkpoint import save_checkpoint
from edgelm.models.count import conv_weights, macs
from edgelm.models.create import default_spec, randomize
from edgelm.models.cunet import CUNetConfig
from edgelm.models.dense_unet import DenseUNetConfig
from edgelm.models.hourglass import HourglassConfig
from edgelm.models.hrnet import HRNetConfig
from edgelm.models.iterative import IterativeCUNetConfig
from edgelm.models.outline import outline
from edgelm.models.packed_size import packed_size
from edgelm.models.paper import PAPER
from edgelm.models.registry import SCHEMES, Entry, Family, families, networks
from edgelm.models.sdu import SDUConfig

# By family: a small configuration, and the side of its input in px.
SMALL: dict[str, tuple[Any, int]] = {
    "cunet": (CUNetConfig(nets=2, width=8, growth=4, classes=3), 64),
    "cunet-iterative": (IterativeCUNetConfig(2, 8, 4, classes=3, refine_growth=3), 64),
    "denseunet": (DenseUNetConfig(2, 8, 4, 3), 64),
    "hrnet": (HRNetConfig(8, "v2", 3, modules=(1, 1, 1), blocks=1), 64),
    "hourglass": (HourglassConfig(2, depth=2, width=16, stem=(8, 8), classes=3), 64),
    "sdu": (SDUConfig("hourglass", "hpm", stacks=2, depth=1, deform=1, width=16, classes=3, side=64), 64),
}
CASES = [pytest.param(family, *case, id=family) for family, case in SMALL.items()]


def registered() -> list[Family]:
    """The families of the package; tests register some of their own, without networks."""
    return list({entry.family.name: entry.family for entry in networks()}.values())


def on_paper(entry: Entry, scheme: str = "") -> nn.Module:
    """The network without numbers in it."""
    with outline():
        return entry.family.build(entry.config, SCHEMES[scheme])


@pytest.mark.parametrize("entry", networks(), ids=lambda entry: entry.name)
def test_counts_are_the_papers(entry: Entry) -> None:
    row = PAPER[entry.name]
    entry = entry.with_landmarks(row.classes)
    model = on_paper(entry)
    parameters = sum(p.numel() for p in model.parameters())
    assert (conv_weights(model), parameters) == (row.conv_weights, row.parameters)
    assert round(macs(model, entry.family.size(entry.config)) / 1e9, 3) == row.gmacs
    assert packed_size(on_paper(entry, "-bwa")).total == row.packed_bytes
    count = row.conv_weights if row.counted == "convolutions" else row.parameters
    if row.printed is not None:
        assert abs(count / 1e6 - row.printed) <= row.tolerance


def test_every_row_is_of_a_network() -> None:
    assert set(PAPER) == {entry.name for entry in networks()}


def test_every_family_is_tried() -> None:
    assert set(SMALL) == {family.name for family in registered()}


@pytest.mark.parametrize("entry", {e.family.name: e for e in networks()}.values(), ids=lambda entry: entry.name)
def test_heatmaps_have_the_size_that_the_spec_says(entry: Entry) -> None:
    entry = entry.with_landmarks(19)
    spec = default_spec(entry, entry.family.size(entry.config))
    with torch.no_grad(), outline():
        made = on_paper(entry).eval()(torch.empty(2, 3, spec.input.height, spec.input.width))
    assert {tuple(maps.shape) for maps in made} == {(2, 19, spec.heatmap_height, spec.heatmap_width)}


def build(family: str, config: Any, side: int, scheme: str) -> tuple[Entry, nn.Module]:
    entry = Entry("small", families()[family], config, SCHEMES[scheme])
    torch.manual_seed(0)
    model = entry.family.build(config, entry.scheme)
    randomize(model, side, 0)
    return entry, model


@pytest.mark.parametrize(("family", "config", "side"), CASES)
@pytest.mark.parametrize("scheme", ["", "-xnor"])
def test_every_parameter_gets_a_gradient(family: str, config: Any, side: int, scheme: str) -> None:
    _, model = build(family, config, side, scheme)
    model.train()
    with torch.no_grad():
        for one in model.parameters():
            if not one.any():  # what starts with no effect holds back the gradient of what leads there
                one.normal_(std=0.01)
    made = model(torch.rand(2, 3, side, side))
    # Different weights for each pixel, or what a BatchNorm sees as a constant would get none.
    sum((maps * torch.rand_like(maps)).sum() for maps in made).backward()
    without = [name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()]
    assert without == []


# CU-Net is exported in full by test_export_cunet2.py.
@pytest.mark.parametrize(("family", "config", "side"), [case for case in CASES if case.id != "cunet"])
def test_exports_are_verified(family: str, config: Any, side: int, tmp_path: Path) -> None:
    entry, model = build(family, config, side, "-bwa")
    checkpoint = tmp_path / "small.pt"
    save_checkpoint(checkpoint, entry, model, default_spec(entry, side))
    for target in ("onnx", "tflite"):
        with tracing_once():
            report = export(checkpoint, target)
        assert report.end_to_end is not None
        assert report.end_to_end.passed
        assert report.layers is not None
        assert report.layers.diverging is None
        assert report.weight_count > 0


@pytest.mark.parametrize("family", registered(), ids=lambda family: family.name)
def test_impossible_sizes_and_landmarks(family: Family) -> None:
    entry = next(entry for entry in networks() if entry.family is family)
    with pytest.raises(UsageError, match=r"classes is 1\.\.1024|landmarks"):
        dataclasses.replace(entry.config, classes=0)
    for size in (family.multiple + 1, family.multiple // 2, 4096):
        with pytest.raises(UsageError, match="sides of"):
            default_spec(entry, size)
    assert math.gcd(*family.size(entry.config)) % family.multiple == 0
