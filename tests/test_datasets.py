"""Each published format gives back the landmarks, boxes and splits that were written in it."""

import json
from pathlib import Path

import numpy as np
import pytest
from published import (
    points,
    structures,
    write_aflw,
    write_coco,
    write_cofw,
    write_image,
    write_mpii,
    write_wflw,
)

from edgelm.errors import UsageError
from edgelm.models.data import Sample, sample_image
from edgelm.models.datasets import format_names, get_format, open_data
from edgelm.models.faults import Faults
from edgelm.schemes import get_scheme

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the published samples in ../shared")


def opened(path: Path, scheme: str, wanted: str, split: str | None = None) -> list[Sample]:
    found, samples = open_data(path, get_scheme(scheme), split=split)
    assert found.name == wanted
    return samples


@needs_data
@pytest.mark.parametrize(
    ("folder", "scheme", "form", "count", "box"),
    [
        ("samples/300w", "300w68", "coco", 1, (70, 219, 595.136, 712.11)),
        ("samples/wflw", "wflw98", "coco", 3, (726.76984, 302.229, 811.8226, 392.2692)),
        ("samples/cofw", "cofw29", "coco", 1, (46, 110, 132, 272)),
        ("samples/aflw", "aflw19", "coco", 1, (102, 121, 230, 249)),  # box_size 128 around center
        ("samples/mpii", "mpii16", "mpii-json", 3, (493.1512, -132.8488, 1436.8488, 810.8488)),  # 1-based centre
        ("samples/coco", "coco17", "coco", 3, (280.79, 44.73, 499.49, 391.41)),
        ("poses14/val", "lsp14", "coco", 300, (53.66, 33.77, 122.72, 153.31)),
        ("faces68/val", "300w68", "pts", 110, (133.6086, 145.0285, 357.4946, 347.1248)),
    ],
)
def test_published_samples(folder: str, scheme: str, form: str, count: int, box: tuple[float, ...]) -> None:
    samples = opened(DATA / folder, scheme, form)
    assert len(samples) == count
    np.testing.assert_allclose(samples[0].box, box, atol=1e-3)
    assert all(s.xy.shape == (len(get_scheme(scheme).names), 2) and s.path.is_file() for s in samples)


@needs_data
def test_a_joint_that_mpii_does_not_annotate_is_nan() -> None:
    sample = opened(DATA / "samples" / "mpii", "mpii16", "mpii-json")[1]
    assert np.flatnonzero(np.isnan(sample.xy[:, 0])).tolist() == [0, 5]
    np.testing.assert_array_equal(sample.xy[1], [1032, 648])


@needs_data
def test_another_scheme_is_told() -> None:
    with pytest.raises(UsageError, match=r"has 68 landmarks, the network 98 \(wflw98\)"):
        open_data(DATA / "samples" / "300w", get_scheme("wflw98"))


def test_wflw_list(tmp_path: Path) -> None:
    faces = {"a.png": points(98), "1--Parade/b.png": points(98, 1)}
    write_wflw(tmp_path / "list.txt", faces)
    for split, count in ((None, 2), ("illumination", 2), ("blur", 0)):
        if not count:
            with pytest.raises(UsageError, match="no sample that can be used in its split blur"):
                open_data(tmp_path, get_scheme("wflw98"), split=split)
            continue
        samples = open_data(tmp_path / "list.txt", get_scheme("wflw98"), split=split)[1]
        for sample, (name, xy) in zip(samples, faces.items(), strict=True):
            assert str(sample.path).endswith(name)
            np.testing.assert_array_equal(sample.xy, xy)  # 0-based as published
            np.testing.assert_array_equal(sample.box, [*xy.min(0), *xy.max(0)])


def test_cofw_of_matlab(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="MATLAB's 7.3 files need h5py")
    random = np.random.default_rng(0)
    rgb, grey = random.integers(0, 255, (40, 60, 3), np.uint8), random.integers(0, 255, (50, 30), np.uint8)
    faces, hidden = [points(29, 0, 40), points(29, 1, 30)], random.integers(0, 2, (2, 29))
    write_cofw(tmp_path / "COFW_train_color.mat", faces, hidden, [rgb, grey])
    samples = opened(tmp_path, "cofw29", "cofw", split="train")
    for sample, xy, h in zip(samples, faces, hidden, strict=True):
        np.testing.assert_array_equal(sample.xy, xy)
        np.testing.assert_array_equal(sample.visible, h == 0)
        np.testing.assert_array_equal(sample.box, [*np.floor(xy.min(0)), *np.ceil(xy.max(0))])
    np.testing.assert_array_equal(sample_image(samples[0]), rgb[:, :, ::-1])
    np.testing.assert_array_equal(sample_image(samples[1]), np.repeat(grey[:, :, None], 3, 2))
    with pytest.raises(UsageError, match="split test"):
        open_data(tmp_path, get_scheme("cofw29"), split="test")
    damaged = tmp_path / "bad" / "a.mat"
    damaged.parent.mkdir()
    damaged.write_bytes((tmp_path / "COFW_train_color.mat").read_bytes()[:700])
    with pytest.raises(UsageError, match=r"a\.mat is damaged"):
        open_data(damaged, get_scheme("cofw29"))


