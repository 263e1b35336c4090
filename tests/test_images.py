"""Images and boxes in: the right pixels from any common kind, and a sentence for everything else."""

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.boxes import check_boxes, parse_box, read_boxes
from edgelm.errors import UsageError
from edgelm.images import as_bgr8, read_image

COLOUR = np.random.RandomState(0).randint(0, 256, (20, 30, 3)).astype(np.uint8)


def test_bgr_bytes_pass_through() -> None:
    assert np.shares_memory(as_bgr8(COLOUR), COLOUR)
    np.testing.assert_array_equal(as_bgr8(COLOUR), COLOUR)
    assert as_bgr8(COLOUR[:, ::-1]).flags.c_contiguous


def test_grey() -> None:
    grey = COLOUR[:, :, 0]
    for image in (grey, grey[:, :, None]):
        np.testing.assert_array_equal(as_bgr8(image), np.stack([grey] * 3, -1))


def test_alpha_is_ignored() -> None:
    np.testing.assert_array_equal(as_bgr8(np.concatenate([COLOUR, COLOUR[:, :, :1]], 2)), COLOUR)


def test_sixteen_bits_are_rounded_to_eight() -> None:
    image = np.array([[0, 128, 129, 257, 32767, 65535]], np.uint16)
    np.testing.assert_array_equal(as_bgr8(image)[0, :, 0], [0, 0, 1, 1, 127, 255])
    np.testing.assert_array_equal(as_bgr8(COLOUR.astype(np.uint16) * 257), COLOUR)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "numpy array, got NoneType"),
        ([[1, 2]], "numpy array, got list"),
        (np.zeros((4, 4, 3), np.float32), r"float32; for floats in \[0, 1\]"),
        (np.full((4, 4, 3), np.nan), "float64"),
        (np.zeros((4, 4, 3), bool), "got bool"),
        (np.zeros((4, 4, 3), np.int32), "got int32"),
        (np.zeros((0, 4, 3), np.uint8), r"got \(0, 4, 3\)"),
        (np.zeros((4, 0), np.uint8), r"got \(4, 0, 1\)"),
        (np.zeros((4, 4, 2), np.uint8), r"got \(4, 4, 2\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), "expected an image of shape"),
        (np.zeros(5, np.uint8), "expected an image of shape"),
        (np.broadcast_to(np.uint8(0), (20_000, 20_000)), "at most 100 megapixels"),
        (np.zeros((1, 40_000), np.uint8), "32766 px a side"),
    ],
)
def test_what_is_no_image_array(image: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        as_bgr8(image)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".tiff"])
def test_read_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ünï{suffix}"
    path.write_bytes(cv2.imencode(suffix, COLOUR)[1].tobytes())
    image = read_image(path)
    assert image.shape == COLOUR.shape
    assert image.dtype == np.uint8
    if suffix != ".jpg":
        np.testing.assert_array_equal(image, COLOUR)


@pytest.mark.parametrize(
    "stored",
    [COLOUR[:, :, 0], np.concatenate([COLOUR, COLOUR[:, :, :1]], 2), COLOUR.astype(np.uint16) * 257],
    ids=["grey", "alpha", "uint16"],
)
def test_read_other_kinds(tmp_path: Path, stored: np.ndarray) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(cv2.imencode(".png", stored)[1].tobytes())
    np.testing.assert_array_equal(read_image(path), as_bgr8(stored))


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is not an image"),
        (b"\xff\xd8", "is not an image"),
        (b"\xff\xd8" + b"\xff" * 100, "is not an image"),
        (b"\xff\xd8\xff\xe0\x00\x00" * 5, "is not an image"),
        (cv2.imencode(".jpg", COLOUR)[1].tobytes()[:20], "is not an image"),
        (png_header(30_000, 30_000), "at most 100 megapixels"),
        (b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\xff\xff\xff\xff", "has 65535 x 65535 px"),
    ],
)
def test_what_is_no_image_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_image(path)


