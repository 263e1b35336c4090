"""`edgelm run` on a video, a folder of images or a camera: what is asked for, and what is said and written of it."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgelm.atomic import kept_text
from edgelm.cli.detector import open_detector
from edgelm.cli.output import human, progress
from edgelm.cli.save import check_saves
from edgelm.errors import UsageError

if TYPE_CHECKING:
    from edgelm.refine import Refine
    from edgelm.runtimes.track import Tracked
    from edgelm.video import VideoFile

__all__ = ["VideoRun", "is_video", "run_video"]

_SUFFIXES = frozenset(
    {".3gp", ".avi", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm"}
)
_REPORT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class VideoRun:
    """What the command line asked for."""

    model: Path
    source: Path
    output: Path | None
    boxes: Any
    threads: int
    engine: str | None
    low_memory: bool
    as_json: bool
    detect_every: int
    smooth: bool
    fps: float | None
    detector: str = "haar"
    flip_test: bool = False
    refinement: "Refine" = "rule"
    save_json: Path | None = None
    save_csv: Path | None = None


def is_video(source: Path) -> bool:
    """Whether the argument is a video file, a folder of images, or a camera's number, and not a photo."""
    return source.suffix.lower() in _SUFFIXES or source.is_dir() or (str(source).isdecimal() and not source.exists())


def run_video(asked: VideoRun) -> None:
    """Follow the faces or persons; with --json one line of JSON for each frame, as soon as it is there.

    --save-json writes the same lines, --save-csv one for each point with its frame before it. However it ends, by the
    last frame, an error, Ctrl-C or SIGTERM, every file holds all frames up to there.
    """
    # FFmpeg's own complaints about a damaged file; ours is one sentence.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    from edgelm.runtimes.frames import open_frames
    from edgelm.runtimes.runtime import Runtime
    from edgelm.runtimes.track import TrackOptions
    from edgelm.video import VideoFile

    if asked.output is None and asked.save_json is None and asked.save_csv is None and not asked.as_json:
        raise UsageError(
            "say where the video goes with -o OUT.mp4, or ask for the points with --json, --save-json or --save-csv"
        )
    check_saves(asked.output, asked.save_json, asked.save_csv)
    if asked.output is not None:
        VideoFile(asked.output, fps=1)  # complains before anything is loaded
        if asked.output.exists() and asked.source.exists() and asked.output.samefile(asked.source):
            raise UsageError(f"{asked.output} is the video that is read; name another file to write")
    options = TrackOptions(detect_every=asked.detect_every)
    options = options if asked.smooth else replace(options, smooth=None)
    json_out = sys.stdout if asked.as_json else None
    with ExitStack() as stack:
        stack.enter_context(human(asked.as_json))
        stack.enter_context(_terminated_as_interrupted())
        frames = stack.enter_context(open_frames(_source(asked.source), fps=asked.fps))
        runtime = stack.enter_context(
            Runtime(asked.model, threads=asked.threads, engine=asked.engine, low_memory=asked.low_memory)
        )
        if asked.boxes is None and runtime.spec.task != "face":
            raise UsageError(f"{runtime.spec.name} is a {runtime.spec.task} model; say who to follow with --box")
        engine = f"{runtime.session.engine_version}, {asked.threads} thread{'s' * (asked.threads > 1)}"
        typer.echo(f"model: {asked.model.name} on {engine}")
        video = None if asked.output is None else VideoFile(asked.output, fps=frames.fps)
        report = stack.enter_context(_Report(video))
        if video is not None:
            stack.enter_context(video)
        texts = [
            (stack.enter_context(kept_text(path)), lines)
            for path, lines in ((asked.save_json, _line), (asked.save_csv, _rows))
            if path is not None
        ]
        detector = open_detector(asked.detector)[0] if asked.boxes is None else _only_first(asked.boxes)
        found = runtime.track(
            frames, detector=detector, options=options, flip_test=asked.flip_test, refinement=asked.refinement
        )
        for result in found:
            if video is not None:
                video.write(result.draw(), result.time)
            for file, lines in texts:
                file.write(lines(result, file.tell() == 0))
            if json_out is not None:
                json_out.write(_line(result))
                json_out.flush()
            report.add(result)
        if frames.ending:
            typer.echo(f"note: {frames.ending}", err=True)


def _source(path: Path) -> int | Path:
    return int(str(path)) if str(path).isdecimal() and not path.exists() else path


def _only_first(boxes: Any) -> Any:
    """A detector that finds the given boxes in the first image and nothing after."""
    left = [boxes]
    return lambda image: left.pop() if left else []


def _line(result: "Tracked", first: bool = False) -> str:
    head = {"frame": result.index, "time_s": result.time, "detected": result.detected}
    return json.dumps(head | result.landmarks.to_dict(), separators=(",", ":"), allow_nan=False) + "\n"


def _rows(result: "Tracked", first: bool) -> str:
    head, *rows = result.landmarks.to_csv().splitlines()
    return "".join([f"frame,time_s,{head}\n" * first, *(f"{result.index},{result.time:.6g},{row}\n" for row in rows)])


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Within the block SIGTERM ends work as Ctrl-C does: a service that is stopped leaves a whole file too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Report:
    """What is said while frames come, and at the end of them, whatever ended them."""

    def __init__(self, video: "VideoFile | None") -> None:
        self._video, self._begin = video, time.perf_counter()
        self._said, self._frames, self._detections, self._ids = self._begin, 0, 0, set[int]()
        self._times: dict[str, float] = {}

    def __enter__(self) -> "_Report":
        return self

    def add(self, result: "Tracked") -> None:
        self._frames += 1
        self._detections += result.detected
        self._ids.update(() if result.landmarks.track_id is None else result.landmarks.track_id.tolist())
        for stage, ms in result.landmarks.times.items():
            self._times[stage] = self._times.get(stage, 0.0) + ms
        now = time.perf_counter()
        if now - self._said > _REPORT_S:
            self._said = now
            progress(f"frame {result.index}: {len(result.landmarks)} followed, {self._rate(now):.1f} frames/s")

    def __exit__(self, *_: object) -> None:
        if self._frames:
            rate = self._rate(time.perf_counter())
            ids = f"{len(self._ids)} id{'s' * (len(self._ids) != 1)}"
            typer.echo(f"frames: {self._frames}, {rate:.1f} in a second, {self._detections} with the detector; {ids}")
            means = (f"{stage} {ms / self._frames:.1f} ms" for stage, ms in self._times.items())
            typer.echo(f"times of a frame: {', '.join(means)}")
        if self._video is not None and self._video.written:
            typer.echo(f"wrote: {self._video.path}")

    def _rate(self, now: float) -> float:
        return self._frames / max(now - self._begin, 1e-9)
