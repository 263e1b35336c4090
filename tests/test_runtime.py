"""The runtime around a network that is known exactly: from pixels to landmarks without any engine."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgelm import geometry
from edgelm.crops import get_crop
from edgelm.errors import EdgelmError, ModelFileError, UsageError
from edgelm.runtimes.base import Session
from edgelm.runtimes.runtime import Runtime
from edgelm.schemes import get_scheme
from edgelm.spec import Decode, InputSpec, ModelSpec
from edgelm.testvector import make_vector, synthetic_input

HUES = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)  # BGR of the three blobs


def make_spec(rule: Decode = "center", preset: str = "hrnet_face", **changes: Any) -> ModelSpec:
    scheme = dataclasses.replace(get_scheme("lsp14"), names=("blue", "green", "red"), flip_pairs=(), contours=())
    spec = ModelSpec(
        name="colours",
        task="face",
        scheme=scheme,
        input=InputSpec(128, 96, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
        crop=get_crop(preset),
        heatmap_height=64,
        heatmap_width=48,
        decode=rule,
    )
    return dataclasses.replace(spec, **changes)


class ColourSession(Session):
    """A network whose landmark k is the blob of colour k: averages each channel over 2 x 2 pixels."""

    engine: ClassVar[str] = "fake"

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(Path("fake"), spec, engine_version="fake 1", weights_bytes=0, threads=1)
        self.batches: list[int] = []
        self.closed = False

    def _run(self, x: np.ndarray) -> np.ndarray:
        self.batches.append(len(x))
        rgb = x * np.array(self.spec.input.std) + np.array(self.spec.input.mean)
        bgr = rgb[..., ::-1] if self.spec.input.channels == "RGB" else rgb
        # Heatmap pixel i lies at crop coordinate 2 i + 1 (areas), or at crop pixel 2 i of the other families.
        if self.spec.decode == "index":
            bgr = cv2_blur(bgr)[:, ::2, ::2]
        else:
            N, H, W, _ = bgr.shape
            bgr = bgr.reshape(N, H // 2, 2, W // 2, 2, 3).mean((2, 4))
        return np.ascontiguousarray(bgr.transpose(0, 3, 1, 2), np.float32)

    def close(self) -> None:
        """Note that it was called."""
        self.closed = True


def cv2_blur(x: np.ndarray) -> np.ndarray:
    return np.stack([cv2.blur(one, (3, 3)) for one in x])


def blobs(places: np.ndarray, height: int = 240, width: int = 320, sigma: float = 5.0) -> np.ndarray:
    """Three coloured blobs (3, 2) px on black."""
    image = np.zeros((height, width, 3))
    for (x, y), hue in zip(places, HUES, strict=True):
        across, down = (np.exp(-((np.arange(n) - at) ** 2) / (2 * sigma**2)) for n, at in ((width, x), (height, y)))
        image += np.outer(down, across)[..., None] * hue
    return np.rint(image).clip(0, 255).astype(np.uint8)


PLACES = np.array([[120.3, 90.8], [180.6, 100.1], [150.2, 150.7]])
BOX = np.array([[110.0, 75.0, 190.0, 165.0]])


def make_runtime(*arguments: Any, **changes: Any) -> Runtime:
    return Runtime.from_session(ColourSession(make_spec(*arguments, **changes)))


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("rule", ["center", "index"])
@pytest.mark.parametrize("preset", ["hrnet_face", "hrnet_pose", "fan"])
def test_finds_what_is_there(rule: Decode, preset: str, channels: Any) -> None:
    spec = make_spec(rule, preset)
    spec = dataclasses.replace(spec, input=dataclasses.replace(spec.input, channels=channels))
    runtime = Runtime.from_session(ColourSession(spec))
    errors = []
    for shift in np.stack(np.meshgrid(*[np.arange(4) * 0.73] * 2), -1).reshape(-1, 2):
        xy, score = runtime(blobs(PLACES + shift), BOX)
        assert (score > 0.7).all()
        errors.append(xy[0] - (PLACES + shift))
    pixel = 2 / geometry.crop_matrix(BOX, spec.crop, 128, 96)[0, 0, 0]  # image px of a heatmap pixel
    assert np.abs(errors).max() <= 0.5 * pixel
    assert np.abs(np.mean(errors, (0, 1))).max() <= 0.1 * pixel


def test_result_is_complete() -> None:
    runtime = make_runtime()
    result = runtime(blobs(PLACES), BOX)
    assert result.xy.dtype == result.score.dtype == np.float32
    assert result.image_size == (240, 320)
    assert result.scheme is runtime.spec.scheme
    np.testing.assert_array_equal(result.box, BOX)
    np.testing.assert_array_equal(result.crop_matrix, geometry.crop_matrix(BOX, runtime.spec.crop, 128, 96))
    assert set(result.times) == {"detect", "crop", "network", "decode", "total"}
    assert result.times["detect"] == 0
    assert result.times["total"] >= sum(result.times[s] for s in ("crop", "network", "decode")) > 0


def test_steps_alone_give_the_same() -> None:
    runtime = make_runtime()
    image = blobs(PLACES)
    x, matrices = runtime.crop(image, BOX)
    assert x.shape == (1, 128, 96, 3)
    xy, score = runtime.decode(runtime.infer(x), matrices)
    result = runtime(image, BOX)
    np.testing.assert_array_equal(xy, result.xy)
    np.testing.assert_array_equal(score, result.score)


def test_many_boxes_are_batches_and_equal_one_by_one() -> None:
    runtime = make_runtime()
    boxes = BOX + np.linspace(-20, 20, 70)[:, None]
    image = blobs(PLACES)
    result = runtime(image, boxes)
    assert isinstance(runtime.session, ColourSession)
    assert runtime.session.batches == [32, 32, 6]
    for i in (0, 31, 32, 69):
        np.testing.assert_array_equal(result.xy[i], runtime(image, boxes[i]).xy[0])


def test_no_boxes() -> None:
    result = make_runtime()(blobs(PLACES), [])
    assert result.xy.shape == (0, 3, 2)
    assert result.score.shape == (0, 3)
    assert result.crop_matrix.shape == (0, 2, 3)


def test_other_kinds_of_image_give_the_same() -> None:
    runtime = make_runtime()
    image = blobs(PLACES)
    wanted = runtime(image, BOX).xy
    np.testing.assert_array_equal(runtime(image.astype(np.uint16) * 257, BOX).xy, wanted)
    np.testing.assert_array_equal(runtime(np.concatenate([image, image[:, :, :1]], 2), BOX).xy, wanted)
    grey = image[:, :, 0]
    np.testing.assert_array_equal(runtime(grey, BOX).xy, runtime(np.stack([grey] * 3, -1), BOX).xy)
    assert (image == blobs(PLACES)).all()


def test_a_box_beyond_the_image_is_filled_with_black() -> None:
    places = PLACES - (115, 85)  # the first blob at the image's corner
    xy, _ = make_runtime()(blobs(places), BOX - (115, 85, 115, 85))
    np.testing.assert_allclose(xy[0], places, atol=2)


def test_a_black_crop_has_no_points() -> None:
    runtime = make_runtime()
    xy, score = runtime(np.zeros((240, 320, 3), np.uint8), BOX)
    assert (score <= 1e-6).all()
    assert np.isfinite(xy).all()


@pytest.mark.parametrize("boxes", [[[400, 10, 500, 90]], [[10, 10, 5, 90]], [[0, 0, np.nan, 9]], "1,2,3,4"])
def test_wrong_boxes(boxes: Any) -> None:
    with pytest.raises(UsageError, match="box"):
        make_runtime()(blobs(PLACES), boxes)


def test_wrong_images() -> None:
    for image in (np.zeros((240, 320, 3)), np.zeros((0, 0, 3), np.uint8), None):
        with pytest.raises(UsageError, match="image"):
            make_runtime()(image, BOX)  # type: ignore[arg-type]


def test_detectors() -> None:
    runtime = make_runtime()
    image = blobs(PLACES)
    kinds: list[Any] = [BOX, (BOX, np.ones(1)), BOX.tolist()]
    for found in kinds:
        result = runtime(image, detector=Mock(return_value=found))
        np.testing.assert_array_equal(result.box, BOX)
        assert result.times["detect"] > 0
    assert len(runtime(image, detector=lambda seen: np.zeros((0, 4)))) == 0
    assert len(runtime(image)) == 0, "no face among three blobs"


def test_a_pose_model_needs_boxes() -> None:
    with pytest.raises(UsageError, match="colours is a pose model; pass boxes or a detector"):
        make_runtime(task="pose")(blobs(PLACES))


def test_opencv_keeps_its_threads() -> None:
    before = cv2.getNumThreads()
    seen = []

    def detector(image: np.ndarray) -> np.ndarray:
        seen.append(cv2.getNumThreads())
        return BOX

    make_runtime()(blobs(PLACES), detector=detector)
    assert seen == [1]
    assert cv2.getNumThreads() == before


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2", None])
def test_wrong_threads(threads: Any) -> None:
    with pytest.raises(UsageError, match="threads"):
        Runtime.from_session(ColourSession(make_spec()), threads=threads)


@pytest.mark.parametrize("name", ["none.onnx", "none.tflite", "model.pt", "model"])
def test_wrong_model_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(EdgelmError, match=r"none|model"):
        Runtime(tmp_path / name)


def test_closes_its_session() -> None:
    session = ColourSession(make_spec())
    with Runtime.from_session(session) as runtime:
        assert runtime.session is session
    assert session.closed


def test_selftest() -> None:
    plain = make_runtime()
    with pytest.raises(ModelFileError, match="no test vector"):
        plain.selftest()
    vector = make_vector(plain.infer, plain.spec, seed=5)
    assert vector is not None
    assert any(vector.decidable)
    runtime = Runtime.from_session(
        ColourSession(ModelSpec.from_json(dataclasses.replace(plain.spec, test_vector=vector).to_json()))
    )
    report = runtime.selftest()
    assert report.passed
    assert report.worst_px == 0
    assert report.worst_score == 0
    broken = dataclasses.replace(vector, xy=tuple((x + 1, y) for x, y in vector.xy))
    runtime.spec = dataclasses.replace(plain.spec, test_vector=broken)
    report = runtime.selftest()
    assert not report.passed
    assert report.worst_px == pytest.approx(1)
    runtime.spec = dataclasses.replace(plain.spec, test_vector=dataclasses.replace(broken, decidable=(False,) * 3))
    assert runtime.selftest().passed, "points that were near ties at export are not held to the tolerance"
    louder = dataclasses.replace(vector, score=tuple(s + 0.5 for s in vector.score))
    runtime.spec = dataclasses.replace(plain.spec, test_vector=louder)
    assert not runtime.selftest().passed


def test_synthetic_input_is_pinned() -> None:
    """These bytes are in model files: a change of the generator would fail every file's self-test."""
    x = synthetic_input(3, 40, 56)
    assert x.shape == (1, 40, 56, 3)
    assert x.dtype == np.float32
    assert 0 <= x.min() < x.max() <= 1
    assert x.std() > 0.05
    np.testing.assert_array_equal(x, synthetic_input(3, 40, 56))
    assert (x != synthetic_input(4, 40, 56)).any()
    digest = hashlib.sha256(x.astype("<f4").tobytes()).hexdigest()
    assert digest == "937d99ecfc326d7f9b405fd1e885e4d47bb9a110582ae39a19bc6d4413fa439b"


def test_selftest_vector_of_a_network_that_hangs_on_rounding() -> None:
    """Points that a change of one rounding moves are no landmarks to hold a device to; most of them: no vector."""
    spec = make_runtime().spec
    K, h, w = len(spec.scheme.names), spec.heatmap_height, spec.heatmap_width
    x = synthetic_input(5, spec.input.height, spec.input.width)

    def run(image: NDArray[Any], moving: int) -> NDArray[Any]:
        maps = np.zeros((1, K, h, w), np.float32)
        maps[:, :, h // 2, w // 2] = 1
        maps[:, :, h // 2, w // 2 + 1] = maps[:, :, h // 2 + 1, w // 2] = 0.5
        if not np.array_equal(image, x):
            maps[:, :moving] = np.roll(maps[:, :moving], 1, axis=-1)
            maps *= 1.01
        return maps

    vector = make_vector(lambda image: run(image, 1), spec, seed=5, rounding=1e-3, margin=0)
    assert vector is not None
    assert vector.decidable == (False,) + (True,) * (K - 1)
    assert vector.tolerance_score == pytest.approx(0.04, rel=1e-3), "four times the change that was seen"
    assert make_vector(lambda image: run(image, K), spec, seed=5, rounding=1e-3) is None