def test_missing_image_or_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(UsageError, match="there is no image file"):
            read_image(path)


def test_parse_box() -> None:
    np.testing.assert_array_equal(parse_box("1,2.5, 30 ,4e1"), [[1, 2.5, 30, 40]])


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1;2;3;4", "1,2,,4"])
def test_what_is_no_box(text: str) -> None:
    with pytest.raises(UsageError, match="box"):
        parse_box(text)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([0, 0, float("nan"), 5], "not finite"),
        ([0, 0, float("inf"), 5], "not finite"),
        ([5, 0, 5, 9], "no area"),
        ([9, 0, 5, 9], "no area"),
        ([0, 9, 5, 3], "no area"),
        ([0, 0, 0.5, 9], "no area"),
        ([0, 0, 1e9, 9], "too far"),
        ([0, 0, 10**400, 9], "too far"),
        ([0, 0, "5", 9], "not a number"),
        ([0, 0, True, 9], "not a number"),
        ([0, 0, None, 9], "not a number"),
        ([0, 0, 9], "not four numbers"),
        ("0,0,9,9", "not four numbers"),
        (7, "not four numbers"),
        ([100, 0, 120, 9], "outside the image of 100 x 50 px"),
        ([0, 50, 9, 60], "outside"),
        ([-20, 0, 0, 9], "outside"),
        ([0, -20, 9, -1], "outside"),
    ],
)
def test_wrong_boxes_are_named(box: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"box 1 .*{message}"):
        check_boxes([[0, 0, 10, 10], box], (50, 100))


def test_boxes_of_many_kinds() -> None:
    wanted = np.array([[0.0, 1, 10, 20]])
    for boxes in (
        wanted,
        wanted[0],
        wanted.astype(np.float32),
        wanted.astype(int),
        wanted.tolist(),
        wanted[0].tolist(),
    ):
        np.testing.assert_array_equal(check_boxes(boxes), wanted)
    np.testing.assert_array_equal(check_boxes([np.array([0, 1, 10, 20])]), wanted)
    nothing: list[Any] = [[], np.zeros((0, 4)), np.zeros(0), ()]
    for none in nothing:
        assert check_boxes(none).shape == (0, 4)
    assert check_boxes([[-5, -5, 1, 1]], (50, 100)).shape == (1, 4)


@given(boxes=st.lists(st.lists(st.floats() | st.integers() | st.none() | st.text(max_size=2), max_size=5), max_size=5))
@settings(deadline=None)
def test_any_list_is_boxes_or_an_error(boxes: list[list[Any]]) -> None:
    try:
        checked = check_boxes(boxes, (50, 100))
    except UsageError:
        return
    assert np.isfinite(checked).all()


@pytest.mark.parametrize("bad", [5, None, "1,2,3,4", {"a": 1}])
def test_what_is_no_list_of_boxes(bad: Any) -> None:
    with pytest.raises(UsageError, match="expected boxes"):
        check_boxes(bad)


def test_read_boxes(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    for text in ("[[1, 2, 30, 40], [5, 6, 7, 8]]", '{"boxes": [[1, 2, 30, 40], [5, 6, 7, 8]], "image": "a.jpg"}'):
        path.write_text(text)
        np.testing.assert_array_equal(read_boxes(path), [[1, 2, 30, 40], [5, 6, 7, 8]])
    path.write_text("[]")
    assert read_boxes(path).shape == (0, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("\x00", "is not JSON"),
        ("{}", "holds no boxes"),
        ("5", "holds no boxes"),
        ('{"boxes": 5}', "holds no boxes"),
        ("[[1, 2, NaN, 4]]", "box 0 is not finite"),
        ('[["a", 2, 3, 4]]', "box 0 holds something"),
        ("[{}]", "box 0 is not four numbers"),
    ],
)
def test_wrong_box_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_boxes(path)


def test_missing_box_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UsageError, match="cannot read the boxes"):
            read_boxes(path)