def test_aflw_of_matlab(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason=".mat files need scipy")
    faces = [points(19, i) for i in range(3)]
    mask = np.ones((3, 19), np.uint8)
    mask[1, 4] = 0
    boxes = np.array([[10, 50, 20, 80], [1, 21, 2, 12], [5, 25, 6, 26]], np.float64)
    write_aflw(tmp_path / "AFLWinfo_release.mat", faces, mask, boxes, [2, 0, 1])
    samples = opened(tmp_path, "aflw19", "aflw")
    assert [s.path.name for s in samples] == ["image00002.jpg", "image00000.jpg", "image00001.jpg"]
    np.testing.assert_array_equal(samples[0].xy, faces[2])
    np.testing.assert_array_equal(samples[1].box, [0, 20, 60, 80])  # the square of side 60 around (30, 50)
    assert np.flatnonzero(np.isnan(samples[2].xy[:, 0])).tolist() == [4]
    assert len(opened(tmp_path, "aflw19", "aflw", split="train")) == 3
    with pytest.raises(UsageError, match="known are train, test, frontal"):
        open_data(tmp_path, get_scheme("aflw19"), split="val")


def test_mpii_of_matlab(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason=".mat files need scipy")
    xy = points(16)
    write_mpii(tmp_path / "mpii.mat", xy, missing=3, head=(10, 20, 40, 60))
    (sample,) = opened(tmp_path, "mpii16", "mpii")
    np.testing.assert_array_equal(np.delete(sample.xy, 3, 0), np.delete(xy, 3, 0))
    assert np.isnan(sample.xy[3]).all()
    assert sample.visible is not None
    assert sample.visible.tolist() == [bool(k % 2) and k != 3 for k in range(16)]
    np.testing.assert_array_equal(sample.box, [25, 15, 75, 65])  # side 200 * 0.25 around (50, 40)
    assert sample.head == pytest.approx(0.6 * 50)


def test_mpii_lists(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="head boxes are in a .mat file")
    from scipy.io import savemat

    xy = points(16)
    write_image(tmp_path / "images" / "a.jpg")
    annot = tmp_path / "annot"
    annot.mkdir()
    hrnet = {"joints_vis": [1] * 15 + [0], "joints": (xy + 1).tolist(), "image": "a.jpg", "scale": 0.25,
             "center": [51, 41]}  # fmt: skip
    (annot / "valid.json").write_text(json.dumps([hrnet]))
    (plain,) = opened(annot / "valid.json", "mpii16", "mpii-json")
    assert plain.head is None
    savemat(annot / "gt_valid.mat", {"headboxes_src": np.array([[10, 40], [20, 60]], np.float64).T[:, :, None]})
    (sample,) = opened(annot, "mpii16", "mpii-json")
    np.testing.assert_array_equal(sample.xy[:15], xy[:15])
    assert np.isnan(sample.xy[15]).all()
    np.testing.assert_array_equal(sample.box, [25, 15, 75, 65])
    assert sample.head == pytest.approx(0.6 * 50)

    joints = np.concatenate([xy + 1, np.ones((16, 1))], -1)
    joints[2] = 0
    other = {"dataset": "MPII", "isValidation": 1.0, "img_paths": "a.jpg", "objpos": [51, 41],
             "scale_provided": 0.25, "joint_self": joints.tolist()}  # fmt: skip
    (annot / "all.json").write_text(json.dumps([other, {**other, "isValidation": 0.0}]))
    (sample,) = opened(annot / "all.json", "mpii16", "mpii-json", split="val")
    np.testing.assert_array_equal(np.delete(sample.xy, 2, 0), np.delete(xy, 2, 0))
    assert np.isnan(sample.xy[2]).all()
    with pytest.raises(UsageError, match="one split already"):
        open_data(annot / "valid.json", get_scheme("mpii16"), split="val")


@pytest.mark.parametrize("extended", [False, True])
def test_lsp(extended: bool, tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason=".mat files need scipy")
    from scipy.io import savemat

    xy = points(14)
    flag = np.ones(14)
    flag[5] = 0
    joints = np.concatenate([xy + 1, flag[:, None]], -1)[:, :, None]
    savemat(tmp_path / "joints.mat", {"joints": joints if extended else joints.transpose(1, 0, 2)})
    write_image(tmp_path / "images" / ("im00001.jpg" if extended else "im0001.jpg"))
    (sample,) = opened(tmp_path, "lsp14", "lsp", split="train")
    if extended:
        assert np.isnan(sample.xy[5]).all()
        with pytest.raises(UsageError, match="for training only"):
            open_data(tmp_path, get_scheme("lsp14"), split="test")
    else:  # hidden joints are annotated, and 1 says hidden
        np.testing.assert_array_equal(sample.xy, xy)
        assert sample.visible is not None
        assert np.flatnonzero(sample.visible).tolist() == [5]


