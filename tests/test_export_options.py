"""The options of `export`: what the files hold, what fewer bits cost, and that both are verified and recorded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")
pytest.importorskip("onnxruntime", reason="exported .onnx files are verified with it")
pytest.importorskip("ai_edge_litert", reason="exported .tflite files are verified with it")

import onnx
from exports import Made

from edgelm.errors import UsageError, VerificationError
from edgelm.export.pipeline import export
from edgelm.runtimes.onnx_file import read_onnx
from edgelm.runtimes.tflite_file import verify_tflite
from edgelm.spec import METADATA_KEY, ExportOptions, ModelSpec

LAYERS = [f"convs.{name}" for name in ("squeeze", "grow", "down", "skip", "deep", "up")]


@pytest.mark.parametrize(
    ("given", "ours", "others"),
    [
        ({}, ["graph0"], []),
        ({"real": "engine"}, ["graph0"], ["Conv", "Relu", "BatchNormalization", "Relu", "Conv"]),
        ({"ops": "layers"}, LAYERS, ["Conv", "Relu", "MaxPool", "MaxPool", "Resize", "BatchNormalization", "Relu",
                                    "Conv"]),
        ({"ops": "layers", "real": "float"}, ["stem", *LAYERS, "convs.last"], ["MaxPool", "MaxPool", "Resize"]),
    ],
)  # fmt: skip
def test_operators(
    given: dict[str, str], ours: list[str], others: list[str], made: Callable[[str], Made], tmp_path: Path
) -> None:
    report = export(made("bwa").checkpoint, "onnx", tmp_path / "a.onnx", **given)  # type: ignore[arg-type]
    nodes = onnx.load(report.path).graph.node
    assert sorted(node.name for node in nodes if node.domain) == sorted(ours)
    assert [node.op_type for node in nodes if not node.domain] == others
    assert report.loss is None
    options: Any = {"ops": "graph", "real": "float" if "ops" not in given else "engine", **given}
    assert report.options == ExportOptions(**options)
    assert report.weight_count == 13 * 8 + 5 * 9 * 13 + 2 * 8 * 13 + 8 * 72 + 8 * 21, "real weights are not packed"


@pytest.mark.parametrize("target", ["onnx", "tflite"])
@pytest.mark.parametrize(
    ("scheme", "options"),
    [
        ("tw", {"activations": "int8"}),
        ("bwa", {"activations": "int13"}),
        ("tw", {"real": "int8"}),
        ("tw", {"real": "int8", "activations": "int8", "ops": "layers"}),
    ],
)
def test_fewer_bits(
    scheme: str, options: dict[str, str], target: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    report = export(made(scheme).checkpoint, target, tmp_path / f"a.{target}", **options)  # type: ignore[arg-type]
    assert report.layers is not None
    assert report.layers.diverging is None
    assert report.end_to_end is not None
    assert report.end_to_end.passed
    assert report.loss is not None
    assert report.loss.passed
    assert report.loss.images == 1, "the portrait"
    assert "px on average" in report.steps[-1].detail
    data = report.path.read_bytes()
    metadata = (read_onnx(data) if target == "onnx" else verify_tflite(data)).metadata[METADATA_KEY]
    spec = ModelSpec.from_json(bytes(metadata))
    assert spec.options == report.options
    assert spec.options.lossy
    assert spec.activation_bits == 32, "as it was trained"


def test_too_few_bits_are_refused(made: Callable[[str], Made], tmp_path: Path) -> None:
    """Random weights on signs: a stem that is a little off turns everything behind it."""
    with pytest.raises(VerificationError, match="fewer bits cost too much here: landmarks move"):
        export(made("xnor").checkpoint, "onnx", tmp_path / "a.onnx", real="int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"portable": True, "real": "int8"}, "--portable writes builtin operators"),
        ({"activations": "int4"}, "--activations is one of"),
        ({"calibrate": Path("no such folder")}, "there is no folder"),
    ],
)
def test_wrong_options(given: dict[str, Any], match: str, made: Callable[[str], Made], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=match):
        export(made("bwa").checkpoint, "onnx", tmp_path / "a.onnx", **given)
    assert list(tmp_path.iterdir()) == []


def test_command_line(made: Callable[[str], Made], tmp_path: Path) -> None:
    pytest.importorskip("typer", reason="the command line needs the extra [cli]")
    from typer.testing import CliRunner

    from edgelm.cli.app import app

    output = tmp_path / "a.onnx"
    line = ["export", str(made("bwa").checkpoint), "--target", "onnx", "-o", str(output), "--json", "--no-verify"]
    result = CliRunner().invoke(app, [*line, "--ops", "layers", "--real", "float", "--activations", "int13"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["options"] == {
        "ops": "layers",
        "real": "float",
        "activations": "int13",
        "weights": "float",
        "engine_layers": [],
    }
    assert report["loss"] is None
    nodes = onnx.load(output).graph.node
    assert {a.i for node in nodes for a in node.attribute if a.name == "act_bits"} == {14, 32}
