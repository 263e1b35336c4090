"""Crops straight into the engine's layout, equal to the plain way, and back: for every preset, box and rotation."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples
from test_geometry import gaussian, model_spec
from test_runtime import BOX, PLACES, ColourSession, blobs, make_runtime, make_spec

from edgelm import decode, geometry
from edgelm.crops import crop_names, get_crop
from edgelm.errors import UsageError
from edgelm.landmarks import Landmarks
from edgelm.roi import turned_boxes
from edgelm.runtimes.runtime import Runtime
from edgelm.spec import Decode, InputSpec

PHOTO = np.random.RandomState(0).randint(0, 256, (90, 120, 3)).astype(np.uint8)
FAMILY: dict[str, tuple[Decode, int, int, int]] = {
    "hrnet_pose": ("index", 256, 192, 4),
    "mpii": ("index", 256, 256, 4),
    "sdu": ("resize_argmax", 128, 128, 2),
}
"""Decode rule, input height and width, stride of each preset's networks; all others are `center`, 256, 256, 4."""


class PlanarSession(ColourSession):
    """The same network, in an engine that reads channel by channel."""

    layout = "NCHW"


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_written_in_place_is_the_same(layout: geometry.Layout, channels: str) -> None:
    spec = InputSpec(7, 5, channels, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))  # type: ignore[arg-type]
    crops = PHOTO[:14].reshape(2, 7, -1, 3)[:, :, :5].copy()
    batch = geometry.empty_batch(2, spec, layout)
    assert batch.shape == (2, 7, 5, 3)
    for crop, room in zip(crops, batch, strict=True):
        assert geometry.normalize(crop, spec, out=room) is room
    np.testing.assert_array_equal(batch, geometry.normalize(crops, spec))
    memory = batch if layout == "NHWC" else batch.transpose(0, 3, 1, 2)
    assert memory.flags.c_contiguous, "what the engine makes contiguous must not be copied"


def test_room_that_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"expected an output array \(4, 6, 3\) float32, got \(4, 5, 3\)"):
        geometry.normalize(PHOTO[:4, :6], InputSpec(4, 6), out=np.empty((4, 5, 3), np.float32))
    with pytest.raises(UsageError, match=r"expected an output array \(4, 6, 3\) uint8, got \(4, 6, 3\) float32"):
        geometry.warp(PHOTO, np.eye(2, 3), 4, 6, out=np.empty((4, 6, 3), np.float32))


@pytest.mark.parametrize("side", [10, 60, 200])
def test_a_warp_into_given_room_is_the_same(side: int) -> None:
    """At an enlarging crop, a shrinking one, and one that is averaged down."""
    matrix = geometry.crop_matrix(np.array([[5, 5, 5 + side, 5 + side]]), make_spec().crop, 32, 24, rotation=11)[0]
    room = np.full((32, 24, 3), 9, np.uint8)
    assert geometry.warp(PHOTO, matrix, 32, 24, out=room) is room
    np.testing.assert_array_equal(room, geometry.warp(PHOTO, matrix, 32, 24))


@pytest.mark.parametrize("session", [ColourSession, PlanarSession])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_batch_is_its_crops_one_by_one(session: type[ColourSession], count: int) -> None:
    runtime = Runtime.from_session(session(make_spec()))
    boxes = BOX + np.arange(count)[:, None] * 9.3
    angles = np.arange(count) * 17.0
    x, matrices = runtime.crop(PHOTO, boxes, rotation=angles)
    assert x.shape == (count, 128, 96, 3)
    assert x.dtype == np.float32
    for i in range(count):
        cut = geometry.warp(PHOTO, matrices[i], 128, 96)
        np.testing.assert_array_equal(x[i], geometry.normalize(cut, runtime.spec.input))
        assert matrices[i] == pytest.approx(geometry.crop_matrix(boxes[i], runtime.spec.crop, 128, 96, angles[i])[0])


def test_both_layouts_give_the_same_landmarks() -> None:
    image = blobs(PLACES)
    plain, planar = (Runtime.from_session(kind(make_spec()))(image, BOX) for kind in (ColourSession, PlanarSession))
    np.testing.assert_array_equal(plain.xy, planar.xy)


def test_outside_the_image_is_black_before_it_is_normalized() -> None:
    runtime = make_runtime()
    x, _ = runtime.crop(np.full((20, 20, 3), 255, np.uint8), np.array([[10, 10, 200, 200.0]]))
    size = runtime.spec.input
    black = (0 - np.array(size.mean)) / np.array(size.std)
    np.testing.assert_allclose(x[0, -1], np.broadcast_to(black, (96, 3)), rtol=1e-6)


@given(
    corner=st.tuples(st.floats(-50, 400), st.floats(-50, 400)),
    size=st.tuples(st.floats(20, 500), st.floats(20, 500)),
    angle=st.floats(-180, 180),
    preset=st.sampled_from(crop_names()),
    at=st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)),
)
@settings(deadline=None, max_examples=examples(150))
def test_each_preset_comes_back_within_a_quarter_pixel_of_its_own_heatmap(
    corner: tuple[float, float], size: tuple[float, float], angle: float, preset: str, at: tuple[float, float]
) -> None:
    """With the input, stride and decode rule that the preset's networks have."""
    rule, height, width, stride = FAMILY.get(preset, ("center", 256, 256, 4))
    spec = model_spec(rule, preset, height, width, stride)
    box = np.array([[*corner, corner[0] + size[0], corner[1] + size[1]]])
    matrix = geometry.crop_matrix(box, spec.crop, height, width, rotation=angle)
    in_crop = np.array([at[0] * width, at[1] * height])
    place = {"index": in_crop / stride, "center": in_crop / stride - 0.5}.get(rule, (in_crop + 0.5) / stride - 0.5)
    maps = gaussian(spec.heatmap_height, spec.heatmap_width, *place)[None, None]
    found = decode.to_image(decode.decode(maps, rule)[0], matrix, spec)
    back = geometry.apply(matrix, found)[0, 0]
    assert np.abs(back - in_crop).max() <= 0.25 * stride + 1e-3  # to_image rounds to float32: 1e-4 px of 1000


