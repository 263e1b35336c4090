"""A device with numpy alone, or an engine beside it: what they can works, all else says what to install.

Each test runs in a process in which OpenCV, the engines and what people use beside them cannot be imported.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

from edgelm import zoo

ALONE = """
import json, sys
class Absent:
    names = ("cv2", "onnxruntime", "ai_edge_litert", "tflite_runtime", "torch", "onnx", "typer", "pandas", "scipy")
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Absent())
import numpy as np
import edgelm
def said(call, *arguments):
    try:
        call(*arguments)
    except edgelm.errors.EdgelmError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"
import edgelm.errors
"""


def alone(body: str, *arguments: object) -> Any:
    """What the process prints as its last line, as JSON."""
    words = [sys.executable, "-c", ALONE + body, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("path", [pytest.param(str(path), id=path.suffix) for path in zoo.bundled()])
def test_a_models_description(path: str) -> None:
    body = """
from pathlib import Path
from edgelm.runtimes.base import read_model, read_spec
from edgelm.runtimes.onnx_file import read_onnx
from edgelm.runtimes.tflite_file import verify_tflite
from edgelm.spec import METADATA_KEY
path = Path(sys.argv[1])
read = {".onnx": read_onnx, ".tflite": verify_tflite}[path.suffix]
spec = read_spec(path, bytes(read(read_model(path)).metadata[METADATA_KEY])
                 if path.suffix == ".tflite" else read(read_model(path)).metadata[METADATA_KEY])
print(json.dumps([spec.scheme.name, len(spec.scheme.names), said(edgelm.Runtime, path)]))
"""
    scheme, K, words = alone(body, path)
    assert (scheme, K) == ("300w68", 68)
    assert words.startswith("EngineMissingError: ")
    assert 'pip install "edgelm[' in words


def test_decoding_and_results() -> None:
    body = """
from edgelm import decode, geometry
from edgelm.crops import get_crop
from edgelm.landmarks import Landmarks
from edgelm.roi import turned_boxes
from edgelm.schemes import get_scheme
maps = np.zeros((1, 14, 64, 64), np.float32)
maps[:, :, 20, 30] = 1
points = {rule: decode.decode(maps, rule)[0][0, 0].tolist() for rule in ("center", "index", "resize_argmax")}
points["dark"] = decode.decode(maps, "index", refinement="dark")[0][0, 0].tolist()
xy = np.random.RandomState(0).uniform(0, 99, (1, 14, 2))
box = np.array([[0, 0, 99, 99.0]])
found = Landmarks(xy, np.ones((1, 14)), box, np.zeros((1, 2, 3)), get_scheme("lsp14"), (99, 99))
texts = [found.to_json(), found.to_csv(), found.to_pts(), found.to_coco(1), found.to_mmpose(), found.to_normalized()]
boxes, turn = turned_boxes(xy, found.scheme, get_crop("lsp"))
geometry.crop_matrix(boxes, get_crop("lsp"), 256, 256, turn)
print(json.dumps([points, len(texts), [said(found.draw, np.zeros((99, 99, 3), np.uint8)), said(found.to_dataframe)]]))
"""
    points, texts, words = alone(body)
    assert points == {"center": [30.5, 20.5], "index": [30, 20], "resize_argmax": [60, 40], "dark": [30, 20]}
    assert texts == 6
    assert words[0].startswith("PackageMissingError: crops, photos and drawing need OpenCV")
    assert "run `pip install opencv-python-headless`" in words[0]
    assert "run `pip install pandas`" in words[1]


@pytest.mark.parametrize("path", [pytest.param(str(path), id=path.suffix) for path in zoo.bundled()])
def test_an_engine_and_boxes_need_no_opencv(path: str) -> None:
    """Which an app with a detector of its own can leave out; looking for faces needs it, and says so."""
    pytest.importorskip("onnxruntime" if path.endswith(".onnx") else "ai_edge_litert", reason="runs the file")
    body = """
Absent.names = ("cv2",)
image = np.random.RandomState(0).randint(0, 256, (240, 320, 3)).astype(np.uint8)
with edgelm.Runtime(sys.argv[1]) as runtime:
    xy, score = runtime(image, [[80, 60, 240, 220]])
    late = ("csv", "edgelm.flip", "edgelm.nms", "edgelm.roi", "edgelm.schemes", "edgelm.tables", "edgelm.testvector")
    early = [name for name in late if name in sys.modules]  # a start pays for what it uses
    print(json.dumps([xy.shape, bool(np.isfinite(xy).all()), early, said(runtime, image)]))
"""
    shape, finite, early, words = alone(body, path)
    assert early == []
    assert shape == [1, 68, 2]
    assert finite
    assert words.startswith("PackageMissingError: crops, photos and drawing need OpenCV")
