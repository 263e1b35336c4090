"""Every block of hourglasses exported to both engines, and a whole network as one operator."""

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="defining networks needs torch")
pytest.importorskip("onnx", reason="the exporter needs onnx")

from nets import make
from torch import Tensor, nn
from torch.nn import functional as F
from tracing import tracing_once

from edgelm.export.pipeline import export
from edgelm.models.checkpoint import save_checkpoint
from edgelm.models.hourglass import HourglassConfig
from edgelm.models.hourglass_blocks import BLOCKS, Maker, Plain
from edgelm.models.quant_conv import QuantConv2d
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import HOURGLASS, Entry, Family, register_family


@dataclasses.dataclass(frozen=True)
class BlocksConfig:
    """One hyper-parameter, as every family has it."""

    classes: int = 5


class Blocks(nn.Module):
    """Every block, with projections and without, and the way from a head back: traced as one network."""

    def __init__(self, config: BlocksConfig, scheme: QuantScheme) -> None:
        super().__init__()
        relu: Any = "pre" if scheme.sign_zero == 0 else "none" if scheme.sign_zero == -1 else "post"
        make = Maker(scheme, binary_relu=relu)
        self.stem = make.conv("stem", 3, 8, 7, stride=2, bias=True)
        widths = (8, 12, 12, 8, 8, 12)
        self.blocks = nn.Sequential(*(b(make, *io) for b, io in zip(BLOCKS.values(), pairwise(widths), strict=True)))
        self.lin = Plain(make, "pointwise", 12, 12)
        self.heads = nn.ModuleList(Plain(make, role, 12, config.classes) for role in ("head", "last_head"))
        self.back = Plain(make, "pointwise", config.classes, 12)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> [heatmaps (N, classes, H/4, W/4)]."""
        x = self.blocks(F.avg_pool2d(F.relu(self.stem(x)), 2))
        maps = self.heads[0](x)
        return [maps, self.heads[1](F.relu(x + self.lin(x) + self.back(maps)))]


BLOCKS_FAMILY = register_family(Family("blocks", BlocksConfig, Blocks, 4, 16, "none: a network of the tests"))


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Checkpoints and their number of quantized layers, by entry; each network is traced once for all exports."""
    known: dict[Entry, tuple[Path, int]] = {}

    def get(entry: Entry) -> tuple[Path, int]:
        if entry not in known:
            model, spec = make(entry)
            path = tmp_path_factory.mktemp("traced") / "a.pt"
            save_checkpoint(path, entry, model, spec)
            known[entry] = path, sum(isinstance(m, QuantConv2d) for m in model.modules())
        return known[entry]

    with tracing_once():
        yield get


def exported(traced: Any, entry: Entry, target: str, folder: Path, **options: Any) -> list[str]:
    """Export, which raises where torch and the file differ, layer by layer or end to end; the steps' details."""
    pytest.importorskip("onnxruntime" if target == "onnx" else "ai_edge_litert")
    path, layers = traced(entry)
    report = export(path, target, folder / f"a.{target}", **options)
    assert report.layers is not None
    assert report.layers.layers == (layers + 1 if layers else 0)
    return [step.detail for step in report.steps]


@pytest.mark.parametrize("target", ["onnx", "tflite"])
@pytest.mark.parametrize("scheme", [QuantScheme(), QuantScheme("bwa"), QuantScheme("bwa", 1, 0, pad_value=1)])
def test_blocks_export_and_agree(traced: Any, tmp_path: Path, scheme: QuantScheme, target: str) -> None:
    entry = Entry("blocks", BLOCKS_FAMILY, BlocksConfig(), scheme)
    exported(traced, entry, target, tmp_path)
    if scheme.act_bits == 1:
        exported(traced, entry, target, tmp_path, portable=True)


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_a_whole_network_is_one_operator(traced: Any, tmp_path: Path, target: str) -> None:
    config = HourglassConfig(depth=1, width=16, stem=(8, 16), classes=5)
    scheme = QuantScheme("bwa", 1, pad_value=-1)
    steps = exported(traced, Entry("tiny", HOURGLASS, config, scheme), target, tmp_path, real="float")
    assert any("1 QuantGraph," in step for step in steps), steps
