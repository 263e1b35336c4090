"""A network that calls one convolution twice: exported files hold its weights once, and both calls are verified."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="exporting starts from a torch network")
pytest.importorskip("onnx", reason="the exporter works on ONNX")
pytest.importorskip("onnxruntime", reason="exported .onnx files are verified with it")
pytest.importorskip("ai_edge_litert", reason="exported .tflite files are verified with it")

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tracing import tracing_once

from edgelm.bits import pack_weights
from edgelm.errors import VerificationError
from edgelm.export import pipeline
from edgelm.export.passes.fuse_batch_norm import FuseBatchNorm
from edgelm.export.pipeline import export
from edgelm.models.checkpoint import save_checkpoint
from edgelm.models.create import default_spec, randomize
from edgelm.models.quant_conv import QuantConv2d, conv_for, freeze
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import SCHEMES, Entry, Family, register_family

SIZE = 32


@dataclass(frozen=True)
class TwiceConfig:
    """One hyper-parameter, as every family has it."""

    classes: int = 5


class Twice(nn.Module):
    """A quantized and a real convolution, each called twice behind BatchNorms of its own, and one that is called once.

    A call of a head comes between, which exported files do not have.
    """

    def __init__(self, config: TwiceConfig, scheme: QuantScheme) -> None:
        super().__init__()
        self.stem = conv_for("stem", 3, 8, 7, scheme, stride=2)
        self.shared = conv_for("spatial", 8, 8, 3, scheme)
        self.real = conv_for("last_head", 8, 8, 1, scheme)
        self.once = conv_for("pointwise", 8, 8, 1, scheme)
        self.head = conv_for("head", 8, config.classes, 1, scheme)
        self.last = conv_for("last_head", 8, config.classes, 1, scheme)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(7))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> heatmaps (N, classes, H/4, W/4) of an intermediate and the final head."""
        x = F.max_pool2d(self.stem(x), 2)
        outputs = []
        for i, conv in enumerate([self.shared, self.real, self.once, self.shared, self.real]):
            x = conv(F.relu(self.norms[i](x)))
            if conv is self.real:
                x = F.relu(x)  # else the next BatchNorm merges into its weights
            if i == 1:
                outputs.append(self.head(F.relu(self.norms[5](x))))
        return [*outputs, self.last(F.relu(self.norms[6](x)))]


TWICE = register_family(Family("twice", TwiceConfig, Twice, 4, 16, "none: a network of the tests"))


@dataclass(frozen=True)
class Made:
    """A packed checkpoint, its frozen network, and the bytes of the shared convolution's weights in a file."""

    checkpoint: Path
    model: nn.Module
    weights: bytes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    entry = Entry("twice", TWICE, TwiceConfig(), SCHEMES["-bwa"])
    torch.manual_seed(0)
    model, spec = Twice(entry.config, entry.scheme), default_spec(entry, SIZE)
    randomize(model, SIZE, 1)
    path = tmp_path_factory.mktemp("twice") / "twice.pt"
    save_checkpoint(path, entry, model, spec, packed=True)
    freeze(model)
    with tracing_once():
        yield Made(path, model, packed(model, "shared"))


def packed(model: nn.Module, name: str) -> bytes:
    layer = model.get_submodule(name)
    assert isinstance(layer, QuantConv2d)
    levels = layer.weight.permute(0, 2, 3, 1).to(torch.int8).contiguous().numpy()
    return pack_weights(levels, 1).tobytes()


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("onnx", {}),
        ("onnx", {"ops": "layers"}),
        ("onnx", {"portable": True}),
        ("onnx", {"activations": "int13"}),
        ("tflite", {}),
        ("tflite", {"ops": "layers"}),
        ("tflite", {"portable": True}),
    ],
)
def test_export(target: str, options: dict[str, str], made: Made, tmp_path: Path) -> None:
    report = export(made.checkpoint, target, tmp_path / f"twice.{target}", **options)  # type: ignore[arg-type]
    assert report.path.read_bytes().count(made.weights) == 1
    assert report.weight_count == 8 * 72 + 8 * 8
    assert report.weight_bytes == 8 * 9 + 8 * 1
    assert report.layers is not None
    assert report.layers.layers == 3 + 1  # with the heatmaps
    assert report.layers.diverging is None
    assert report.end_to_end is not None
    assert report.end_to_end.passed


def test_calls_are_named_after_the_layer(made: Made, tmp_path: Path) -> None:
    options = {"ops": "layers", "real": "float"}
    report = export(made.checkpoint, "onnx", tmp_path / "twice.onnx", verify=False, **options)  # type: ignore[arg-type]
    names = [n.name for n in onnx.load(report.path).graph.node if n.domain == "edgelm"]
    assert names == ["stem", "shared", "real", "once", "shared#2", "real#2", "last"]


def test_both_calls_get_fewer_bits(made: Made, tmp_path: Path) -> None:
    options = {"ops": "layers", "real": "int8", "activations": "int8"}
    report = export(made.checkpoint, "onnx", tmp_path / "twice.onnx", verify=False, **options)  # type: ignore[arg-type]
    bits = {}
    for node in onnx.load(report.path).graph.node:
        given = {a.name: a.i for a in node.attribute}
        if node.domain == "edgelm":
            bits[node.name] = given["weight_bits"], given["act_bits"]
    assert bits["real"] == bits["real#2"] == (8, 9)
    assert bits["shared"] == bits["shared#2"] == bits["once"] == (1, 9)


def test_a_wrong_second_call_is_found(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(FuseBatchNorm):
        def call(self, model: ir.Model) -> ir.passes.PassResult:
            result: ir.passes.PassResult = super().call(model)
            for node in model.graph:
                if node.name == "shared#2" and node.inputs[1] is not None and node.inputs[1].const_value is not None:
                    wrong = ir.tensor(node.inputs[1].const_value.numpy() * 1.5)
                    node.inputs[1].const_value = wrong
            return result

    monkeypatch.setattr(pipeline, "_FUSE", tuple(Wrong if f is FuseBatchNorm else f for f in pipeline._FUSE))
    with pytest.raises(VerificationError, match="shared#2"):
        export(made.checkpoint, "onnx", tmp_path / "wrong.onnx")
