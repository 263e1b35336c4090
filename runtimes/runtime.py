"""Runtime: photos in, landmarks out, with one model file.

Ties the pure steps together: `crop` (edgelm.geometry), `infer` (a session of an inference engine), `decode`
(edgelm.decode). Which engine reads which file is `edgelm.runtimes.engines`.
N = boxes, K = landmarks, H, W = the network's input size, h, w = a heatmap's size.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelm import decode, geometry
from edgelm.boxes import check_boxes
from edgelm.errors import UsageError
from edgelm.images import as_bgr8
from edgelm.landmarks import Landmarks
from edgelm.runtimes.base import Session, check_threads
from edgelm.spec import ModelSpec
from edgelm.testvector import SelftestReport, replay

if TYPE_CHECKING:
    from edgelm.runtimes.frames import Frame
    from edgelm.runtimes.track import Tracked, TrackOptions

__all__ = ["Detector", "Runtime"]

Array = npt.NDArray[Any]
Detector = Callable[[Array], Any]
"""An image (H, W, 3) uint8 BGR -> boxes (N, 4) x1, y1, x2, y2 image px, or a tuple of boxes and anything."""

_BATCH = 32
_STAGES = ("detect", "crop", "network", "decode")


class Runtime:
    """One loaded model.

        with Runtime("face.onnx") as runtime:
            xy, score = runtime(image_bgr)

    May be called from several threads.
    """

    def __init__(
        self, path: str | PathLike[str], *, threads: int = 1, engine: str | None = None, low_memory: bool = False
    ) -> None:
        """Load a model.

        Args:
            path: an exported model; its suffix says which engine runs it.
            threads: of the engine, and of OpenCV while a call runs.
            engine: by name, where several can run the file.
            low_memory: keep low-bit weights under two bits each in memory, even where that is slower.
        """
        from edgelm.runtimes.engines import open_session

        check_threads(threads)
        self._start(open_session(path, threads=threads, engine=engine, low_memory=low_memory), threads)

    @classmethod
    def from_session(cls, session: Session, *, threads: int = 1) -> "Runtime":
        """A runtime around an open session, which it will close."""
        check_threads(threads)
        runtime = cls.__new__(cls)
        runtime._start(session, threads)
        return runtime

    def _start(self, session: Session, threads: int) -> None:
        self.session = session
        self.spec: ModelSpec = session.spec
        self.threads = threads

    def __call__(self, image: Array, boxes: Any = None, *, detector: Detector | None = None) -> Landmarks:
        """Find the landmarks of each box.

        Args:
            image: (H, W, 3) uint8 BGR, or any kind `edgelm.images.as_bgr8` takes.
            boxes: (N, 4) x1, y1, x2, y2 image px; N may be 0. They may reach beyond the image, not lie outside it.
            detector: finds the boxes where none are given; for face models `edgelm.runtimes.detect.find_faces` is the
                default.

        Raises:
            UsageError: an image or box that cannot be used; or a pose model without boxes and detector.
        """
        begin = time.perf_counter()
        times = dict.fromkeys(_STAGES, 0.0)
        with _opencv_threads(self.threads):
            image = as_bgr8(image)
            if boxes is None:
                with _timed(times, "detect"):
                    boxes = self._detect(image, detector)
            boxes = check_boxes(boxes, (image.shape[0], image.shape[1]))
            parts = [self._find(image, boxes[i : i + _BATCH], times) for i in range(0, max(len(boxes), 1), _BATCH)]
        xy, score, matrices = (np.concatenate(part) for part in zip(*parts, strict=True))
        times["total"] = (time.perf_counter() - begin) * 1e3
        return Landmarks(
            xy=xy,
            score=score,
            box=boxes,
            crop_matrix=matrices,
            scheme=self.spec.scheme,
            image_size=(image.shape[0], image.shape[1]),
            times=times,
        )

    def track(
        self,
        frames: "Iterable[Frame | Array]",
        *,
        detector: Detector | None = None,
        options: "TrackOptions | None" = None,
        fps: float = 30.0,
    ) -> "Iterator[Tracked]":
        """Follow persons through the frames of a video or camera, see `edgelm.runtimes.track.track`."""
        from edgelm.runtimes.track import track

        return track(self, frames, detector=detector, options=options, fps=fps)

    def crop(self, image: Array, boxes: Array) -> tuple[Array, Array]:
        """The network's inputs for boxes (N, 4) of an image (H, W, 3) uint8 BGR.

        Returns:
            (N, H, W, 3) float32 and the matrices (N, 2, 3) float64 from image px to crop coordinates.
        """
        size = self.spec.input
        matrices = geometry.crop_matrix(boxes, self.spec.crop, size.height, size.width)
        crops = np.empty((len(matrices), size.height, size.width, 3), np.uint8)
        first_pixel = geometry.first_pixel(self.spec.decode)
        for crop, matrix in zip(crops, matrices, strict=True):
            crop[:] = geometry.warp(image, matrix, size.height, size.width, first_pixel=first_pixel)
        return geometry.normalize(crops, size), matrices

    def infer(self, x: Array) -> Array:
        """Run the network on (N, H, W, 3) float32 -> heatmaps (N, K, h, w) float32."""
        return self.session.run(x)

    def decode(self, heatmaps: Array, matrices: Array) -> tuple[Array, Array]:
        """Heatmaps (N, K, h, w) and their crops' matrices (N, 2, 3) -> xy (N, K, 2) image px and score (N, K)."""
        uv, score = decode.decode(heatmaps, self.spec.decode, self.spec.score)
        return decode.to_image(uv, matrices, self.spec), score

    def selftest(self) -> SelftestReport:
        """Replay the test vector that the model file holds, see `edgelm.testvector`."""
        return replay(self.infer, self.spec)

    def close(self) -> None:
        """Release the engine's memory."""
        self.session.close()

    def __enter__(self) -> "Runtime":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _detect(self, image: Array, detector: Detector | None) -> Any:
        if detector is None:
            if self.spec.task != "face":
                raise UsageError(f"{self.spec.name} is a {self.spec.task} model; pass boxes or a detector")
            from edgelm.runtimes.detect import find_faces

            detector = find_faces
        found = detector(image)
        return found[0] if isinstance(found, tuple) else found

    def _find(self, image: Array, boxes: Array, times: dict[str, float]) -> tuple[Array, Array, Array]:
        with _timed(times, "crop"):
            x, matrices = self.crop(image, boxes)
        with _timed(times, "network"):
            heatmaps = self.infer(x)
        with _timed(times, "decode"):
            xy, score = self.decode(heatmaps, matrices)
        return xy, score, matrices


@contextmanager
def _timed(times: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    times[stage] += (time.perf_counter() - begin) * 1e3


@contextmanager
def _opencv_threads(threads: int) -> Iterator[None]:
    """OpenCV's thread count is one for the whole process: of calls that overlap, the last one puts it back."""
    import cv2

    with _opencv.lock:
        if _opencv.calls == 0:
            _opencv.before = cv2.getNumThreads()
        _opencv.calls += 1
        cv2.setNumThreads(threads)
    try:
        yield
    finally:
        with _opencv.lock:
            _opencv.calls -= 1
            if _opencv.calls == 0:
                cv2.setNumThreads(_opencv.before)


class _OpenCV:
    """How many calls have changed OpenCV's thread count, and what it was before the first of them."""

    def __init__(self) -> None:
        self.lock, self.calls, self.before = Lock(), 0, 1


_opencv = _OpenCV()
