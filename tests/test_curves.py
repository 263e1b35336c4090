"""Curves of training runs: what a log is, and a picture of several."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("matplotlib", reason="curves are drawn by it")

from edgelm.cli.app import app
from edgelm.errors import UsageError
from edgelm.models.curves import Course, curves_png, read_log


def write(path: Path, rows: list[tuple[int, float, float]]) -> Path:
    path.write_text("".join(json.dumps({"epoch": e, "loss": a, "val_nme": b, "time": 0.0}) + "\n" for e, a, b in rows))
    return path


def test_reads_a_log_and_takes_the_last_of_an_epoch_said_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.b.log.jsonl", [(1, 3.0, 9.0), (2, 2.0, 8.0), (2, 2.5, 7.5), (3, 1.0, 6.0)])
    assert read_log(path) == Course("a.b", (1, 2, 3), (3.0, 2.5, 1.0), (9.0, 7.5, 6.0))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no epoch has ended"),
        ("{}", "line 1"),
        ("[]", "line 1"),
        ("\x00", "line 1"),
        ('{"epoch": 1e999}', "line 1"),
    ],
)
def test_refuses_what_is_no_log(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "a.log.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=match):
        read_log(path)
    with pytest.raises(UsageError, match="there is no log"):
        read_log(tmp_path / "none")


def test_draws_runs_of_other_lengths_and_without_an_error() -> None:
    courses = [Course("a", (1, 2, 3), (3.0, 2.0, 1.0), (9.0, 5.0, 4.0)), Course("b", (1,), (4.0,), (float("nan"),))]
    one, both = (
        cv2.imdecode(np.frombuffer(curves_png(part), np.uint8), cv2.IMREAD_COLOR) for part in (courses[1:], courses)
    )
    assert one is not None
    assert both is not None
    assert both.shape == one.shape
    # A curve more is ink more.
    assert (both < 200).any(-1).sum() > (one < 200).any(-1).sum() + 200


def test_command_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log.jsonl", [(1, 3.0, 9.0), (2, 2.0, 8.0)])
    made = CliRunner().invoke(app, ["curves", str(path), "-o", str(tmp_path / "a.png")])
    assert made.exit_code == 0, made.output
    assert (tmp_path / "a.png").read_bytes()[1:4] == b"PNG"
    refused = CliRunner().invoke(app, ["curves", str(path), "-o", str(tmp_path / "a.jpg")])
    assert refused.exit_code == 2
