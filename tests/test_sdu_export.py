"""Stacked dense U-Nets in both engines are what they are in torch, and an engine without an operator says so."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")

import numpy as np
import onnx
import onnx_ir as ir
import torch
from graphs import by_onnx, by_tflite
from onnx import helper
from onnx_cases import write_onnx
from session_models import SPEC
from test_sdu import wake
from torch import nn
from tracing import tracing_once

from edgelm.errors import EngineMissingError, UsageError, VerificationError
from edgelm.export import pipeline
from edgelm.export.capture import capture, simplify
from edgelm.export.nodes import is_builtin, is_quant_conv
from edgelm.export.passes.fuse_residual import FuseResidual
from edgelm.export.pipeline import export
from edgelm.models.checkpoint import load_checkpoint, save_checkpoint
from edgelm.models.create import default_spec, randomize
from edgelm.models.quant_conv import QuantConv2d, freeze
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import SCHEMES, SDU_FAMILY, Entry
from edgelm.models.sdu import SDUConfig
from edgelm.models.sdu_blocks import Layers, block, mean
from edgelm.models.sdu_topologies import topology
from edgelm.runtimes.engines import open_session
from edgelm.runtimes.onnx_file import read_onnx
from edgelm.runtimes.tflite_file import verify_tflite
from edgelm.spec import METADATA_KEY, ExportOptions

ENGINE = {"onnx": "onnxruntime", "tflite": "ai_edge_litert"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A network with every transformer; it is traced once."""
    config = SDUConfig("sat3", "hpm", 1, 1, 2, rotate=True, width=16, classes=5, side=32)
    entry = Entry("transformers", SDU_FAMILY, config, SCHEMES["-bw"])
    torch.manual_seed(0)
    model = entry.family.build(entry.config, entry.scheme)
    wake(model)
    randomize(model, 32, 0)
    path = tmp_path_factory.mktemp("sdu") / "a.pt"
    save_checkpoint(path, entry, model, default_spec(entry, 32))
    with tracing_once():
        yield path


@pytest.mark.parametrize("packed", [False, True])
def test_checkpoints_hold_all_of_it(checkpoint: Path, tmp_path: Path, packed: bool) -> None:
    """Biases, transposed and deformable convolutions too; and nothing depends on memory that no file fills."""
    source = load_checkpoint(checkpoint)
    save_checkpoint(tmp_path / "a.pt", source.entry, source.model, source.spec, packed=packed)
    found, x = load_checkpoint(tmp_path / "a.pt").model, torch.rand(2, 3, 32, 32)
    for module, other in zip(source.model.modules(), found.modules(), strict=True):
        if not isinstance(module, QuantConv2d | nn.BatchNorm2d):
            pairs = zip(module.parameters(recurse=False), other.parameters(recurse=False), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
    with torch.no_grad():
        expected, maps = source.model(x)[-1], found(x)[-1]
    assert torch.isfinite(maps).all()
    assert packed or torch.equal(maps, expected)  # packing rounds the scales


class Parts(nn.Module):
    """What that network does not have: CAB, Inception, DLA's enlargement, SAT's gate, SAT III's filter."""

    def __init__(self, scheme: QuantScheme) -> None:
        super().__init__()
        make = Layers(scheme)
        self.enter = nn.Conv2d(3, 16, 1)
        self.blocks = nn.Sequential(block("cab", make, 16, 16), block("inception", make, 16, 16))
        whole = topology("sat", make, "hpm", 2, 16)
        self.enlarge, self.gate = whole.get_submodule("up.2_2"), whole.get_submodule("gate.1_2")
        self.across = make.depthwise(16)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, H, W) -> [(N, 16, H, W)]."""
        y = self.blocks(self.enter(x))
        return [mean([self.across(y), self.enlarge(self.gate(y))])]


def test_other_parts_agree(checkpoint: Path) -> None:
    """On both engines, as they are and portable; rounding is allowed some hundred times over the depth of a block."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert")
    model = Parts(SCHEMES["-bwa"])
    randomize(model, 32, 0)
    graph = simplify(capture(freeze(model), load_checkpoint(checkpoint).spec))
    pipeline._fuse(graph, ExportOptions())
    assert graph.opset_imports[""] == 18, "older engines know no more than they must"
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        (expected,) = model(x)
    answers = [
        by_onnx(graph, x.numpy()),
        *(by_tflite(graph, x.numpy(), portable=portable) for portable in (False, True)),
    ]
    for (found,) in answers:
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4 * float(expected.abs().max()))
    kinds = {n.op_type for n in graph.graph}
    assert {"QuantConv2d", "Conv", "ConvTranspose", "Concat", "Mul", "Sigmoid"} <= kinds


