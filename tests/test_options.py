"""Which options of an export go together, and the photos it looks at."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")

from nets import SIZE, probe_entry

from edgelm import zoo
from edgelm.errors import UsageError
from edgelm.export import photos as photos_module
from edgelm.export.options import choices, choose
from edgelm.export.photos import photos
from edgelm.images import read_image
from edgelm.models.create import default_spec
from edgelm.spec import ExportOptions, ModelSpec


def spec(scheme: str) -> ModelSpec:
    return default_spec(probe_entry(scheme), SIZE)


@pytest.mark.parametrize(
    ("scheme", "given", "expected"),
    [
        ("bwa", {}, ExportOptions("graph", "float", "float")),
        ("bwa", {"ops": "layers"}, ExportOptions("layers", "engine", "float")),
        ("bwa", {"ops": "layers", "real": "float"}, ExportOptions("layers", "float", "float")),
        ("bwa", {"real": "int8", "activations": "int13"}, ExportOptions("graph", "int8", "int13")),
        ("xnor", {"real": "int8", "activations": "float"}, ExportOptions("graph", "int8", "float")),
        ("float", {}, ExportOptions()),
        ("float", {"ops": "layers", "real": "engine"}, ExportOptions()),
        ("bwa", {"portable": True}, ExportOptions()),
        ("bwa", {"portable": True, "activations": "float"}, ExportOptions()),
    ],
)
def test_choose(scheme: str, given: dict[str, Any], expected: ExportOptions) -> None:
    assert choose(spec(scheme), **{"portable": False, **given}) == expected


@pytest.mark.parametrize(
    ("scheme", "given", "match"),
    [
        ("bwa", {"ops": "op"}, "--ops is one of graph, layers, got 'op'"),
        ("bwa", {"real": "int4"}, "--real is one of float, int8, engine, fastest, got 'int4'"),
        ("bwa", {"activations": ""}, "--activations is one of float, int8, int13, got ''"),
        ("bwa", {"portable": True, "ops": "graph"}, "--portable writes builtin operators, .* no --ops graph"),
        ("bwa", {"portable": True, "real": "float"}, "no --real float"),
        ("bwa", {"portable": True, "activations": "int8"}, "no --activations int8"),
        ("float", {"activations": "int8"}, "no quantized weights, .* no --activations int8"),
        ("float", {"ops": "graph"}, "no --ops graph"),
        ("bw-a8", {"activations": "int8"}, "trained with 8-bit activations"),
        ("xnor", {"activations": "int13"}, "trained with 1-bit activations"),
    ],
)
def test_choose_refuses(scheme: str, given: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        choose(spec(scheme), **{"portable": False, **given})


def test_choices_are_those_of_the_record() -> None:
    assert {name: choices(name)[0] for name in ("ops", "real", "activations")} == {
        "ops": "graph", "real": "float", "activations": "float",
    }  # fmt: skip
    assert ExportOptions("graph", "int8").lossy
    assert ExportOptions(activations="int13").lossy
    assert not ExportOptions("graph", "float").lossy


def test_photos_of_faces(tmp_path: Path) -> None:
    face = spec("bwa")
    (portrait,) = photos(face)
    assert (portrait.shape, portrait.dtype.name) == ((SIZE, SIZE, 3), "float32")
    assert zoo.photo() is not None
    image = read_image(str(zoo.photo()))
    (tmp_path / "deep").mkdir()
    cv2.imwrite(str(tmp_path / "deep" / "face.png"), image)
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((50, 50, 3), 90, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    found = photos(face, tmp_path)
    assert len(found) == 2
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)


def test_photos_of_persons_are_whole(tmp_path: Path) -> None:
    pose = replace(spec("bwa"), task="pose")
    assert photos(pose) == []
    cv2.imwrite(str(tmp_path / "a.png"), np.full((60, 40, 3), 255, np.uint8))
    (image,) = photos(pose, tmp_path)
    assert image[SIZE // 2, SIZE // 2].tolist() == [1, 1, 1]


def test_photos_refuse_folders_without_any(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        photos(spec("bwa"), tmp_path / "none")
    with pytest.raises(UsageError, match="none of the 0 images"):
        photos(spec("bwa"), tmp_path)


def test_photos_are_not_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos_module, "MOST", 2)
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((60, 60, 3), 50 * i, np.uint8))
    found = photos(replace(spec("bwa"), task="pose"), tmp_path)
    assert [round(float(x.max()), 2) for x in found] == [0, 0.2]
