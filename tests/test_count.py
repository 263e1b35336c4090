"""Counting a network's weights and multiply-additions, against numbers worked out by hand and the papers' own."""

import pytest

pytest.importorskip("torch", reason="networks are torch modules")
import torch
from torch import Tensor, nn

from edgelm.errors import UsageError
from edgelm.models.count import conv_weights, macs
from edgelm.models.outline import outline
from edgelm.models.paper import PAPER
from edgelm.models.quant_conv import QuantConv2d, freeze
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import resolve


class Odd(nn.Module):
    """Grouped, transposed, quantized and called twice, with layers that are not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3)
        self.twice = QuantConv2d(6, 6, 1, QuantScheme("bwa", 8))
        self.norm = nn.BatchNorm2d(6)
        self.wider = nn.ConvTranspose2d(6, 4, 2, stride=2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(1, 3, H, W) -> (1, 4, H, W) rounded up to even sides."""
        return [self.wider(self.norm(self.twice(self.twice(self.grouped(x)))))]


def test_worked_out_by_hand() -> None:
    model = Odd()
    # 5x7 px -> 3x4 px, where the transposed one starts, too
    assert conv_weights(model) == 6 * 9 + 36 + 6 * 4 * 4
    assert macs(model, (5, 7)) == 54 * 12 + 2 * 36 * 12 + 96 * 12
    assert macs(freeze(model), (5, 7)) == 54 * 12 + 2 * 36 * 12 + 96 * 12


def test_counting_leaves_the_network_as_it_was() -> None:
    model = Odd()
    model.norm.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    macs(model, 8)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert (model.training, model.norm.training, model.wider.training) == (True, False, True)
    assert not any(m._forward_hooks for m in model.modules())


def test_shared_weights_are_counted_once() -> None:
    first, second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    assert conv_weights(model) == 81
    assert macs(model, 4) == 2 * 81 * 16


@pytest.mark.parametrize("size", [0, (4, 0), (-1, 4)])
def test_a_size_without_pixels(size: int | tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="at least 1 px"):
        macs(nn.Conv2d(3, 3, 1), size)


@pytest.mark.parametrize(
    ("name", "classes", "weights", "gmacs"),
    [
        ("cunet4-xnor", 16, PAPER["cunet4"].conv_weights, PAPER["cunet4"].gmacs),
        ("cunet4", 68, 3_928_448, 5.560),
    ],
)
def test_papers_network_quantized_and_of_faces(name: str, classes: int, weights: int, gmacs: float) -> None:
    entry = resolve(name).with_landmarks(classes)
    with outline():
        model = entry.family.build(entry.config, entry.scheme)
    assert conv_weights(model) == weights
    assert round(macs(model, 256) / 1e9, 3) == gmacs
