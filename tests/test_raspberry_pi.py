"""docs/raspberry-pi.md: its programs run, with a photo in place of the camera, and its commands and names exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from bundled import lay_out

from edgelm.cli.advice import LAST_TFLITE_RUNTIME
from edgelm.runtimes.onnx import onnx_problem
from edgelm.runtimes.tflite import tflite_problem

PAGE = Path(__file__).parents[1] / "docs" / "raspberry-pi.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the documentation lies in the checkout only")

# Three frames and then the end, from either camera.
CAMERAS = """
import cv2

class Camera:
    frames = 0

    def capture_array(self):
        Camera.frames += 1
        if Camera.frames > 3:
            print("frames", Camera.frames - 1)
            raise SystemExit
        return cv2.imread("photo.jpg")

    def read(self):
        return True, self.capture_array()

    def create_video_configuration(self, main):
        assert main == {"size": (640, 480), "format": "RGB888"}
        return main

    def configure(self, configuration):
        pass

    def start(self):
        pass
"""


def text() -> str:
    return PAGE.read_text()


def programs() -> list[str]:
    return re.findall(r"```python\n(.*?)```", text(), re.DOTALL)


@pytest.mark.parametrize("index", [0, 1])
def test_the_camera_programs(tmp_path: Path, index: int) -> None:
    lay_out(tmp_path)
    (tmp_path / "picamera2.py").write_text(f"{CAMERAS}\nPicamera2 = Camera\n")
    usb = f"{CAMERAS}\ncv2.VideoCapture = lambda number: Camera()\n" if "VideoCapture" in programs()[index] else ""
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", usb + programs()[index]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "frames 3\n"
    drawn, original = cv2.imread(str(tmp_path / "points.jpg")), cv2.imread(str(tmp_path / "photo.jpg"))
    assert drawn is not None
    assert original is not None
    assert drawn.shape == original.shape


def test_there_are_two_programs() -> None:
    assert len(programs()) == 2


def test_its_commands_exist() -> None:
    app = pytest.importorskip("edgelm.cli.app", reason="the command line needs the extra [cli]").app
    known = {(c.name or c.callback.__name__) for c in app.registered_commands}
    named = set(re.findall(r"bin/edgelm (\w+)", text()))
    assert named == {"doctor", "selftest", "run", "bench"}
    assert named <= known


def test_each_way_has_three_commands() -> None:
    ways = [block for block in re.findall(r"```sh\n(.*?)```", text(), re.DOTALL) if "apt install" in block]
    assert [len(block.splitlines()) for block in ways] == [3, 3, 3]


def test_it_agrees_with_what_doctor_advises() -> None:
    assert LAST_TFLITE_RUNTIME == (3, 11)
    assert "for Python up to 3.11" in text()
    assert "sudo apt install opencv-data" in text()


def test_messages_in_its_table_are_the_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgelm.runtimes import onnx, tflite

    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr(onnx, "package_version", lambda package: f"{package} 1.21.0")
    assert '"onnxruntime>=1.21.1"' in (onnx_problem() or "")
    assert '`pip install "onnxruntime>=1.21.1"`' in text()
    installed = {"tflite-runtime": "tflite-runtime 2.14.0", "numpy": "numpy 2.0.1"}
    monkeypatch.setattr(tflite, "package_version", installed.get)
    assert "works with numpy 1 and numpy 2" in (tflite_problem() or "")
    assert "works with numpy 1 and numpy 2" in text()
