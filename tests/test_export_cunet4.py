"""CU-Net-4 with binary weights as `edgelm new` makes it: both files are small, one bit a weight, and right."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")
pytest.importorskip("onnxruntime", reason="exported .onnx files are verified with it")
pytest.importorskip("ai_edge_litert", reason="exported .tflite files are verified with it")

import onnx_ir as ir

from edgelm.export import pipeline
from edgelm.export.capture import capture
from edgelm.export.pipeline import export
from edgelm.models.checkpoint import save_checkpoint
from edgelm.models.create import create, randomize

SIZE = 64  # the weights are those of any input size


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The checkpoint; it is traced once for both targets, since that takes most of the time."""
    path = tmp_path_factory.mktemp("cunet4") / "cunet4-bw.pt"
    entry, model, spec = create("cunet4-bw", size=SIZE)
    randomize(model, SIZE, 0)
    float_bytes = save_checkpoint(path, entry, model, spec)
    assert save_checkpoint(path.with_name("packed.pt"), entry, model, spec, packed=True) * 20 < float_bytes
    traced = ir.to_proto(capture(model, spec))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "capture", lambda *_: ir.from_proto(traced))
        yield path


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_small_and_right(target: str, checkpoint: Path) -> None:
    report = export(checkpoint, target)
    assert report.bytes * 15 <= report.float_bytes
    assert report.weight_bytes * 8 == report.weight_count, "one bit each: 1/32 of float32"
    assert report.weight_count == 3_874_816
    assert report.layers is not None
    assert report.end_to_end is not None
    assert report.layers.layers == 127 + 1
    assert report.layers.worst < 1e-5
    assert report.end_to_end.passed
    assert report.end_to_end.near == report.end_to_end.decidable
