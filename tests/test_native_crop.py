"""The native library's crops are OpenCV's, bit for bit."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples
from test_runtime import BOX, ColourSession, make_spec

from edgelm import geometry
from edgelm.runtimes import cropping
from edgelm.runtimes.native.crops import native_crop
from edgelm.runtimes.runtime import Runtime
from edgelm.spec import InputSpec

NATIVE = native_crop()
RANDOM = np.random.RandomState(0)
PHOTO = RANDOM.randint(0, 256, (130, 170, 3)).astype(np.uint8)


def both(
    image: np.ndarray, matrix: np.ndarray, spec: InputSpec, layout: geometry.Layout, first_pixel: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """The crop by the library and by OpenCV."""
    assert NATIVE is not None, "the package has its library"
    ours, theirs = (geometry.empty_batch(1, spec, layout) for _ in range(2))
    ours[:] = np.nan
    NATIVE(image, matrix, spec, first_pixel, ours[0])
    cropping.plain_crop(image, matrix, spec, first_pixel, theirs[0])
    return ours, theirs


@given(
    image=st.tuples(st.integers(1, 130), st.integers(1, 170)),
    size=st.tuples(st.integers(2, 140), st.integers(2, 140)),
    log_scale=st.floats(-4, 4),
    angle=st.one_of(st.just(0.0), st.floats(-180, 180)),
    at=st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5)),
    layout=st.sampled_from(["NCHW", "NHWC"]),
    channels=st.sampled_from(["RGB", "BGR"]),
    first_pixel=st.sampled_from([0.0, 0.5]),
)
@settings(deadline=None, max_examples=examples(200))
def test_the_same_bits(
    image: tuple[int, int],
    size: tuple[int, int],
    log_scale: float,
    angle: float,
    at: tuple[float, float],
    layout: geometry.Layout,
    channels: Literal["RGB", "BGR"],
    first_pixel: float,
) -> None:
    """At any size, scale, angle and place, within the image and without."""
    spec = InputSpec(*size, channels, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    photo = PHOTO[: image[0], : image[1]]
    scale = 2**log_scale
    turn = scale * np.array([[np.cos(a := np.radians(angle)), -np.sin(a)], [np.sin(a), np.cos(a)]])
    place = np.array([size[1] / 2, size[0] / 2]) - turn @ (np.array(at) * photo.shape[1::-1])
    ours, theirs = both(photo, np.c_[turn, place], spec, layout, first_pixel)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("times", range(1, 10))
def test_every_multiple_that_is_averaged_down(times: int) -> None:
    """Nine is drawn eightfold. Every mean occurs, those of ties too."""
    matrix = np.array([[1 / times, 0, 0], [0, 1 / times, 0]])
    spec = InputSpec(130 // times, 170 // times, "BGR")
    assert geometry.drawing(matrix, 0.5)[0] == min(times, 8)
    for image in (PHOTO, PHOTO % 2, np.full_like(PHOTO, 255)):
        np.testing.assert_array_equal(*both(image, matrix, spec, "NHWC"))


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, np.nan], [0, 1, 0]],
        [[1e-300, 0, 0], [0, 1e300, 0]],
        [[1, 0, 1e300], [0, 1, -1e300]],
        [[1e-9, 0, 1e15], [0, 1e-9, 0]],
    ],
)
def test_matrices_that_no_box_gives_read_nothing_outside(matrix: list[list[float]]) -> None:
    """What OpenCV does with them differs from machine to machine; ours is finite."""
    assert NATIVE is not None
    spec = InputSpec(40, 70, "RGB")
    room = geometry.empty_batch(1, spec, "NHWC")
    with np.errstate(all="ignore"):
        NATIVE(PHOTO, np.array(matrix, float), spec, 0.5, room[0])
    assert np.isfinite(room).all()


def test_a_view_of_an_image_is_read_as_what_it_shows() -> None:
    spec, matrix = InputSpec(30, 30, "RGB"), np.array([[0.5, 0, 2], [0, 0.5, 3.0]])
    for view in (PHOTO[::2, ::-1], PHOTO[5:60, 7:99], PHOTO[:, :, ::-1]):
        np.testing.assert_array_equal(*both(view, matrix, spec, "NCHW"))


def test_a_runtime_without_the_library_takes_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime.from_session(ColourSession(make_spec()))
    ours, matrices = runtime.crop(PHOTO, BOX)
    monkeypatch.setattr(cropping, "native_crop", lambda: None)
    theirs, again = runtime.crop(PHOTO, BOX)
    np.testing.assert_array_equal(matrices, again)
    np.testing.assert_array_equal(ours, theirs)
