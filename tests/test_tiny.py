"""The whole way in one test: a network from nothing to the landmarks of a photo."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="making a network needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")
pytest.importorskip("onnxruntime", reason="the exported file runs on it")

from nets import make

from edgelm.export.pipeline import export
from edgelm.images import read_image
from edgelm.models.checkpoint import load_checkpoint, save_checkpoint
from edgelm.models.cunet import CUNetConfig
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import Entry, get_family
from edgelm.runtimes.runtime import Runtime
from edgelm.zoo import photo


def test_from_nothing_to_landmarks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = photo()
    if path is None:
        pytest.skip("this package was built without its photo")
    entry = Entry("tiny", get_family("cunet"), CUNetConfig(1, 8, 4, 1, 68), QuantScheme("bwa"))
    model, spec = make(entry)
    save_checkpoint(tmp_path / "tiny.pt", entry, model, spec, packed=True)
    assert load_checkpoint(tmp_path / "tiny.pt").packed
    report = export(tmp_path / "tiny.pt", "onnx")
    assert report.end_to_end is not None
    assert report.end_to_end.passed
    image = read_image(path)
    height, width = image.shape[:2]
    box = np.array([[width * 0.3, height * 0.1, width * 0.6, height * 0.5]], np.float32)
    with Runtime(report.path) as runtime:
        found = runtime(image, box)
        assert runtime.selftest().passed
    assert found.xy.shape == (1, 68, 2)
    assert found.score.shape == (1, 68)
    assert np.isfinite(found.xy).all()
    # Every decoded point lies in the crop, which is a quarter larger than the box's longer side.
    reach = 1.25 * float(max(box[0, 2:] - box[0, :2])) / 2 + 1
    assert (np.abs(found.xy[0] - (box[0, :2] + box[0, 2:]) / 2) <= reach).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.onnx", "tiny.pt"]
    assert capfd.readouterr() == ("", "")
