"""docs/examples: the programs run, on a video in place of a camera."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bundled import PHOTO, READABLE

from edgelm.errors import UsageError
from edgelm.runtimes.frames import open_frames
from edgelm.runtimes.runtime import Runtime
from edgelm.runtimes.track import TrackOptions

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
pytestmark = [
    pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples lie in the checkout only"),
    pytest.mark.skipif(not READABLE or PHOTO is None, reason="no engine for the bundled models, or no photo"),
]
COUNT = 6

PICAMERA = """
import cv2

class Picamera2:
    def create_video_configuration(self, main):
        assert main == {"size": (640, 480), "format": "RGB888"}
        return main

    def configure(self, configuration):
        self.capture = cv2.VideoCapture("a.avi")

    def start(self):
        pass

    def stop(self):
        print("stopped")

    def capture_array(self):
        return self.capture.read()[1]
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portrait's face, moving a little in each frame."""
    image = cv2.imread(str(PHOTO))
    assert image is not None
    path = tmp_path_factory.mktemp("video") / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (240, 240))
    for i in range(COUNT):
        writer.write(image[20 : 20 + 240, 105 - i : 105 - i + 240])
    writer.release()
    return path


def run(folder: Path, *words: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "pi_camera.py"), str(READABLE[0]), *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pi_camera_on_a_video(video: Path, tmp_path: Path) -> None:
    said = run(tmp_path, "--source", str(video), "--save", "points.mp4")
    assert said.count("frames/s, 1 faces") == COUNT
    with open_frames(tmp_path / "points.mp4") as drawn, open_frames(video) as plain:
        pairs = list(zip(drawn, plain, strict=True))
    assert len(pairs) == COUNT
    for one, other in pairs:
        corner = one.image[10:40, 5:200].astype(int) - other.image[10:40, 5:200]
        assert np.abs(corner).max() > 100, "the rate is written there"


def test_pi_camera_with_picamera2(video: Path, tmp_path: Path) -> None:
    (tmp_path / "picamera2.py").write_text(PICAMERA)
    (tmp_path / "a.avi").write_bytes(video.read_bytes())
    said = run(tmp_path)
    assert 1 <= said.count("frames/s, 1 faces") <= COUNT, "frames between are dropped, the last never"
    assert "stopped" in said


@pytest.fixture
def android() -> Any:
    spec = importlib.util.spec_from_file_location("android_landmarks", EXAMPLES / "android_landmarks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.stop()


def nv21(image: np.ndarray) -> bytes:
    """An image (H, W, 3) BGR as Android's camera would give it."""
    height, width = image.shape[:2]
    planar = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    y, u, v = np.split(planar, [height * width, height * width * 5 // 4])
    return bytes(y) + bytes(np.stack([v, u], -1))


def test_android_finds_what_the_library_finds(android: Any, video: Path) -> None:
    with open_frames(video) as source:
        frames = list(source)
    with Runtime(READABLE[0]) as runtime:
        wanted = list(runtime.track(frames, options=TrackOptions(detect_every=15)))
    about = json.loads(android.start(str(READABLE[0])))
    assert about["scheme"] == "300w68"
    assert len(about["names"]) == 68
    for frame, want in zip(frames, wanted, strict=True):
        rgba = cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGBA).reshape(240, 960)
        padded = np.pad(rgba, ((0, 0), (0, 64)), constant_values=77).tobytes()[:-64]
        got = json.loads(android.follow_rgba(padded, 240, 240, 1024, 0, frame.time))
        assert got["frame"] == want.index
        assert [face["track_id"] for face in got["landmarks"]] == [0]
        np.testing.assert_array_equal(np.float32(got["landmarks"][0]["xy"]), want.landmarks.xy[0])


@pytest.mark.parametrize(
    ("rotation", "turned"),
    [(0, None), (90, cv2.ROTATE_90_COUNTERCLOCKWISE), (180, cv2.ROTATE_180), (270, cv2.ROTATE_90_CLOCKWISE)],
)
def test_android_nv21_turned_upright(android: Any, video: Path, rotation: int, turned: int | None) -> None:
    with open_frames(video) as source:
        image = next(iter(source)).image[:, :220]
    with Runtime(READABLE[0]) as runtime:
        want = runtime(image)
    android.start(str(READABLE[0]))
    lying = image if turned is None else cv2.rotate(image, turned)
    got = json.loads(android.follow_nv21(nv21(lying), lying.shape[1], lying.shape[0], rotation, 0.0))
    assert got["image_size"] == [240, 220]
    off = np.array(got["landmarks"][0]["xy"]) - want.xy[0]
    # NV21 has a quarter of the colours, so that detector and network see a slightly other image.
    assert np.median(np.hypot(*off.T)) < 1.5


def test_android_refuses(android: Any) -> None:
    with pytest.raises(UsageError, match="call start first"):
        android.follow_rgba(bytes(64), 4, 4, 16, 0, 0.0)
    android.start(str(READABLE[0]))
    with pytest.raises(UsageError, match="63 bytes are no image of 4 rows of 16 bytes"):
        android.follow_rgba(bytes(63), 4, 4, 16, 0, 0.0)
    for size in ((-4, 4), (4, -4), (0, 4)):
        with pytest.raises(UsageError, match="no image"):
            android.follow_rgba(bytes(64), *size, 16, 0, 0.0)
    with pytest.raises(UsageError, match="no image"):
        android.follow_rgba(bytes(64), 4, 4, 8, 0, 0.0)
    with pytest.raises(UsageError, match="even"):
        android.follow_nv21(bytes(64), 3, 4, 0, 0.0)
    with pytest.raises(UsageError, match="rotation"):
        android.follow_rgba(bytes(64), 4, 4, 16, 45, 0.0)
    assert json.loads(android.follow_rgba(bytes(64), 4, 4, 16, 0, 0.0))["landmarks"] == []
