"""`export --weights`: float networks made smaller after training, through the whole pipeline and the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")

import onnx_ir as ir
import torch
from exports import Made
from typer.testing import CliRunner

from edgelm import zoo
from edgelm.cli.app import app
from edgelm.errors import UsageError, VerificationError
from edgelm.export import fewer_bits, pipeline
from edgelm.export.interpret import Interpreted
from edgelm.export.pipeline import export
from edgelm.file_info import read_info
from edgelm.runtimes.runtime import Runtime
from edgelm.spec import ModelSpec


@pytest.fixture(scope="module")
def checkpoint(made: Callable[[str], Made]) -> Path:
    return made("float").checkpoint


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portrait and its mirror image."""
    folder = tmp_path_factory.mktemp("photos")
    image = cv2.imread(str(zoo.photo()))
    assert image is not None
    cv2.imwrite(str(folder / "a.png"), image)
    cv2.imwrite(str(folder / "b.png"), image[:, ::-1])
    return folder


@pytest.mark.parametrize("target", ["onnx", "tflite"])
@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_exports_and_agrees(checkpoint: Path, photos: Path, tmp_path: Path, target: str, weights: str) -> None:
    pytest.importorskip("onnxruntime" if target == "onnx" else "ai_edge_litert")
    path = tmp_path / f"a.{target}"
    report = export(checkpoint, target, path, weights=weights, calibrate=photos if weights == "int8" else None)
    assert report.options.weights == weights
    assert report.loss is not None
    info = read_info(path)
    assert info.custom_ops == ()
    convolutions = [layer for layer in info.layers if "Conv" in layer.operator or "CONV" in layer.operator]
    assert [layer.weight_bits for layer in convolutions] == ([16] * 8 if weights == "fp16" else [8] * 7 + [32])
    with Runtime(path) as runtime:
        assert runtime.spec.options.weights == weights
        # Random weights on 8-bit maps may leave no landmark that every engine must find.
        assert (weights == "int8" and runtime.spec.test_vector is None) or runtime.selftest().passed
    share = path.stat().st_size - len(runtime.spec.to_json())
    assert share < report.float_bytes


def test_a_portable_file_may_have_smaller_weights(checkpoint: Path, tmp_path: Path) -> None:
    report = export(checkpoint, "onnx", tmp_path / "a.onnx", portable=True, weights="fp16", verify=False)
    assert report.portable
    assert report.options.weights == "fp16"


def test_int8_asks_for_photos(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a folder of them with --calibrate"):
        export(checkpoint, "onnx", tmp_path / "a.onnx", weights="int8")


def test_weights_of_bits_are_left_alone(made: Callable[[str], Made], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trained with bwa weights, which are packed as they are"):
        export(made("bwa").checkpoint, "onnx", tmp_path / "a.onnx", weights="fp16")
    with pytest.raises(UsageError, match="--weights is one of float, fp16, int8, got 'int4'"):
        export(made("float").checkpoint, "onnx", tmp_path / "a.onnx", weights="int4")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_is_not_the_network_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: ir.Model, *more: object) -> torch.nn.Module:
        network = Interpreted(model, *more)  # type: ignore[arg-type]  # as given
        next(iter(network.buffers())).mul_(1.1)
        return network

    monkeypatch.setattr(fewer_bits, "Interpreted", wrong)
    with pytest.raises(VerificationError, match="not the network, before any rounding"):
        export(checkpoint, "onnx", tmp_path / "a.onnx", weights="fp16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_a_wrong_file_is_not_kept(
    checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    """A weight other than the graph's: one map of an int8 file differs, or the heatmaps of an fp16 one."""
    write = pipeline._write

    def spoiled(graph: ir.Model, spec: ModelSpec, target: str, portable: bool) -> bytes:
        graph = graph.clone()
        stored = next(v for v in graph.graph.initializers.values() if v.shape is not None and v.shape == (5, 13, 3, 3))
        assert stored.const_value is not None
        stored.const_value = ir.tensor(-stored.const_value.numpy(), name=stored.name)
        return write(graph, spec, target, portable)

    monkeypatch.setattr(pipeline, "_write", spoiled)
    expected = "the layer t[0-9]+ differs" if weights == "int8" else "differs from torch"
    with pytest.raises(VerificationError, match=expected):
        export(checkpoint, "onnx", tmp_path / "a.onnx", weights=weights, calibrate=photos)
    assert list(tmp_path.iterdir()) == []


def test_command_line(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.tflite"
    line = ["export", str(checkpoint), "--target", "tflite", "-o", str(output), "--json", "--no-verify"]
    result = CliRunner().invoke(app, [*line, "--weights", "int8", "--calibrate", str(photos)])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["options"]["weights"] == "int8"
    assert "in the file 8 bits" in CliRunner().invoke(app, ["info", str(output)]).output
    refused = CliRunner().invoke(app, [*line, "--weights", "int8"])
    assert refused.exit_code == 2