def test_coco_leaves_crowds_and_empty_persons_out(tmp_path: Path) -> None:
    persons = [points(17, i) for i in range(3)]
    content = write_coco(tmp_path / "a.json", persons)
    content["annotations"][1]["iscrowd"] = 1
    content["annotations"][2]["keypoints"] = [0] * 51
    (tmp_path / "a.json").write_text(json.dumps(content))
    (sample,) = opened(tmp_path, "coco17", "coco")
    np.testing.assert_array_equal(sample.xy, persons[0])
    assert (sample.image_id, sample.area) == (0, content["annotations"][0]["area"])


def test_faults_are_fatal_or_counted(tmp_path: Path) -> None:
    faces = [points(68, i) for i in range(3)]
    content = write_coco(tmp_path / "a.json", faces, bare=("lonely.png",))
    (tmp_path / "1.png").unlink()
    content["annotations"][2]["keypoints"][7] = float("nan")
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"no image '1\.png'"):
        open_data(tmp_path, get_scheme("300w68"))
    faults = Faults("skip")
    assert len(open_data(tmp_path, get_scheme("300w68"), faults=faults)[1]) == 1
    assert all(word in f.why for word, f in zip(("1.png", "not finite", "lonely.png"), faults.found, strict=True))
    with pytest.raises(UsageError, match="fail, skip"):
        Faults("maybe")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "", 7, None, "a\\b.png", "a\0.png"])
def test_images_lie_within_their_folder(name: object, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    content = write_coco(tmp_path / "in" / "a.json", [points(68)])
    write_image(tmp_path / "a.png")
    content["images"][0]["file_name"] = name
    (tmp_path / "in" / "a.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="names an image"):
        open_data(tmp_path / "in", get_scheme("300w68"))


@pytest.mark.parametrize(
    "change",
    [
        {"keypoints": [1, 2]},
        {"keypoints": "text"},
        {"keypoints": [[1, 2], [3]]},
        {"keypoints": [1e300] * 204},
        {"keypoints": [None] * 204},
        {"keypoints": [0] * 204},
        {"image_id": 55},
        {"image_id": [1]},
    ],
    ids=str,
)
def test_hostile_annotations(change: dict[str, object], tmp_path: Path) -> None:
    content = write_coco(tmp_path / "a.json", [points(68), points(68, 1)])
    content["annotations"][1] |= change
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="annotation 101"):
        open_data(tmp_path, get_scheme("300w68"))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[[[[", '{"images": 1, "annotations": [], "categories": []}', "\0\1", "1 2 3"]
)
@pytest.mark.parametrize("suffix", [".json", ".mat", ".txt"])
def test_files_of_no_format(text: str, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").write_text(text)
    with pytest.raises(UsageError, match=r"known are pts, wflw, cofw|not COCO's form"):
        open_data(tmp_path, get_scheme("300w68"))


def test_damaged_mat(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason=".mat files need scipy")
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"joints": structures({"x": 1.0})})
    with pytest.raises(UsageError, match="joints of"):
        open_data(tmp_path, get_scheme("lsp14"))
    data = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(data[: len(data) // 2])
    with pytest.raises(UsageError, match=r"known are|is damaged"):
        open_data(tmp_path, get_scheme("lsp14"))


def test_choice_of_formats(tmp_path: Path) -> None:
    write_coco(tmp_path / "a.json", [points(68)])
    write_coco(tmp_path / "b.json", [points(68)])
    with pytest.raises(UsageError, match=r"a\.json \(coco\), b\.json \(coco\)"):
        open_data(tmp_path, get_scheme("300w68"))
    with pytest.raises(UsageError, match="was to be wflw"):
        open_data(tmp_path / "a.json", get_scheme("300w68"), "wflw")
    with pytest.raises(UsageError, match="has no split 'val'; it has none"):
        open_data(tmp_path / "a.json", get_scheme("300w68"), split="val")
    with pytest.raises(UsageError, match=r"there is no .*none"):
        open_data(tmp_path / "none", get_scheme("300w68"))
    with pytest.raises(UsageError, match="known are pts, wflw, cofw, aflw, mpii, mpii-json, lsp, coco"):
        get_format("lmdb")
    assert format_names()[0] == "pts"


def test_an_image_without_pts_is_a_fault(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    (tmp_path / "a.pts").write_text("n_points: 2\n{\n11 11\n31 41\n}\n")
    scheme = type(get_scheme("300w68"))("two", ("a", "b"), (), ())
    with pytest.raises(UsageError, match=r"b\.png: has no annotation b\.pts"):
        open_data(tmp_path, scheme)
    faults = Faults("skip")
    (sample,) = open_data(tmp_path, scheme, faults=faults)[1]
    np.testing.assert_array_equal(sample.xy, [[10, 10], [30, 40]])
    assert [f.path.name for f in faults.found] == ["b.png"]
