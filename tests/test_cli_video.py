"""`edgelm run` on moving pictures, with the bundled model: what it finds, and what is left however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bundled import PHOTO, READABLE

from edgelm.runtimes.frames import open_frames
from edgelm.runtimes.runtime import Runtime
from edgelm.runtimes.track import TrackOptions

pytestmark = pytest.mark.skipif(not READABLE or PHOTO is None, reason="no engine for the bundled models, or no photo")

SIZE = (240, 240)
CORNER = (105, 20)
"""Of the part of the photo that is shown in frame 0: the face lies in its middle."""


def shift(frame: int) -> tuple[float, float]:
    """How far the face has moved, px."""
    return 1.5 * frame, 12 * float(np.sin(frame / 5))


def moving_portrait(path: Path, count: int, *, codec: str = "MJPG", fps: float = 30) -> Path:
    """A video of the bundled portrait, moving to the right, up and down."""
    image = cv2.imread(str(PHOTO))
    assert image is not None
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, SIZE)
    for frame in range(count):
        dx, dy = shift(frame % 25)
        move = np.array([[1, 0, dx - CORNER[0]], [0, 1, dy - CORNER[1]]])
        writer.write(cv2.warpAffine(image, move, SIZE, borderMode=cv2.BORDER_REPLICATE))
    writer.release()
    return path


def frames_in(path: Path) -> list[Any]:
    with open_frames(path) as source:
        return [frame.image for frame in source]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    testing = pytest.importorskip("typer.testing", reason="the command line needs the extra [cli]")
    from edgelm.cli.app import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGELM_DEBUG", raising=False)

    def run(*words: object) -> Any:
        result = testing.CliRunner().invoke(app, ["run", str(READABLE[0]), *(str(w) for w in words)])
        assert "Traceback" not in result.output
        return result

    return run


def complains(result: Any, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("edgelm: ")
    for word in words:
        assert word in last


def test_a_moving_face_is_followed(tmp_path: Path) -> None:
    """Its points move as it does, with one id, and the detector looks three times."""
    path = moving_portrait(tmp_path / "a.avi", 22)
    photo = cv2.imread(str(PHOTO))
    assert photo is not None
    with Runtime(READABLE[0]) as runtime, open_frames(path) as source:
        results = list(runtime.track(source, options=TrackOptions(smooth=None)))
        still = runtime(photo)
    assert [r.landmarks.track_id.tolist() for r in results if r.landmarks.track_id is not None] == [[0]] * 22
    assert [r.index for r in results if r.detected] == [0, 10, 20]
    off = [r.landmarks.xy[0] - (still.xy[0] - CORNER + shift(r.index)) for r in results]
    # One heatmap pixel is 1.8 px here; crops lie otherwise than the photo's, and MJPG takes some of the picture.
    assert np.median(np.hypot(*np.array(off).T)) < 1.8
    assert all(np.hypot(*o.mean(0)) < 1.5 for o in off)


def test_to_a_video_and_to_json(call: Any, tmp_path: Path) -> None:
    moving_portrait(tmp_path / "a.avi", 6, fps=12)
    result = call("a.avi", "-o", "out.mp4", "--json", "--detect-every", 4)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["frame"] for line in lines] == list(range(6))
    np.testing.assert_allclose([line["time_s"] for line in lines], np.arange(6) / 12, atol=1e-3)
    assert [line["detected"] for line in lines] == [True, False, False, False, True, False]
    assert all(line["image_size"] == [240, 240] for line in lines)
    assert [[face["track_id"] for face in line["landmarks"]] for line in lines] == [[0]] * 6
    assert len(lines[0]["landmarks"][0]["xy"]) == 68
    drawn, plain = frames_in(tmp_path / "out.mp4"), frames_in(tmp_path / "a.avi")
    assert len(drawn) == len(plain) == 6
    for one, other in zip(drawn, plain, strict=True):
        assert one.shape == other.shape
        assert np.abs(one.astype(int) - other).max() > 100, "points are drawn"
    assert "wrote: " in result.stderr
    assert "frames: 6" in result.stderr


def test_a_folder_of_frames_that_change_size(call: Any, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    image = cv2.imread(str(PHOTO))
    assert image is not None
    for i, size in enumerate([240, 240, 300, 300]):
        part = cv2.resize(image[20:260, 105:345], (size, size))
        cv2.imwrite(str(tmp_path / "frames" / f"{i}.png"), part)
    result = call("frames", "-o", "out.avi", "--json", "--no-smooth", "--fps", 10)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["image_size"] for line in lines] == [[240, 240]] * 2 + [[300, 300]] * 2
    assert [[face["track_id"] for face in line["landmarks"]] for line in lines] == [[0]] * 4
    assert [image.shape for image in frames_in(tmp_path / "out.avi")] == [(240, 240, 3)] * 4


def test_given_boxes_are_followed(call: Any, tmp_path: Path) -> None:
    moving_portrait(tmp_path / "a.avi", 5)
    result = call("a.avi", "--json", "--box", "75,65,165,160")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [len(line["landmarks"]) for line in lines] == [1] * 5
    assert lines[0]["landmarks"][0]["box"] == [75, 65, 165, 160]


def test_points_into_files(call: Any, tmp_path: Path) -> None:
    moving_portrait(tmp_path / "a.avi", 3, fps=10)
    result = call("a.avi", "--save-json", "a.jsonl", "--save-csv", "a.csv", "--json")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.jsonl").read_text() == result.stdout
    head, *rows = (tmp_path / "a.csv").read_text().splitlines()
    assert head.startswith("frame,time_s,")
    assert len(rows) == 3 * 68
    assert [row.split(",")[:2] for row in rows[::68]] == [["0", "0"], ["1", "0.1"], ["2", "0.2"]]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.avi", "a.csv", "a.jsonl"]


def test_points_are_kept_where_a_frame_fails(call: Any, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "frames" / f"{i}.png"), np.full((60, 80, 3), 90, np.uint8))
    (tmp_path / "frames" / "3.png").write_bytes(b"damaged")
    complains(call("frames", "--save-json", "a.jsonl"), 2, "3.png")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    complains(call("frames/3.png", "--save-json", "b.json"), 2, "3.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "frames"]


@pytest.mark.parametrize("options", [{"flip_test": True}, {"refinement": "dark"}, {"refinement": "none"}])
def test_options_of_a_photo_are_those_of_a_frame(tmp_path: Path, options: dict[str, Any]) -> None:
    frames = frames_in(moving_portrait(tmp_path / "a.avi", 2))
    with Runtime(READABLE[0]) as runtime:
        (first, *_) = runtime.track(frames, options=TrackOptions(smooth=None), **options)
        single = runtime(frames[0], first.landmarks.box, **options)
        plain = runtime(frames[0], first.landmarks.box)
    np.testing.assert_allclose(first.landmarks.xy, single.xy, atol=1e-4)
    assert np.abs(first.landmarks.xy - plain.xy).max() > 1e-2


def test_options_on_the_command_line(call: Any, tmp_path: Path) -> None:
    moving_portrait(tmp_path / "a.avi", 1)
    answers = [
        json.loads(call("a.avi", "--json", *more).stdout)["landmarks"][0]["xy"]
        for more in ((), ("--flip-test",), ("--refinement", "dark"))
    ]
    assert answers[0] != answers[1] != answers[2] != answers[0]
    complains(call("a.avi", "--json", "--detector", "none.onnx"), 1, "none.onnx")


def test_a_video_that_is_cut_off(call: Any, tmp_path: Path) -> None:
    path = moving_portrait(tmp_path / "a.avi", 8)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    result = call("a.avi", "-o", "out.mp4")
    assert result.exit_code == 0, result.output
    assert "of the 8 it declares; it may be cut off" in result.stderr
    assert 2 <= len(frames_in(tmp_path / "out.mp4")) < 8


def test_what_fails_in_the_middle_leaves_the_frames_before(call: Any, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "frames" / f"{i}.png"), np.full((60, 80, 3), 90, np.uint8))
    (tmp_path / "frames" / "3.png").write_bytes(b"damaged")
    complains(call("frames", "-o", "out.avi"), 2, "3.png")
    assert len(frames_in(tmp_path / "out.avi")) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frames", "out.avi"]


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["97", "-o", "out.mp4"], 2, "camera 97 is not there"),
        (["none.mp4", "-o", "out.mp4"], 2, "no video file"),
        (["text.mp4", "-o", "out.mp4"], 2, "not a video"),
        (["a.avi"], 2, "-o OUT.mp4"),
        (["a.avi", "-o", "out.gif"], 2, "suffix"),
        (["a.avi", "-o", "none/out.mp4"], 2, "does not exist"),
        (["a.avi", "-o", "a.avi"], 2, "is the video that is read"),
        (["a.avi", "-o", "out.mp4", "--detect-every", "0"], 2, "detect_every"),
        (["a.avi", "-o", "out.mp4", "--fps", "-1"], 2, "fps"),
        (["a.avi", "-o", "out.mp4", "--box", "900,900,990,990"], 2, "outside"),
        (["empty", "-o", "out.mp4"], 2, "holds no images"),
    ],
)
def test_refuses(call: Any, tmp_path: Path, words: list[str], code: int, complaint: str) -> None:
    moving_portrait(tmp_path / "a.avi", 1)
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    (tmp_path / "empty").mkdir()
    before = {p.name: p.stat().st_size for p in tmp_path.iterdir()}
    complains(call(*words), code, complaint)
    assert {p.name: p.stat().st_size for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_the_file_plays(tmp_path: Path, signum: signal.Signals) -> None:
    pytest.importorskip("typer", reason="the command line needs the extra [cli]")
    moving_portrait(tmp_path / "a.avi", 600)
    command = [sys.executable, "-m", "edgelm", "run", str(READABLE[0]), "a.avi", "--json", "-o", "out.mp4"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for _ in range(3):
            assert json.loads(process.stdout.readline())["landmarks"]
        process.send_signal(signum)
        rest, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, said
    assert said.strip().endswith("edgelm: interrupted")
    seen = 3 + len(rest.splitlines())
    assert 3 <= seen < 600
    assert all(json.loads(line) for line in rest.splitlines())
    # The signal may come between writing a frame and its line.
    assert seen <= len(frames_in(tmp_path / "out.mp4")) <= seen + 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.avi", "out.mp4"]


def test_a_reader_that_goes_away_leaves_the_file(tmp_path: Path) -> None:
    pytest.importorskip("typer", reason="the command line needs the extra [cli]")
    moving_portrait(tmp_path / "a.avi", 600)
    command = [sys.executable, "-m", "edgelm", "run", str(READABLE[0]), "a.avi", "--json", "-o", "out.mp4"]
    process = subprocess.Popen(command, cwd=tmp_path, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    begin = time.monotonic()
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) != 0
    assert time.monotonic() - begin < 60
    assert len(frames_in(tmp_path / "out.mp4")) >= 1
