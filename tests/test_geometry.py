"""Crops: the classic half-pixel and swapped-axis bugs, shown absent by drawing blobs and finding them again."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples

from edgelm import decode, geometry
from edgelm.crops import crop_names, get_crop
from edgelm.schemes import get_scheme
from edgelm.spec import CropSpec, Decode, InputSpec, ModelSpec

RULES: tuple[Decode, ...] = ("center", "index", "resize_argmax")

boxes = st.tuples(st.floats(-50, 400), st.floats(-50, 400), st.floats(20, 500), st.floats(20, 500)).map(
    lambda b: np.array([[b[0], b[1], b[0] + b[2], b[1] + b[3]]])
)


def model_spec(rule: Decode, preset: str, height: int, width: int, stride: int) -> ModelSpec:
    return ModelSpec(
        name="test",
        task="face",
        scheme=get_scheme("lsp14"),
        input=InputSpec(height, width),
        crop=get_crop(preset),
        heatmap_height=height // stride,
        heatmap_width=width // stride,
        decode=rule,
    )


def gaussian(h: int, w: int, x: float, y: float, sigma: float = 1.5) -> np.ndarray:
    """A blob at (x, y), measured in pixel centres."""
    columns, rows = np.meshgrid(np.arange(w), np.arange(h))
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)).astype(np.float32)


@pytest.mark.parametrize("s", [1.0, 1.6])
def test_crop_matrix_is_the_field_formula(s: float) -> None:
    box = np.array([[100 - 100 * s, 120 - 100 * s, 100 + 100 * s, 120 + 100 * s]])
    matrix = geometry.crop_matrix(box, CropSpec("exact", factor=1.0), 256, 256)[0]
    scale = 256 / (200 * s)
    np.testing.assert_allclose(matrix, [[scale, 0, 128 - scale * 100], [0, scale, 128 - scale * 120]], atol=1e-9)


def test_short_side_is_enlarged_to_the_aspect() -> None:
    crop = CropSpec("tall", factor=1.0, aspect=0.75)
    wide, tall = geometry.crop_matrix(np.array([[0, 0, 30, 20], [0, 0, 30, 80.0]]), crop, 256, 192)
    assert wide[0, 0] == pytest.approx(192 / 30)
    assert tall[0, 0] == pytest.approx(192 / 60)
    assert tall[0, 0] == tall[1, 1]


def test_mean_side_and_shift() -> None:
    fan = geometry.crop_matrix(np.array([[10, 20, 110, 170.0]]), get_crop("fan"), 256, 256)
    assert fan[0, 0, 0] == pytest.approx(256 / (200 * (100 + 150) / 195))
    np.testing.assert_allclose(geometry.apply(fan, np.array([[[60, 95 - 0.12 * 150]]])), [[[128, 128]]])


def test_presets_of_the_papers() -> None:
    side = {
        name: 256 / geometry.crop_matrix(np.array([[0, 0, 200, 200.0]]), get_crop(name), 256, 256)[0, 0, 0]
        for name in crop_names()
    }
    assert {name: round(value, 3) for name, value in side.items()} == {
        "hrnet_face": 250.0,
        "hrnet_pose": 250.0,
        "mpii": 250.0,
        "lsp": 287.5,
        "cunet_300w": 220.0,
        "bcll_aflw2000": 421.053,
        "fan": 410.256,
        "fan_yunet": 484.848,
        "sdu": 400.0,
    }
    centre = geometry.invert(geometry.crop_matrix(np.array([[0, 0, 200, 200.0]]), get_crop("mpii"), 256, 256))
    np.testing.assert_allclose(geometry.apply(centre, np.array([[[128.0, 128.0]]])), [[[100, 115]]])


@given(box=boxes, angle=st.floats(-180, 180), preset=st.sampled_from(crop_names()))
@settings(deadline=None)
def test_invert_undoes_apply(box: np.ndarray, angle: float, preset: str) -> None:
    matrix = geometry.crop_matrix(box, get_crop(preset), 256, 192, rotation=angle)
    xy = np.array([[[3.0, 4.0], [200.0, 100.0], [-7.0, 30.0]]])
    np.testing.assert_allclose(geometry.apply(geometry.invert(matrix), geometry.apply(matrix, xy)), xy, atol=1e-6)
    middle = geometry.apply(geometry.invert(matrix), np.array([[[96.0, 128.0]]]))
    unturned = geometry.crop_matrix(box, get_crop(preset), 256, 192)
    np.testing.assert_allclose(geometry.apply(unturned, middle), [[[96.0, 128.0]]], atol=1e-6)


def test_positive_rotation_turns_the_content_clockwise() -> None:
    box = np.array([[0, 0, 100, 100.0]])
    matrix = geometry.crop_matrix(box, CropSpec("exact", factor=1.0), 100, 100, rotation=90)
    np.testing.assert_allclose(geometry.apply(matrix, np.array([[[100, 50]]])), [[[50, 100]]], atol=1e-9)


def test_a_whole_pixel_crop_is_a_slice() -> None:
    image = np.random.RandomState(0).randint(0, 256, (90, 120, 3)).astype(np.uint8)
    # Pixel centres 30 .. 61 cover the area from 29.5 to 61.5.
    matrix = geometry.crop_matrix(np.array([[29.5, 9.5, 61.5, 41.5]]), CropSpec("exact", factor=1.0), 32, 32)[0]
    np.testing.assert_array_equal(geometry.warp(image, matrix, 32, 32), image[10:42, 30:62])


def test_a_whole_pixel_crop_of_the_other_families_is_a_slice() -> None:
    image = np.random.RandomState(0).randint(0, 256, (90, 120, 3)).astype(np.uint8)
    matrix = geometry.crop_matrix(np.array([[30, 10, 62, 42.0]]), CropSpec("exact", factor=1.0), 32, 32)[0]
    cut = geometry.warp(image, matrix, 32, 32, first_pixel=geometry.first_pixel("index"))
    np.testing.assert_array_equal(cut, image[10:42, 30:62])


def test_outside_the_image_is_zero() -> None:
    image = np.full((40, 40, 3), 200, np.uint8)
    matrix = geometry.crop_matrix(np.array([[20, 20, 60, 60.0]]), CropSpec("exact", factor=1.0), 40, 40)[0]
    crop = geometry.warp(image, matrix, 40, 40)
    assert (crop[:18, :18] == 200).all()
    assert (crop[22:] == 0).all()
    assert (crop[:, 22:] == 0).all()


def test_shrinking_averages_instead_of_skipping() -> None:
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, ::4] = 255  # every fourth column: a sampler that skips sees all or nothing
    matrix = geometry.crop_matrix(np.array([[-0.5, -0.5, 511.5, 511.5]]), CropSpec("exact", factor=1.0), 128, 128)[0]
    crop = geometry.warp(image, matrix, 128, 128)
    assert abs(crop.astype(int) - 64).max() <= 1


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("side", [60, 240, 700])
def test_warp_puts_image_points_where_the_matrix_says(rule: Decode, side: int) -> None:
    """Measured by the centroid of a blob, at an enlarging, a shrinking and an averaging crop."""
    first = geometry.first_pixel(rule)
    for x, y in [(400.0, 380.0), (385.3, 410.8)]:
        image = np.rint(255 * gaussian(800, 800, x, y, sigma=side / 40)).astype(np.uint8)
        box = np.array([[400 - side / 2, 390 - side / 2, 400 + side / 2, 390 + side / 2]])
        matrix = geometry.crop_matrix(box, get_crop("hrnet_face"), 128, 128, rotation=20)
        crop = geometry.warp(image, matrix[0], 128, 128, first_pixel=first).astype(np.float64)
        rows, columns = np.indices(crop.shape)
        found = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum() + first
        wanted = geometry.apply(matrix, np.array([[[x, y]]]))[0, 0]
        np.testing.assert_allclose(found, wanted, atol=0.06)


@given(
    box=boxes,
    angle=st.floats(-40, 40),
    preset=st.sampled_from(crop_names()),
    rule=st.sampled_from(RULES),
    size=st.sampled_from([(256, 256, 4), (256, 192, 4), (128, 256, 4), (128, 128, 2)]),
    at=st.tuples(st.floats(0.15, 0.85), st.floats(0.15, 0.85)),
)
@settings(deadline=None, max_examples=examples(200))
def test_a_peak_comes_back_within_a_quarter_heatmap_pixel(
    box: np.ndarray, angle: float, preset: str, rule: Decode, size: tuple[int, int, int], at: tuple[float, float]
) -> None:
    """A point in the image -> its place in the crop -> an ideal network's heatmap -> decoded -> the point again."""
    height, width, stride = size
    spec = model_spec(rule, preset, height, width, stride)
    matrix = geometry.crop_matrix(box, spec.crop, height, width, rotation=angle)
    in_crop = np.array([at[0] * width, at[1] * height])
    xy = geometry.apply(geometry.invert(matrix), in_crop[None, None])
    # Where the heatmap's pixel i lies in the crop: at its area's middle, or at i * stride; see edgelm.geometry.
    h, w = spec.heatmap_height, spec.heatmap_width
    if rule == "index":
        peak = in_crop / stride
    elif rule == "center":
        peak = in_crop / stride - 0.5
    else:
        peak = (in_crop + 0.5) / stride - 0.5
    heatmap = gaussian(h, w, *peak)[None, None]
    uv, _ = decode.decode(heatmap, rule)
    found = decode.to_image(uv, matrix, spec)
    back = geometry.apply(matrix, found)[0, 0]
    # Bilinear enlargement peaks at the samples next to a pixel's middle; only 64 -> 128 has them a quarter off.
    bound = np.array([0.25 if rule != "resize_argmax" or length == 64 else 0.5 for length in (w, h)]) * stride + 1e-3
    assert (np.abs(back - in_crop) <= bound).all()
    scale = np.sqrt(np.linalg.det(matrix[0, :, :2]))
    assert np.hypot(*(found - xy)[0, 0]) <= np.hypot(*bound) / scale + 1e-3