@pytest.mark.parametrize(
    ("target", "portable", "custom"),
    [
        ("onnx", False, {"edgelm"}),
        ("onnx", True, set()),
        ("tflite", False, {"edgelm.DeformConv2d", "edgelm.QuantGraph"}),
    ],
)
def test_exports_and_agrees(checkpoint: Path, tmp_path: Path, target: str, portable: bool, custom: set[str]) -> None:
    """Export compares every layer and the whole with torch on the engine, and raises where they differ."""
    pytest.importorskip(ENGINE[target])
    path = tmp_path / f"a.{target}"
    report = export(checkpoint, target, path, portable=portable)
    assert report.layers is not None
    assert report.layers.layers > 10
    data = path.read_bytes()
    found = verify_tflite(data).custom_ops if target == "tflite" else read_onnx(data).domains - {"", "ai.onnx"}
    assert found == custom
    if target == "onnx":
        assert [o.version for o in onnx.load_from_string(data).opset_import if not o.domain] == [19]


def test_a_portable_tflite_file_has_no_deformable_convolution(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="export without --portable, or to ONNX"):
        export(checkpoint, "tflite", tmp_path / "a.tflite", portable=True, verify=False)
    assert list(tmp_path.iterdir()) == []


def _producer(node: ir.Node, place: int) -> ir.Node | None:
    value = node.inputs[place]
    return None if value is None else value.producer()


def test_the_look_at_the_layers_sees_a_wrong_residual(checkpoint: Path, tmp_path: Path) -> None:
    """A residual is added behind the place where the graph is cut; layers behind it still take torch's sums."""
    pytest.importorskip("onnxruntime")

    class Doubled(FuseResidual):
        """Adds the convolution to itself in place of what was to be added."""

        def call(self, model: ir.Model) -> ir.passes.PassResult:
            sums = [node for node in model.graph if is_builtin(node, "Add")]
            node, place = next((n, i) for n in sums for i in (0, 1) if is_quant_conv(_producer(n, i)))
            node.replace_input_with(1 - place, node.inputs[place])
            return super().call(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_FUSE", (*pipeline._FUSE[:-1], Doubled))
        with pytest.raises(VerificationError, match="differs from torch"):
            export(checkpoint, "onnx", tmp_path / "a.onnx")


def test_an_engine_without_an_operator_is_named(tmp_path: Path) -> None:
    """As ONNX Runtime before it had DeformConv; here by one that it lacks to this day, Erf of doubles."""
    pytest.importorskip("onnxruntime")
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, 16, 12])
    out = helper.make_tensor_value_info("heatmaps", onnx.TensorProto.FLOAT, ["N", 3, 16, 12])
    nodes = [
        helper.make_node("Cast", ["image"], ["a"], to=onnx.TensorProto.DOUBLE),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Cast", ["b"], ["heatmaps"], to=onnx.TensorProto.FLOAT),
    ]
    spec = dataclasses.replace(SPEC, portable=True)
    path = tmp_path / "a.onnx"
    path.write_bytes(
        write_onnx(helper.make_graph(nodes, "g", [image], [out]), {METADATA_KEY: spec.to_json()}, domain="")
    )
    with pytest.raises(
        EngineMissingError, match=r"onnxruntime \S+ lacks an operator of .*Erf.*upgrade .*or export .* TFLite"
    ):
        open_session(path)
