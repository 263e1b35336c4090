"""Landmark schemes and crop presets: consistent in themselves, and with real annotations where those are at hand."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edgelm.crops import crop_names, get_crop, register_crop
from edgelm.errors import UsageError
from edgelm.schemes import flip_permutation, get_scheme, register_scheme, scheme_names
from edgelm.spec import CropSpec, LandmarkScheme

DATA = Path(__file__).parents[2] / "shared" / "data"
K = {"300w68": 68, "wflw98": 98, "cofw29": 29, "aflw19": 19, "mpii16": 16, "lsp14": 14, "coco17": 17}


def test_every_scheme_is_known() -> None:
    assert {name: len(get_scheme(name).names) for name in scheme_names()} == K


@pytest.mark.parametrize("name", scheme_names())
def test_scheme_is_consistent(name: str) -> None:
    scheme = get_scheme(name)
    assert scheme.name == name
    assert len(set(scheme.names)) == len(scheme.names)
    assert all(0 <= v < len(scheme.names) for contour in scheme.contours for v in contour)
    assert all(len(contour) > 1 for contour in scheme.contours)
    assert len(scheme.sigmas) in (0, len(scheme.names))
    paired = [v for pair in scheme.flip_pairs for v in pair]
    assert len(set(paired)) == len(paired)
    assert all(0 <= v < len(scheme.names) for v in paired)


@pytest.mark.parametrize("name", scheme_names())
def test_flip_is_an_involution(name: str) -> None:
    order = flip_permutation(get_scheme(name))
    assert sorted(order) == list(range(len(order)))
    assert [order[i] for i in order] == list(range(len(order)))


@pytest.mark.parametrize("name", scheme_names())
def test_flip_maps_the_drawing_onto_itself(name: str) -> None:
    scheme = get_scheme(name)
    order = flip_permutation(scheme)
    edges = {frozenset(e) for c in scheme.contours for e in pairwise(c)}
    assert {frozenset(order[v] for v in edge) for edge in edges} == edges


@pytest.mark.parametrize("name", ["cofw29", "aflw19", "mpii16", "lsp14", "coco17"])
def test_flip_swaps_right_and_left_in_the_names(name: str) -> None:
    scheme = get_scheme(name)
    for i, j in enumerate(flip_permutation(scheme)):
        mirrored = scheme.names[i].replace("right", "*").replace("left", "right").replace("*", "left")
        assert scheme.names[j] == mirrored


@pytest.mark.parametrize(
    ("name", "fixed"),
    [
        ("300w68", [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]),
        ("wflw98", [16, 51, 52, 53, 54, 57, 79, 85, 90, 94]),
        ("cofw29", [20, 21, 24, 25, 26, 27, 28]),
        ("aflw19", [13, 16, 18]),
        ("mpii16", [6, 7, 8, 9]),
        ("lsp14", [12, 13]),
        ("coco17", [0]),
    ],
)
def test_points_on_the_mirror_line(name: str, fixed: list[int]) -> None:
    assert [i for i, j in enumerate(flip_permutation(get_scheme(name))) if i == j] == fixed


def test_lsp_is_the_known_part_of_mpii() -> None:
    part = [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 8, 9]
    names = [get_scheme("mpii16").names[i] for i in part]
    assert names[:12] == list(get_scheme("lsp14").names[:12])


def test_registries_refuse_duplicates_and_list_what_they_know() -> None:
    with pytest.raises(UsageError, match="300w68' exists already"):
        register_scheme(LandmarkScheme("300w68", ("a",), (), ()))
    with pytest.raises(UsageError, match="known are 300w68, wflw98"):
        get_scheme("300w")
    with pytest.raises(UsageError, match="hrnet_face' exists already"):
        register_crop(CropSpec("hrnet_face", 1.0))
    with pytest.raises(UsageError, match="known are hrnet_face"):
        get_crop("hrnet")
    assert "hrnet_pose" in crop_names()


@pytest.mark.skipif(not (DATA / "faces68").is_dir(), reason="needs the faces of ../shared/data")
def test_300w_pairs_lie_opposite_on_real_faces() -> None:
    """Over many faces the mirrored mean shape, its points permuted, is the mean shape again."""
    shapes = []
    for path in sorted((DATA / "faces68" / "train").glob("*.pts"))[:300]:
        xy = np.array(path.read_text().partition("{")[2].partition("}")[0].split(), float).reshape(-1, 2)
        shapes.append((xy - xy.mean(0)) / np.ptp(xy, axis=0))
    mean = np.mean(shapes, axis=0)
    mirrored = mean[list(flip_permutation(get_scheme("300w68")))] * (-1, 1)
    assert np.abs(mirrored - mean).max() < 0.05


@pytest.mark.skipif(not (DATA / "poses14").is_dir(), reason="needs the poses of ../shared/data")
def test_lsp_names_lie_where_they_say() -> None:
    data = json.loads((DATA / "poses14" / "val" / "annotations.json").read_text())
    scheme = get_scheme("lsp14")
    joints = np.array([a["keypoints"] for a in data["annotations"]]).reshape(-1, 14, 3)
    seen = joints[(joints[:, :, 2] > 0).all(1)]
    height = {name: seen[:, i, 1].mean() for i, name in enumerate(scheme.names)}
    assert height["head_top"] < height["neck"] < height["right_hip"] < height["right_knee"] < height["right_ankle"]
