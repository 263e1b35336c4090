"""Runtime: photos in, landmarks out, with one model file.

Ties the pure steps together: `crop` (edgelm.geometry), `infer` (a session of an inference engine), `decode`
(edgelm.decode). Which engine reads which file is `edgelm.runtimes.engines`. What only some calls need is imported by
them, for an app waits for its first landmarks.
N = boxes, K = landmarks, H, W = the network's input size, h, w = a heatmap's size.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelm import decode, geometry
from edgelm.boxes import check_boxes
from edgelm.errors import UsageError
from edgelm.images import as_bgr8
from edgelm.landmarks import Landmarks
from edgelm.refine import Refine
from edgelm.runtimes.base import Session, check_threads
from edgelm.runtimes.cropping import cut_crops
from edgelm.runtimes.decoding import decode_maps
from edgelm.runtimes.detections import Detector, detect
from edgelm.runtimes.native.crops import native_crop
from edgelm.spec import ModelSpec

if TYPE_CHECKING:
    from edgelm.runtimes.frames import Frame
    from edgelm.runtimes.track import Tracked, TrackOptions
    from edgelm.testvector import SelftestReport

__all__ = ["Detector", "Runtime"]

Array = npt.NDArray[Any]

_BATCH = 32
_STAGES = ("detect", "crop", "network", "decode")


class Runtime:
    """One loaded model.

        with Runtime("face.onnx") as runtime:
            xy, score = runtime(image_bgr)

    May be called from several threads. In the child of a fork a runtime with one thread works on; one with more has
    lost its threads there and says so: open it in the process that uses it.
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
        self._process = os.getpid()

    def __call__(
        self,
        image: Array,
        boxes: Any = None,
        *,
        detector: Detector | None = None,
        rotation: Any = 0.0,
        flip_test: bool = False,
        refinement: Refine = "rule",
        nms: float | None = None,
    ) -> Landmarks:
        """Find the landmarks of each box.

        Args:
            image: (H, W, 3) uint8 BGR, or any kind `edgelm.images.as_bgr8` takes.
            boxes: (N, 4) x1, y1, x2, y2 image px; N may be 0. They may reach beyond the image, not lie outside it.
                Or Landmarks, of an earlier frame or pass: crops are laid around them, upright with each head.
            detector: finds the boxes where none are given, see `edgelm.runtimes.detections`; for face models
                `edgelm.runtimes.detect.find_faces` is the default.
            rotation: degrees that the content of each crop is turned by, clockwise: one number or (N,).
            flip_test: run the mirror image of each crop too, see `edgelm.flip`; takes twice the time.
            refinement: of the peaks, see `edgelm.refine`; "rule" is how the network was evaluated.
            nms: keep one of the results whose OKS is above this, see `edgelm.nms`; HRNet takes 0.9.

        Raises:
            UsageError: an image or box that cannot be used; a detector that fails; or a pose model without boxes and
                detector.
        """
        begin = time.perf_counter()
        times = dict.fromkeys(_STAGES, 0.0)
        sure = None
        with self._opencv(boxes):
            image = as_bgr8(image)
            size = (image.shape[0], image.shape[1])
            if isinstance(boxes, Landmarks):
                from edgelm.roi import turned_boxes

                boxes, turn = turned_boxes(boxes.xy, boxes.scheme, self.spec.crop, score=boxes.score, boxes=boxes.box)
                rotation = turn + np.asarray(rotation)
            elif boxes is None:
                with _timed(times, "detect"):
                    boxes, sure = self._detect(image, detector)
            boxes = check_boxes(boxes, size)
            angles = _checked_rotation(rotation, len(boxes))
            starts = range(0, max(len(boxes), 1), _BATCH)
            chunks = [slice(start, start + _BATCH) for start in starts]
            parts = [self._find(image, boxes[c], angles[c], times, flip_test, refinement) for c in chunks]
        xy, score, matrices = (np.concatenate(part) for part in zip(*parts, strict=True))
        found = Landmarks(
            xy=xy,
            score=score,
            box=boxes,
            crop_matrix=matrices,
            scheme=self.spec.scheme,
            image_size=size,
            times=times,
            box_score=sure,
        )
        if nms is not None:
            from edgelm.nms import suppress

            found = suppress(found, threshold=nms, areas=self._crop_areas(matrices))
        times["total"] = (time.perf_counter() - begin) * 1e3
        return found

    def track(
        self,
        frames: "Iterable[Frame | Array]",
        *,
        detector: Detector | None = None,
        options: "TrackOptions | None" = None,
        fps: float = 30.0,
        flip_test: bool = False,
        refinement: Refine = "rule",
    ) -> "Iterator[Tracked]":
        """Follow persons through the frames of a video or camera, see `edgelm.runtimes.track.track`.

        `flip_test` and `refinement` are those of a call.
        """
        from edgelm.runtimes.track import track

        finder = Configured(self, flip_test=flip_test, refinement=refinement)
        return track(finder, frames, detector=detector, options=options, fps=fps)

    def crop(self, image: Array, boxes: Array, *, rotation: Array | float = 0.0) -> tuple[Array, Array]:
        """The network's inputs for boxes (N, 4) of an image (H, W, 3) uint8 BGR, each turned by `rotation` degrees.

        Returns:
            (N, H, W, 3) float32, whose memory lies as the engine reads it (`edgelm.geometry.empty_batch`), and the
            matrices (N, 2, 3) float64 from image px to crop coordinates.
        """
        size = self.spec.input
        matrices = geometry.crop_matrix(boxes, self.spec.crop, size.height, size.width, rotation)
        return cut_crops(image, matrices, self.spec, self.session.layout), matrices

    def infer(self, x: Array, *, flip_test: bool = False) -> Array:
        """Run the network on (N, H, W, 3) float32 -> heatmaps (N, K, h, w) float32.

        With `flip_test` they are the mean over each crop and its mirror image.
        """
        if self.threads > 1 and os.getpid() != self._process:
            raise UsageError(
                f"this runtime was opened with {self.threads} threads before the process forked, and they do not exist "
                "here; open it in the process that uses it, or with threads=1"
            )
        plain = self.session.run(x)
        if not flip_test:
            return plain
        from edgelm import flip

        return flip.merge(plain, self.session.run(flip.mirrored(x)), self.spec)

    def decode(self, heatmaps: Array, matrices: Array, *, refinement: Refine = "rule") -> tuple[Array, Array]:
        """Heatmaps (N, K, h, w) and their crops' matrices (N, 2, 3) -> xy (N, K, 2) image px and score (N, K)."""
        uv, score = decode_maps(heatmaps, self.spec, refinement=refinement)
        return decode.to_image(uv, matrices, self.spec), score

    def selftest(self) -> "SelftestReport":
        """Replay the test vector that the model file holds, see `edgelm.testvector`."""
        from edgelm.testvector import replay

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

    def _opencv(self, boxes: Any) -> AbstractContextManager[None]:
        """OpenCV with this runtime's threads, where a call may use it; detectors may, too."""
        if boxes is not None and self.spec.decode != "resize_argmax" and native_crop() is not None:
            return nullcontext()
        from edgelm.runtimes.opencv_threads import opencv_threads

        return opencv_threads(self.threads)

    def _detect(self, image: Array, detector: Detector | None) -> tuple[Array, Array | None]:
        if detector is None:
            if self.spec.task != "face":
                raise UsageError(f"{self.spec.name} is a {self.spec.task} model; pass boxes or a detector")
            from edgelm.runtimes.detect import find_faces

            detector = find_faces
        boxes, scores, _ = detect(detector, image)
        return boxes, scores

    def _find(
        self, image: Array, boxes: Array, rotation: Array, times: dict[str, float], flip_test: bool, refinement: Refine
    ) -> tuple[Array, Array, Array]:
        with _timed(times, "crop"):
            x, matrices = self.crop(image, boxes, rotation=rotation)
        with _timed(times, "network"):
            heatmaps = self.infer(x, flip_test=flip_test)
        with _timed(times, "decode"):
            xy, score = self.decode(heatmaps, matrices, refinement=refinement)
        return xy, score, matrices

    def _crop_areas(self, matrices: Array) -> Array:
        """The areas (N,) px^2 of crops, which is what HRNet's OKS counts as a person's."""
        areas: Array = self.spec.input.height * self.spec.input.width / np.linalg.det(matrices[:, :, :2])
        return areas


class Configured:
    """A runtime whose calls take these options where none are given: what follows persons knows nothing of them."""

    def __init__(self, runtime: Runtime, *, flip_test: bool, refinement: Refine) -> None:
        self.spec = runtime.spec
        self._runtime, self._flip_test, self._refinement = runtime, flip_test, refinement

    def __call__(self, image: Array, boxes: Any = None, *, detector: Any = None) -> Landmarks:
        """As `Runtime`."""
        return self._runtime(image, boxes, detector=detector, flip_test=self._flip_test, refinement=self._refinement)


def _checked_rotation(rotation: Any, count: int) -> Array:
    angles = np.asarray(rotation, np.float64)
    if angles.shape not in ((), (1,), (count,)) or not np.isfinite(angles).all():
        raise UsageError(f"expected a rotation in degrees, one or {count} of them, got {str(rotation)[:80]}")
    return np.broadcast_to(angles, (count,))


@contextmanager
def _timed(times: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    times[stage] += (time.perf_counter() - begin) * 1e3