@pytest.mark.parametrize("rule", RULES)
def test_decoding_is_unbiased(rule: Decode) -> None:
    """Over all positions within a pixel the errors cancel, so no rule hides a constant shift."""
    spec = model_spec(rule, "hrnet_face", 256, 256, 4)
    matrix = geometry.crop_matrix(np.array([[10, 20, 138, 148.0]]), spec.crop, 256, 256)
    places = 100 + 4 * np.stack(np.meshgrid(*[(np.arange(16) + 0.5) / 16] * 2), -1).reshape(-1, 2)
    offset = {"index": 0.0, "center": -0.5, "resize_argmax": -0.375}[rule]
    maps = np.stack([gaussian(64, 64, *(place / 4 + offset)) for place in places])[None]
    uv, _ = decode.decode(maps, rule)
    error = decode.to_image(uv, matrix, spec)[0] - geometry.apply(geometry.invert(matrix), places[None])[0]
    assert np.abs(error.mean(0)).max() < 0.02 * 160 / 64


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_normalize(channels: str) -> None:
    spec = InputSpec(2, 3, channels, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))  # type: ignore[arg-type]
    crops = np.random.RandomState(0).randint(0, 256, (4, 2, 3, 3)).astype(np.uint8)
    ordered = crops[..., ::-1] if channels == "RGB" else crops
    out = geometry.normalize(crops, spec)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    np.testing.assert_allclose(out, (ordered / 255 - np.array(spec.mean)) / np.array(spec.std), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(geometry.normalize(crops[1], spec), out[1])
    assert geometry.normalize(crops[:0], spec).shape == (0, 2, 3, 3)


def test_warp_of_a_grey_image() -> None:
    image = np.random.RandomState(0).randint(0, 256, (50, 60)).astype(np.uint8)
    matrix = geometry.crop_matrix(np.array([[5, 5, 45, 45.0]]), get_crop("hrnet_face"), 64, 64)[0]
    coloured = geometry.warp(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), matrix, 64, 64)
    np.testing.assert_array_equal(geometry.warp(image, matrix, 64, 64), coloured[:, :, 0])
