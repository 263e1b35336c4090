"""`export` writes files that compute what torch computes: every scheme, both targets, portable or not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")
pytest.importorskip("onnxruntime", reason="exported .onnx files are verified with it")
pytest.importorskip("ai_edge_litert", reason="exported .tflite files are verified with it")

import onnx
import onnx_ir as ir
import torch
from exports import Made, ir_weights
from nets import SIZE, probe_entry

from edgelm.export import pipeline
from edgelm.export.pipeline import ExportReport, Step, export
from edgelm.models.checkpoint import save_checkpoint
from edgelm.runtimes.engines import open_session
from edgelm.runtimes.tflite_file import verify_tflite
from edgelm.spec import ExportOptions
from edgelm.testvector import replay, synthetic_input

SCHEMES = ["float", "bw", "bwa", "tw", "bw-a8", "xnor"]
QUANTIZED = {"squeeze": (13, 8), "grow": (5, 9 * 13), "down": (8, 13), "skip": (8, 13), "deep": (8, 72), "up": (8, 21)}
"""Rows and weights a row of the layers that an exported probe has; its intermediate head is gone."""


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("target", ["onnx", "tflite"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_export(scheme: str, target: str, portable: bool, made: Callable[[str], Made], tmp_path: Path) -> None:
    source = made(scheme)
    output = tmp_path / f"probe.{target}"
    steps: list[Step] = []
    report = export(source.checkpoint, target, output, portable=portable, report=steps.append)
    assert list(tmp_path.iterdir()) == [output]
    check_report(report, output, tuple(steps), scheme)
    data = output.read_bytes()
    if target == "onnx":
        check_onnx(onnx.load(output), scheme, portable)
    else:
        custom = set() if portable or scheme == "float" else {"edgelm.QuantGraph"}
        assert verify_tflite(data).custom_ops == custom
    check_session(output, source, scheme, portable)


def check_report(report: ExportReport, output: Path, steps: tuple[Step, ...], scheme: str) -> None:
    assert report.steps == steps
    assert [step.number for step in steps] == list(range(1, pipeline.STEPS + 1))
    assert [step.name for step in steps] == ["load", "trace", "fuse", "pack", "write", "verify"]
    assert (report.path, report.bytes) == (output, output.stat().st_size)
    bits = {"float": 0, "tw": 2}.get(scheme, 1)
    count = sum(rows * row for rows, row in QUANTIZED.values()) if bits else 0
    assert report.weight_count == count
    assert report.weight_bytes == sum(rows * -(-row * bits // 8) for rows, row in QUANTIZED.values())
    assert report.layers is not None
    assert report.layers.layers == (7 if bits else 0)
    assert report.layers.diverging is None
    assert report.end_to_end is not None
    assert report.end_to_end.passed
    assert report.loss is None


def check_onnx(file: onnx.ModelProto, scheme: str, portable: bool) -> None:
    assert file.ir_version == 8
    domains = {node.domain for node in file.graph.node}
    ours = not portable and scheme != "float"
    assert domains == ({"edgelm"} if ours else {""})
    assert {opset.domain for opset in file.opset_import} - {""} == domains - {""}
    if ours:
        assert [(node.op_type, node.name) for node in file.graph.node] == [("QuantGraph", "graph0")]
    assert [out.name for out in file.graph.output] == ["heatmaps"]
    text = file.SerializeToString()
    assert b"torch" not in text.replace(b'"torch":', b"")  # neither stack traces nor class names


def check_session(output: Path, source: Made, scheme: str, portable: bool) -> None:
    with open_session(output) as session:
        spec = session.spec
        assert (spec.portable, spec.weights, spec.scheme) == (portable, source.spec.weights, source.spec.scheme)
        plain = portable or spec.weights == "float"
        assert spec.options == (ExportOptions() if plain else ExportOptions("graph", "float"))
        assert spec.versions.keys() >= {"edgelm", "torch", "onnx"}
        assert len(spec.weights_sha256) == 64
        if spec.test_vector is not None:
            assert replay(session.run, spec).passed
        else:
            assert spec.activation_bits < 32
        x = synthetic_input(11, SIZE, SIZE)
        found = session.run(np.concatenate([x, x[:, ::-1]]))
    with torch.no_grad():
        both = torch.from_numpy(np.concatenate([x, x[:, ::-1]]).transpose(0, 3, 1, 2).copy())
        expected = source.model(both)[-1].numpy()
    if spec.activation_bits == 32:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * float(np.abs(expected).max()))
    else:  # a value at the border of two levels may go either way
        assert np.median(np.abs(found - expected)) < 1e-4 * np.abs(expected).max()


def test_packed_checkpoint_exports_the_same(made: Callable[[str], Made], tmp_path: Path) -> None:
    source = made("bwa")
    entry = probe_entry("bwa")
    save_checkpoint(tmp_path / "packed.pt", entry, source.model, source.spec, packed=True)
    report = export(tmp_path / "packed.pt", "onnx", verify=False)
    assert report.path == tmp_path / "packed.onnx"
    assert (report.layers, report.end_to_end) == (None, None)
    assert report.steps[-1].name == "write"
    a, b = export(source.checkpoint, "onnx", tmp_path / "float.onnx", verify=False), report
    assert (a.weight_bytes, a.weight_count) == (b.weight_bytes, b.weight_count)
    packed, whole = (ir_weights(ir.from_proto(onnx.load(made_of.path))) for made_of in (a, b))
    assert packed.keys() == whole.keys()
    assert all((packed[name] == whole[name]).all() for name in packed)


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_export_is_reproducible(target: str, made: Callable[[str], Made], tmp_path: Path) -> None:
    a, b = (
        export(made("tw").checkpoint, target, tmp_path / f"{name}.{target}", verify=False).path.read_bytes()
        for name in "ab"
    )
    assert a == b


def test_default_names(tmp_path: Path, made: Callable[[str], Made]) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(made("bw").checkpoint.read_bytes())
    names = [export(path, t, portable=p, verify=False).path.name for t in pipeline.TARGETS for p in (False, True)]
    assert names == ["net.onnx", "net.portable.onnx", "net.tflite", "net.portable.tflite"]
