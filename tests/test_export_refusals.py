"""`export` keeps no file that computes something else, and says which layer diverges; wrong arguments are refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")
pytest.importorskip("onnxruntime", reason="exported .onnx files are verified with it")
pytest.importorskip("ai_edge_litert", reason="exported .tflite files are verified with it")

import onnx_ir as ir
from exports import Made, ir_weights

from edgelm.errors import EdgelmError, ModelFileError, UsageError, VerificationError
from edgelm.export import layerwise, pipeline
from edgelm.export.capture import simplify
from edgelm.export.layerwise import compare_layers
from edgelm.export.passes import lower_portable
from edgelm.export.passes.clean import Clean
from edgelm.export.passes.pack_weights import PackWeights
from edgelm.export.pipeline import Step, export


class _Corrupt(PackWeights):
    """Flips the signs of eight weights of one layer."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        result = super().call(model)
        for node in model.graph:
            if node.name == "convs.deep":
                assert node.inputs[0] is not None
                assert node.inputs[0].const_value is not None
                weight = node.inputs[0].const_value.numpy().copy()
                weight[3, 4] ^= 0xFF
                node.inputs[0].const_value = ir.tensor(weight, name=node.inputs[0].name)
        return result


@pytest.mark.parametrize("target", ["onnx", "tflite"])
@pytest.mark.parametrize("scheme", ["bw", "bw-a8"])
def test_corrupt_weights_are_found(
    scheme: str, target: str, made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = made(scheme)
    monkeypatch.setattr(pipeline, "_FUSE", (_Corrupt, *pipeline._FUSE[1:]))
    old = tmp_path / f"a.{target}"
    old.write_bytes(b"an older file")
    with pytest.raises(VerificationError, match=r"layer convs\.deep differs from torch"):
        export(source.checkpoint, target, old)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"an older file"]


def test_first_diverging_layer_is_named(made: Callable[[str], Made]) -> None:
    """Two layers are wrong; in torch's order `squeeze` runs before `deep`."""
    source = made("bw")
    graph = simplify(source.graph())
    for fuse in pipeline._FUSE:
        fuse()(graph)
    Clean()(graph)
    for name in ("convs.deep", "convs.squeeze"):
        (node,) = (n for n in graph.graph if n.name == name)
        assert node.inputs[0] is not None
        weight = ir_weights(graph)[name].copy()
        weight[0, 0] ^= 0xFF
        node.inputs[0].const_value = ir.tensor(weight, name=node.inputs[0].name)

    def write(part: ir.Model) -> bytes:
        return pipeline._write(part, source.spec, "onnx", False)

    check = compare_layers(source.model, graph, write, "onnx", source.spec)
    assert check.diverging == "convs.squeeze"


@pytest.mark.parametrize("scheme", ["bw-a8", "xnor"])
def test_a_single_wrong_weight_is_found(
    scheme: str, made: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among some ten thousand weights one changes a layer by less than a turned level may."""
    source = made(scheme)
    graph = simplify(source.graph())
    for fuse in pipeline._FUSE:
        fuse()(graph)
    monkeypatch.setattr(layerwise, "_LEVEL_LIMIT", 1.0)

    def diverging() -> str | None:
        check = compare_layers(
            source.model, graph, lambda part: pipeline._write(part, source.spec, "onnx", False), "onnx", source.spec
        )
        return check.diverging

    assert diverging() is None
    (node,) = (n for n in graph.graph if n.name == "convs.deep")
    assert node.inputs[0] is not None
    weight = ir_weights(graph)["convs.deep"].copy()
    weight[3, 4] ^= 1
    node.inputs[0].const_value = ir.tensor(weight, name=node.inputs[0].name)
    assert diverging() == "convs.deep"


def test_wrong_head_is_found(made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every quantized layer agrees and the rest of the network does not."""
    source = made("bw")

    class Shift(Clean):
        def call(self, model: ir.Model) -> ir.passes.PassResult:
            for node in model.graph:
                for value in node.inputs:
                    if node.op_type == "Conv" and value is not None and value.const_value is not None:
                        name = value.name
                        value.const_value = ir.tensor(value.const_value.numpy() * np.float32(1.01), name=name)
            return super().call(model)

    monkeypatch.setattr(pipeline, "Clean", Shift)
    with pytest.raises(VerificationError, match="differs from torch"):
        export(source.checkpoint, "onnx", tmp_path / "a.onnx", real="engine")
    assert list(tmp_path.iterdir()) == []


def test_lowering_that_is_wrong_is_found(
    made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A portable file with another table of bytes."""
    table = lower_portable.byte_table
    monkeypatch.setattr(lower_portable, "byte_table", lambda bits: table(bits)[:, ::-1].copy())
    with pytest.raises(VerificationError, match="layer convs"):
        export(made("bw").checkpoint, "onnx", tmp_path / "a.onnx", portable=True)
    assert list(tmp_path.iterdir()) == []


def test_without_verification_nothing_is_refused(
    made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_FUSE", (_Corrupt, *pipeline._FUSE[1:]))
    report = export(made("bw").checkpoint, "onnx", tmp_path / "a.onnx", verify=False)
    assert report.path.is_file()


@pytest.mark.parametrize(
    ("target", "name", "match"),
    [
        ("coreml", "a.onnx", "known are onnx, tflite"),
        ("onnx", "a.tflite", "ends in .onnx"),
        ("tflite", "a", "ends in .tflite"),
        ("onnx", "none/a.onnx", "does not exist"),
    ],
)
def test_wrong_arguments(target: str, name: str, match: str, made: Callable[[str], Made], tmp_path: Path) -> None:
    steps: list[Step] = []
    with pytest.raises(UsageError, match=match):
        export(made("float").checkpoint, target, tmp_path / name, report=steps.append)
    assert steps == []
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_a_file(made: Callable[[str], Made], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        export(made("float").checkpoint, "onnx", tmp_path / "file" / "a.onnx")


def test_unusable_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"no checkpoint")
    for path in (tmp_path / "a.pt", tmp_path / "none.pt"):
        with pytest.raises(ModelFileError):
            export(path, "onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_errors_are_edgelms_own(made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network with an op that TFLite files do not get."""
    graph = made("float").graph()
    for node in graph.graph:
        if node.op_type == "Relu":
            node.op_type = "Softplus"
    monkeypatch.setattr(pipeline, "capture", lambda *_: graph)
    with pytest.raises(EdgelmError, match="Softplus cannot be written as TFLite; known are"):
        export(made("float").checkpoint, "tflite", tmp_path / "a.tflite")
    assert list(tmp_path.iterdir()) == []
