"""`edgelm run` into files, with other detectors and options."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("typer", reason="the command line needs the extra [cli]")

from test_cli import Call, call, complains, model

from edgelm.tables import COLUMNS

__all__ = ["call", "model"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Noise: what the network says of it does not matter here."""
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.random.RandomState(0).randint(0, 256, (90, 120, 3)).astype(np.uint8))
    return path


def test_points_in_files(call: Call, model: Path, photo: Path, tmp_path: Path) -> None:
    words = ("--box", "10,10,80,80", "--box", "30,20,90,85", "--save-json", "out.json", "--save-csv", "out.csv")
    result = call("run", model, photo, *words, "--json")
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "out.json").read_text())
    assert saved == json.loads(result.stdout)
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    points = np.array([[float(row["x"]), float(row["y"])] for row in rows]).reshape(2, -1, 2)
    np.testing.assert_allclose(points, [one["xy"] for one in saved["landmarks"]], rtol=1e-5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "out.json", "photo.png"]


def test_options_reach_the_network(call: Call, model: Path, photo: Path) -> None:
    def points(*words: str) -> np.ndarray:
        result = call("run", model, photo, "--box", "10,10,80,80", "--json", *words)
        assert result.exit_code == 0, result.output
        found: np.ndarray = np.array(json.loads(result.stdout)["landmarks"][0]["xy"])
        return found

    plain = points()
    np.testing.assert_array_equal(plain, points("--refinement", "rule"))
    assert (plain != points("--refinement", "dark")).any()
    assert (plain != points("--flip-test")).any()


def test_what_cannot_be(call: Call, model: Path, photo: Path, tmp_path: Path) -> None:
    box = ("--box", "10,10,80,80")
    complains(call("run", model, photo, *box, "--json", "--refinement", "best"), 2, "'best'", "soft_argmax")
    complains(call("run", model, photo, "--json", "--detector", "none.onnx"), 1, "none.onnx", "model zoo")
    complains(call("run", model, photo, *box, "--save-csv", "none/out.csv"), 2, "does not exist")
    complains(call("run", model, photo, *box, "--save-csv", "a", "--save-json", "./a"), 2, "the same path")
    complains(call("run", model, photo, *box), 2, "--save-csv")
    assert [p.name for p in tmp_path.iterdir()] == ["photo.png"]