def field_formula(preset: str, box: np.ndarray, width: int, height: int) -> np.ndarray:
    """The matrix (2, 3) as the papers' codes have it: a centre c and a scale s, the crop's width being 200 s."""
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    cx, cy = x1 + w / 2, y1 + h / 2
    if preset in ("mpii", "lsp", "cunet_300w"):  # given c and s, the box is of 200 s around c
        s = w / 200
        cy += 15 * s if preset == "mpii" else 0
        s *= {"mpii": 1.25, "lsp": 1.4375, "cunet_300w": 1.1}[preset]
    elif preset == "hrnet_pose":
        if w > 0.75 * h:
            h = w / 0.75
        else:
            w = h * 0.75
        s = w / 200 * 1.25
    elif preset == "bcll_aflw2000":
        s = (w + h) / 190
    elif preset in ("fan", "fan_yunet"):
        cy -= 0.12 * h
        s = (w + h) / (195 if preset == "fan" else 165)
    else:
        s = max(w, h) / 200 * {"hrnet_face": 1.25, "sdu": 2.0}[preset]
    scale = width / (200 * s)
    return np.array([[scale, 0, width / 2 - scale * cx], [0, scale, height / 2 - scale * cy]])


@pytest.mark.parametrize("preset", crop_names())
def test_each_preset_is_the_formula_of_its_paper(preset: str) -> None:
    _, height, width, _ = FAMILY.get(preset, ("center", 256, 256, 4))
    random = np.random.RandomState(0)
    for _ in range(20):
        corner, size = random.uniform(-50, 400, 2), random.uniform(20, 500, 2)
        if preset in ("mpii", "lsp", "cunet_300w"):
            size[1] = size[0]
        box = np.concatenate([corner, corner + size])
        matrix = geometry.crop_matrix(box[None], get_crop(preset), height, width)[0]
        np.testing.assert_allclose(matrix, field_formula(preset, box, width, height), atol=1e-9)


@given(angle=st.floats(-179, 179), preset=st.sampled_from(crop_names()), aspect=st.floats(0.5, 2))
@settings(deadline=None, max_examples=examples(60))
def test_a_turned_head_gives_the_crop_of_the_upright_one(angle: float, preset: str, aspect: float) -> None:
    spec = model_spec("center", preset, 256, 192, 4)
    upright = np.array([[100, 300], [130, 310], [90, 200], [150, 205], [120, 190], [160, 320], [80, 290]], float)
    upright = np.concatenate([upright, upright[::-1] + np.array([13, -9])])[None] * (1, aspect)
    scheme = spec.scheme
    level = np.radians(-turned_boxes(upright, scheme, spec.crop)[1][0])  # these joints have an angle of their own
    centre = upright[0].mean(0)

    def turned(by: float) -> np.ndarray:
        cos, sin = np.cos(by), np.sin(by)
        points: np.ndarray = (upright - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre
        return points

    crops = []
    for by in (-level, -level + np.radians(angle)):
        boxes, rotation = turned_boxes(turned(by), scheme, spec.crop)
        matrix = geometry.crop_matrix(boxes, spec.crop, 256, 192, rotation)
        crops.append(geometry.apply(matrix, turned(by)))
    np.testing.assert_allclose(crops[0], crops[1], atol=1e-6)


def test_landmarks_are_boxes_too() -> None:
    """The second pass is upright with the head and finds the same points."""
    runtime = make_runtime()
    image = blobs(PLACES)
    first = runtime(image, BOX)
    again = runtime(image, first)
    tight = np.concatenate([first.xy[0].min(0), first.xy[0].max(0)])
    np.testing.assert_allclose(again.box[0], tight, atol=1e-3)
    wide = runtime(image, replace(first, xy=np.array([[[90, 70], [210, 75], [150, 180]]], np.float32)))
    np.testing.assert_allclose(wide.xy[0], PLACES, atol=1.5)
    black = runtime(image, replace(first, score=np.zeros_like(first.score)))
    np.testing.assert_array_equal(black.box, BOX, err_msg="a face that was lost keeps its box")


@pytest.mark.parametrize("angle", [30.0, -75.0, [180.0]])
def test_a_turned_crop_finds_the_same_points(angle: float) -> None:
    runtime = make_runtime()
    np.testing.assert_allclose(runtime(blobs(PLACES), BOX, rotation=angle).xy[0], PLACES, atol=1.6)


@pytest.mark.parametrize("rotation", [np.nan, [1.0, 2.0], [[1.0]], np.inf])
def test_wrong_rotations(rotation: object) -> None:
    with pytest.raises(UsageError, match="rotation in degrees, one or 1 of them"):
        make_runtime()(blobs(PLACES), BOX, rotation=rotation)


def test_landmarks_of_nobody() -> None:
    runtime = make_runtime()
    nobody = runtime(blobs(PLACES), [])
    assert isinstance(nobody, Landmarks)
    assert len(runtime(blobs(PLACES), nobody)) == 0
