"""CU-Net-2 with binary weights as `edgelm new` makes it: both files are small, one bit a weight, and right."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")
pytest.importorskip("onnxruntime", reason="exported .onnx files are verified with it")
pytest.importorskip("ai_edge_litert", reason="exported .tflite files are verified with it")

from tracing import tracing_once

from edgelm.export.pipeline import export
from edgelm.models.checkpoint import save_checkpoint
from edgelm.models.create import create, randomize

SIZE = 64  # the weights are those of any input size


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The checkpoint; it is traced once for both targets."""
    path = tmp_path_factory.mktemp("cunet2") / "cunet2-bw.pt"
    entry, model, spec = create("cunet2-bw", size=SIZE)
    randomize(model, SIZE, 0)
    float_bytes = save_checkpoint(path, entry, model, spec)
    assert save_checkpoint(path.with_name("packed.pt"), entry, model, spec, packed=True) * 20 < float_bytes
    with tracing_once():
        yield path


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_small_and_right(target: str, checkpoint: Path) -> None:
    report = export(checkpoint, target)
    assert report.bytes * 15 <= report.float_bytes
    assert report.weight_bytes * 8 == report.weight_count, "one bit each: 1/32 of float32"
    assert report.weight_count == 1_875_968
    assert report.layers is not None
    assert report.end_to_end is not None
    assert report.layers.layers == 63 + 1
    assert report.layers.worst < 1e-5
    assert report.end_to_end.passed
    assert report.end_to_end.near == report.end_to_end.decidable
