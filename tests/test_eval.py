"""`edgelm eval`: one path for every kind of model file, and what it says of data that are not as they should be."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("typer", reason="the command line needs the extra [cli]")

from numpy.typing import NDArray
from published import points, write_coco, write_image
from typer.testing import CliRunner

from edgelm import decode, geometry, zoo
from edgelm.cli.app import app
from edgelm.errors import UsageError
from edgelm.models.data import Sample, sample_image, tight_box
from edgelm.models.datasets import open_data
from edgelm.models.faults import Faults
from edgelm.models.localize import Found, localize
from edgelm.models.metrics import nme
from edgelm.models.pictures import ced_png, contact_sheet, worst_png
from edgelm.models.report import measure
from edgelm.runtimes.runtime import Runtime
from edgelm.schemes import get_scheme
from edgelm.spec import ModelSpec

DATA = Path(__file__).parents[2] / "shared" / "data"
FACES = DATA / "faces68" / "val"
needs_faces = pytest.mark.skipif(not FACES.is_dir(), reason="needs the faces in ../shared")
COUNT = 12
# Landmarks whose distance errors are divided by.
FAR = {"lsp14": ((9, 2),), "wflw98": ((60, 72),)}


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["eval", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output if code else result.stdout


@pytest.fixture(scope="module")
def onnx() -> Path:
    pytest.importorskip("onnxruntime", reason="runs an .onnx file")
    return next(p for p in zoo.bundled() if p.suffix == ".onnx")


@pytest.fixture(scope="module")
def spec(onnx: Path) -> ModelSpec:
    with Runtime(onnx) as runtime:
        return runtime.spec


@needs_faces
@pytest.mark.parametrize("suffix", [".pt", ".onnx", ".tflite"])
def test_every_kind_of_file_measures_the_same(suffix: str, onnx: Path) -> None:
    if suffix == ".pt":
        pytest.importorskip("torch", reason="a checkpoint needs torch")
    if suffix == ".tflite":
        pytest.importorskip("ai_edge_litert", reason="runs a .tflite file")
    stem = zoo.bundled()[0].stem
    (model,) = (p for p in [*zoo.checkpoints(), *zoo.bundled()] if p.name == stem + suffix)
    report = json.loads(run(model, FACES, "--json", "--limit", COUNT))
    with Runtime(onnx) as runtime:  # the slow twin: one photo after the other, as a user runs them
        samples = open_data(FACES, get_scheme("300w68"))[1][:COUNT]
        found = np.concatenate([runtime(sample_image(s), s.box[None]).xy for s in samples])
    errors = nme(found, np.stack([s.xy for s in samples]), "300w68")
    assert report["samples"] == COUNT
    assert report["skipped"] == []
    assert report["metrics"]["NME inter-ocular"] == pytest.approx(errors.mean(), abs=0.01)
    assert [row["error"] for row in report["worst"]] == pytest.approx(sorted(errors, reverse=True), abs=0.2)
    assert set(report["metrics"]) >= {"NME inter-pupil", "NME box", "AUC@0.08", "FR@0.08", "AUC@0.10", "FR@0.10"}


@needs_faces
def test_pictures_report_and_flip_test(onnx: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="draws a curve")
    files = [tmp_path / name for name in ("ced.png", "worst.png", "report.json")]
    told = run(onnx, FACES, "--limit", COUNT, "--flip-test", "--curve", files[0], "--worst", files[1], "-o", files[2])
    curve, worst = (cv2.imread(str(path)) for path in files[:2])
    assert curve is not None
    assert curve.std() > 5
    assert worst is not None
    assert worst.shape == (480, 1440, 3)  # 12 tiles, 6 a row
    report = json.loads(files[2].read_text())
    assert report["flip_test"] is True
    assert f"{report['metrics']['NME inter-ocular']:.3f} %" in told
    assert all(f"wrote {path}" in told for path in files)
    with Runtime(onnx) as runtime:
        samples = open_data(FACES, get_scheme("300w68"))[1][:COUNT]
        found = np.concatenate([runtime(sample_image(s), s.box[None], flip_test=True).xy for s in samples])
    errors = nme(found, np.stack([s.xy for s in samples]), "300w68")
    assert report["metrics"]["NME inter-ocular"] == pytest.approx(errors.mean(), abs=0.01)


@needs_faces
def test_bad_samples_are_fatal_or_left_out(onnx: Path, tmp_path: Path) -> None:
    for path in sorted(FACES.iterdir())[:10]:  # five faces
        shutil.copy(path, tmp_path)
    images = sorted(tmp_path.glob("*.jpg"))
    images[1].write_bytes(images[1].read_bytes()[:200])
    images[2].with_suffix(".pts").unlink()
    lines = images[3].with_suffix(".pts").read_text().split("\n")
    lines[lines.index("{") + 1] = "-4000 7"
    images[3].with_suffix(".pts").write_text("\n".join(lines))
    assert images[2].name in run(onnx, tmp_path, code=2)
    report = json.loads(run(onnx, tmp_path, "--bad", "skip", "--json"))
    assert report["samples"] == 2
    whys = {Path(row["path"]).stem: row["why"] for row in report["skipped"]}
    assert "is not an image" in whys[images[1].stem]
    assert "has no annotation" in whys[images[2].stem]
    assert "px outside its" in whys[images[3].stem]
    assert (
        "3 samples were left out" in CliRunner().invoke(app, ["eval", str(onnx), str(tmp_path), "--bad", "skip"]).stderr
    )


def test_refusals(onnx: Path, tmp_path: Path) -> None:
    write_coco(tmp_path / "a.json", [points(98)])
    assert "98 landmarks, the network 68 (300w68)" in run(onnx, tmp_path, code=2)
    assert "known are pts" in run(onnx, tmp_path, "--format", "lmdb", code=2)
    assert "--bad is fail or skip" in run(onnx, tmp_path, "--bad", "maybe", code=2)
    assert "ending in .png" in run(onnx, tmp_path, "--curve", tmp_path / "a.jpg", code=2)
    same = tmp_path / "a.png"
    assert "same path" in run(onnx, tmp_path, "--curve", same, "--worst", same, code=2)
    assert "there is no" in run(onnx, tmp_path / "none", code=2)
    assert "none.onnx" in run(tmp_path / "none.onnx", tmp_path, code=1)
    assert [path.name for path in tmp_path.glob("*.png")] == ["0.png"]  # the data's own


def perfect(spec: ModelSpec, samples: list[Sample]) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A network that shows a peak in the cell of each annotated landmark."""
    matrices = geometry.crop_matrix(np.stack([s.box for s in samples]), spec.crop, spec.input.height, spec.input.width)
    done = 0

    def answer(x: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal done
        maps = np.zeros((len(x), len(spec.scheme.names), spec.heatmap_height, spec.heatmap_width), np.float32)
        for n, sample in enumerate(samples[done : done + len(x)]):
            crop = geometry.apply(matrices[done + n], np.nan_to_num(sample.xy))
            cells = np.floor(decode.to_map(crop, spec)).astype(int)
            for k, (u, v) in enumerate(cells.tolist()):
                maps[n, k, min(max(v, 0), maps.shape[2] - 1), min(max(u, 0), maps.shape[3] - 1)] = 1
        done += len(x)
        return maps

    return answer


@pytest.mark.parametrize(
    ("scheme", "crop", "wanted"),
    [
        ("mpii16", "mpii", {"PCKh@0.5 HRNet's mean": 100, "PCKh@0.5 CU-Net's mean": 100}),
        ("lsp14", "lsp", {"PCK@0.2": 100}),
        ("coco17", "hrnet_face", {"AP50": 100, "AR50": 100}),
        ("aflw19", "hrnet_face", {"FR@0.08": 0}),
        ("wflw98", "hrnet_face", {"FR@0.10": 0}),
    ],
)
def test_each_scheme_has_its_metrics(
    scheme: str, crop: str, wanted: dict[str, float], spec: ModelSpec, tmp_path: Path
) -> None:
    if scheme == "coco17":
        pytest.importorskip("pycocotools", reason="OKS AP is computed by pycocotools")
    from edgelm.crops import get_crop

    write_image(tmp_path / "a.png", 400)
    samples = []
    for i in range(25):  # more than a batch
        xy = points(len(get_scheme(scheme).names), i, 400).astype(np.float32)
        for one, other_end in FAR.get(scheme, ()):
            xy[one], xy[other_end] = 90, 310
        samples.append(Sample(tmp_path / "a.png", xy, tight_box(xy), head=60.0, area=6e4, image_id=i))
    other = replace(spec, scheme=get_scheme(scheme), crop=get_crop(crop))
    done: list[tuple[int, int]] = []
    found = localize(perfect(other, samples), other, samples, report=lambda *at: done.append(at))
    assert done == [(22, 25), (25, 25)]
    measured = measure(found, other.scheme)
    assert {name: pytest.approx(measured.metrics[name]) for name in wanted} == wanted
    assert len(measured.errors) == 25
    assert set(measured.joints) == (set(other.scheme.names) if scheme in ("mpii16", "lsp14") else set())


def test_heads_without_boxes_are_told() -> None:
    scheme = get_scheme("mpii16")
    xy = points(16).astype(np.float32)
    samples = [Sample(Path("a.png"), xy, tight_box(xy), head=head) for head in (10.0, None)]
    found = Found(tuple(samples), np.stack([xy, xy]), np.ones((2, 16), np.float32))
    (remark,) = measure(found, scheme).remarks
    assert remark.startswith("1 samples have no head box")


def test_persons_without_a_torso_are_told() -> None:
    xy = np.stack([points(14, i) for i in range(3)]).astype(np.float32)
    xy[0, 9], xy[1, 2] = np.nan, np.nan
    samples = [Sample(Path("a.png"), one, tight_box(one)) for one in xy]
    measured = measure(Found(tuple(samples), np.nan_to_num(xy), np.ones((3, 14), np.float32)), get_scheme("lsp14"))
    assert measured.remarks == ("2 samples have no annotated torso and do not count",)
    assert measured.metrics["PCK@0.2"] == 100
    assert np.isfinite(measured.errors).tolist() == [False, False, True]


def test_sheet_orders_by_error(spec: ModelSpec, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    xy = points(68).astype(np.float32)
    sample = Sample(tmp_path / "a.png", xy, tight_box(xy))
    moved = np.stack([xy, xy + 30, xy])
    found = Found((sample,) * 3, moved, np.ones((3, 68), np.float32))
    errors = np.array([1.0, 9.0, np.nan])
    sheet = contact_sheet(found, errors, "%", spec)
    assert sheet.shape == (240, 720, 3)
    alone = contact_sheet(Found((sample,), moved[1:2], found.score[:1]), errors[1:2], "%", spec)
    np.testing.assert_array_equal(sheet[:, :240], alone)
    np.testing.assert_array_equal(sheet[:200, 240:480], sheet[:200, 480:])  # the same face; only the text differs
    assert len(worst_png(found, errors, "%", spec, 1)) < len(worst_png(found, errors, "%", spec, 2))


def test_a_curve_needs_an_error() -> None:
    pytest.importorskip("matplotlib", reason="draws a curve")
    assert ced_png(np.array([np.nan, 3.0, 50.0]), "%", "a model").startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="no sample has an error"):
        ced_png(np.array([np.nan]), "%", "a model")


def test_samples_that_cannot_be_used(spec: ModelSpec, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    xy = points(68).astype(np.float32)
    good = Sample(tmp_path / "a.png", xy, tight_box(xy))
    bad = [
        replace(good, xy=np.full((68, 2), np.nan, np.float32)),
        replace(good, box=np.zeros(4, np.float32)),
        replace(good, box=np.full(4, np.nan, np.float32)),
        replace(good, path=tmp_path / "none.png"),
        replace(good, xy=xy + 500),
        replace(good, xy=xy[:5]),
        replace(good, pixels=lambda: np.zeros((0, 3), np.uint8)),
    ]
    for one in bad:
        with pytest.raises(UsageError):
            localize(perfect(spec, [good]), spec, [one])
    faults = Faults("skip")
    found = localize(perfect(spec, [good]), spec, [*bad, good], faults=faults)
    assert (found.samples, len(faults.found)) == ((good,), len(bad))
    np.testing.assert_allclose(found.xy[0], xy, atol=2)
    with pytest.raises(UsageError, match="none of 7 samples"):
        localize(perfect(spec, [good]), spec, bad, faults=Faults("skip"))
    with pytest.raises(UsageError, match="none of 0 samples"):
        localize(perfect(spec, [good]), spec, [])


def test_curve_is_of_faces(onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    import edgelm.models.runner as runner

    with Runtime(onnx) as runtime:
        pose = replace(runtime.spec, task="pose")

    @contextmanager
    def opened(*_: Any, **__: Any) -> Any:
        yield None, pose

    monkeypatch.setattr(runner, "open_runner", opened)
    assert "--curve draws the errors of faces" in run(onnx, tmp_path, "--curve", tmp_path / "a.png", code=2)
