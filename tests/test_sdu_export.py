"""Stacked dense U-Nets in both engines are what they are in torch, and an engine without an operator says so."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from edgelm.models.sdu_blocks import Layers, block
from edgelm.runtimes.engines import open_session
from edgelm.runtimes.onnx_file import read_onnx
from edgelm.runtimes.tflite_file import verify_tflite
from edgelm.spec import METADATA_KEY

ENGINE = {"onnx": "onnxruntime", "tflite": "ai_edge_litert"}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Two networks with everything in them; tracing takes seconds, so that each is traced once."""
    folder = tmp_path_factory.mktemp("sdu")
    networks = {
        "transformers": (SDUConfig("sat3", "hpm", 1, 1, 2, rotate=True, width=16, classes=5, side=32), "-bw"),
        "gates": (SDUConfig("sat", "resnet", 1, 2, width=16, classes=5), "-xnor"),
    }
    for name, (config, suffix) in networks.items():
        entry = Entry(name, SDU_FAMILY, config, SCHEMES[suffix])
        torch.manual_seed(0)
        model = entry.family.build(entry.config, entry.scheme)
        wake(model)
        randomize(model, 32, 0)
        save_checkpoint(folder / f"{name}.pt", entry, model, default_spec(entry, 32))
    traced: dict[str, onnx.ModelProto] = {}

    def remembered(model: Any, spec: Any) -> Any:
        key = repr(model)
        if key not in traced:
            traced[key] = ir.to_proto(capture(model, spec))
        return ir.from_proto(traced[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "capture", remembered)
        yield {name: folder / f"{name}.pt" for name in networks}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["transformers", "gates"])
def test_checkpoints_hold_all_of_it(checkpoints: dict[str, Path], tmp_path: Path, name: str, packed: bool) -> None:
    """Biases, transposed and deformable convolutions too; and nothing depends on memory that no file fills."""
    source = load_checkpoint(checkpoints[name])
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


class Blocks(nn.Module):
    """The two blocks that those networks do not have, on 16 channels."""

    def __init__(self, scheme: QuantScheme) -> None:
        super().__init__()
        make = Layers(scheme)
        self.enter = nn.Conv2d(3, 16, 1)
        self.blocks = nn.Sequential(block("cab", make, 16, 16), block("inception", make, 16, 16))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, H, W) -> [(N, 16, H, W)]."""
        return [self.blocks(self.enter(x))]


def test_other_blocks_agree(checkpoints: dict[str, Path]) -> None:
    """On both engines, as they are and portable; rounding is allowed some hundred times over the depth of a block."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert")
    model = Blocks(SCHEMES["-bwa"])
    randomize(model, 32, 0)
    spec = load_checkpoint(checkpoints["gates"]).spec
    graph = simplify(capture(freeze(model), spec))
    pipeline._fuse(graph, spec.options)
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
    assert {"QuantConv2d", "Conv", "Concat", "Mul"} <= kinds, "depthwise convolutions and means stay the engine's"


@pytest.mark.parametrize(
    ("name", "target", "portable", "custom"),
    [
        ("transformers", "onnx", False, {"edgelm"}),
        ("transformers", "onnx", True, set()),
        ("transformers", "tflite", False, {"edgelm.DeformConv2d", "edgelm.QuantGraph"}),
        ("gates", "tflite", True, set()),
        ("gates", "onnx", False, {"edgelm"}),
    ],
)
def test_exports_and_agrees(
    checkpoints: dict[str, Path], tmp_path: Path, name: str, target: str, portable: bool, custom: set[str]
) -> None:
    """Export compares every layer and the whole with torch on the engine, and raises where they differ."""
    pytest.importorskip(ENGINE[target])
    path = tmp_path / f"a.{target}"
    report = export(checkpoints[name], target, path, portable=portable)
    assert report.layers is not None
    assert report.layers.layers > 10
    data = path.read_bytes()
    found = verify_tflite(data).custom_ops if target == "tflite" else read_onnx(data).domains - {"", "ai.onnx"}
    assert found == custom
    if target == "onnx":  # older engines know no more than they must
        (opset,) = (o.version for o in onnx.load_from_string(data).opset_import if not o.domain)
        assert opset == (19 if name == "transformers" else 18)


def test_a_portable_tflite_file_has_no_deformable_convolution(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="export without --portable, or to ONNX"):
        export(checkpoints["transformers"], "tflite", tmp_path / "a.tflite", portable=True, verify=False)
    assert list(tmp_path.iterdir()) == []


def _producer(node: ir.Node) -> ir.Node | None:
    value = node.inputs[0]
    return None if value is None else value.producer()


def test_the_look_at_the_layers_sees_a_wrong_residual(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """A residual is added behind the place where the graph is cut; layers behind it still take torch's sums."""
    pytest.importorskip("onnxruntime")

    class Doubled(FuseResidual):
        """Adds the convolution to itself in place of what was to be added."""

        def call(self, model: ir.Model) -> ir.passes.PassResult:
            node = next(n for n in model.graph if is_builtin(n, "Add") and is_quant_conv(_producer(n)))
            node.replace_input_with(1, node.inputs[0])
            return super().call(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_FUSE", (*pipeline._FUSE[:-1], Doubled))
        with pytest.raises(VerificationError, match="differs from torch"):
            export(checkpoints["gates"], "onnx", tmp_path / "a.onnx")


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
