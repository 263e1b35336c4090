"""The command line: exit codes, one readable line per error, JSON alone on stdout, no half-written file."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bundled import BUNDLED, PHOTO, READABLE

typer_testing = pytest.importorskip("typer.testing", reason="the command line needs the extra [cli]")

from edgelm.cli.app import app

Call = Callable[..., Any]
needs_photo = pytest.mark.skipif(PHOTO is None, reason="this edgelm carries no photo")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in an empty folder; the result has exit_code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGELM_DEBUG", raising=False)

    def run(*words: object) -> Any:
        result = typer_testing.CliRunner().invoke(app, [str(w) for w in words])
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def model() -> Path:
    """A bundled model that an installed engine reads."""
    if not READABLE:
        pytest.skip("no engine is installed for the bundled models, or there are none")
    return READABLE[0]


def complains(result: Any, code: int, *words: str) -> None:
    """The command failed as it should: that exit code, and one line on stderr with these words."""
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("edgelm: ")
    assert sum(line.startswith("edgelm: ") for line in lines) == 1
    for word in words:
        assert word in lines[-1]


def test_version_and_help(call: Call) -> None:
    import edgelm

    assert call("--version").stdout == f"edgelm {edgelm.__version__}\n"
    commands = ("models", "new", "pack", "train", "curves", "eval", "export", "run", "selftest", "bench", "doctor")
    text = call("--help").stdout
    for command in commands:
        assert f"  {command} " in text
        assert call(command, "--help").exit_code == 0
    assert call("nonsense").exit_code == 2
    assert call("run").exit_code == 2


def test_doctor(call: Call) -> None:
    report = json.loads(call("doctor", "--json").stdout)
    assert {"edgelm", "python", "cpu", "engines", "opencv", "native", "export", "missing"} <= report.keys()
    kernels = report["native"]["kernels"]
    assert all(k["able"] for k in kernels if k["isa"] == "scalar")
    for kind in {k["kind"] for k in kernels}:
        assert [k["chosen"] for k in kernels if k["kind"] == kind].count(True) == 1
    text = call("doctor")
    assert text.exit_code == 0
    assert report["native"]["path"] in text.stdout


BAD_RUNS = [
    pytest.param(["{none}.onnx", "{photo}"], 1, ["none.onnx"], id="missing model"),
    pytest.param(["{none}.tflite", "{photo}"], 1, ["none.tflite"], id="missing tflite model"),
    pytest.param(["{truncated}", "{photo}"], 1, ["truncated"], id="truncated model"),
    pytest.param(["{empty}.onnx", "{photo}"], 1, ["empty.onnx"], id="empty model"),
    pytest.param(["{empty}.tflite", "{photo}"], 1, ["empty.tflite"], id="empty tflite model"),
    pytest.param(["{text}.onnx", "{photo}"], 1, ["text.onnx"], id="text as onnx"),
    pytest.param(["{text}.tflite", "{photo}"], 1, ["text.tflite"], id="text as tflite"),
    pytest.param(["{text}.txt", "{photo}"], (1, 2), [".onnx", ".tflite"], id="wrong suffix"),
    pytest.param(["{text}.pt", "{photo}"], (1, 2), ["export"], id="a checkpoint instead of a model"),
    pytest.param(["{model}", "{none}.jpg"], 2, ["none.jpg"], id="missing image"),
    pytest.param(["{model}", "{empty}.jpg"], 2, ["empty"], id="empty image"),
    pytest.param(["{model}", "{text}.txt"], 2, ["not an image"], id="text as image"),
    pytest.param(["{model}", "{photo}", "--box", "9000,9000,9100,9100"], 2, ["outside"], id="box outside"),
    pytest.param(["{model}", "{photo}", "--box", "1,2,3"], 2, ["four numbers"], id="three numbers"),
    pytest.param(["{model}", "{photo}", "--box", "1,2,nan,4"], 2, ["finite"], id="NaN box"),
    pytest.param(["{model}", "{photo}", "--box", "10,10,10,10"], 2, ["area"], id="empty box"),
    pytest.param(["{model}", "{photo}", "--boxes", "{none}.json"], 2, ["none.json"], id="missing boxes"),
    pytest.param(["{model}", "{photo}", "--boxes", "{text}.txt"], 2, ["JSON"], id="boxes not JSON"),
    pytest.param(["{model}", "{photo}", "--box", "1,1,9,9", "--boxes", "b.json"], 2, ["not both"], id="both boxes"),
    pytest.param(["{model}", "{photo}", "--threads", "0"], 2, ["threads"], id="threads 0"),
    pytest.param(["{model}", "{photo}", "--engine", "abacus"], (1, 2), ["abacus"], id="unknown engine"),
    pytest.param(["{model}", "{blank}"], 1, ["no face", "--box"], id="no face"),
]


@pytest.mark.parametrize(("words", "code", "complaint"), BAD_RUNS)
def test_run_refuses(
    call: Call, model: Path, tmp_path: Path, words: list[str], code: int | tuple[int, int], complaint: list[str]
) -> None:
    (tmp_path / f"truncated{model.suffix}").write_bytes(model.read_bytes()[:20000])
    for suffix in ("onnx", "tflite", "jpg"):
        (tmp_path / f"empty.{suffix}").write_bytes(b"")
    for suffix in ("onnx", "tflite", "pt", "txt"):
        (tmp_path / f"text.{suffix}").write_text("Not a model, and not an image either.\n" * 9)
    cv2.imwrite(str(tmp_path / "blank.png"), np.full((240, 320, 3), 128, np.uint8))
    names = {"model": model, "photo": tmp_path / "blank.png", "blank": "blank.png"}
    names |= {"truncated": f"truncated{model.suffix}", "none": "none", "empty": "empty", "text": "text"}
    before = sorted(tmp_path.iterdir())
    result = call("run", *(word.format(**names) for word in words), "-o", "out.png")
    complains(result, result.exit_code if result.exit_code in np.atleast_1d(code) else -1, *complaint)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("output", "words"),
    [("none/out.png", "does not exist"), (".", "folder"), ("out.xyz", "suffix"), ("out", "suffix"), (None, "-o")],
)
def test_run_refuses_the_output(call: Call, model: Path, tmp_path: Path, output: str | None, words: str) -> None:
    cv2.imwrite(str(tmp_path / "blank.png"), np.zeros((9, 9, 3), np.uint8))
    complains(call("run", model, "blank.png", *(["-o", output] if output else [])), 2, words)
    assert [p.name for p in tmp_path.iterdir()] == ["blank.png"]


@needs_photo
@pytest.mark.parametrize("path", BUNDLED)
def test_run_finds_the_face(call: Call, tmp_path: Path, path: Path) -> None:
    result = call("run", path, PHOTO, "-o", "out.png", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert len(report["landmarks"]) == 1
    (face,) = report["landmarks"]
    x1, y1, x2, y2 = face["box"]
    margin = 0.3 * (x2 - x1)
    for x, y in face["xy"]:
        assert x1 - margin < x < x2 + margin
        assert y1 - margin < y < y2 + margin
    picture, photo = cv2.imread(str(tmp_path / "out.png")), cv2.imread(str(PHOTO))
    assert picture is not None
    assert photo is not None
    assert picture.shape == photo.shape
    assert (picture != photo).any()


@needs_photo
@pytest.mark.parametrize("kind", ["grey", "alpha", "uint16"])
def test_run_takes_other_kinds_of_png(call: Call, model: Path, tmp_path: Path, kind: str) -> None:
    photo = cv2.imread(str(PHOTO))
    assert photo is not None
    variants: dict[str, Any] = {
        "grey": cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY),
        "alpha": cv2.cvtColor(photo, cv2.COLOR_BGR2BGRA),
        "uint16": photo.astype(np.uint16) * 257,
    }
    cv2.imwrite(str(tmp_path / "in.png"), variants[kind])
    result = call("run", model, "in.png", "-o", "out.png")
    assert result.exit_code == 0, result.output
    assert "faces: 1" in result.stdout
    assert "out.png" in result.stdout


def test_run_with_given_boxes(call: Call, model: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "in.png"), np.zeros((100, 100, 3), np.uint8))
    (tmp_path / "b.json").write_text("[[10, 10, 60, 60], [20, 20, 90, 90], [0, 0, 100, 100]]")
    report = json.loads(call("run", model, "in.png", "--boxes", "b.json", "--json").stdout)
    assert [face["box"] for face in report["landmarks"]] == [[10, 10, 60, 60], [20, 20, 90, 90], [0, 0, 100, 100]]
    two = call("run", model, "in.png", "--box", "10,10,60,60", "--box", "20,20,90,90", "--json")
    assert len(json.loads(two.stdout)["landmarks"]) == 2
    (tmp_path / "b.json").write_text("[]")
    none = call("run", model, "in.png", "--boxes", "b.json", "--json")
    assert none.exit_code == 0
    assert json.loads(none.stdout)["landmarks"] == []


@pytest.mark.parametrize("path", BUNDLED)
def test_selftest(call: Call, path: Path) -> None:
    result = call("selftest", path, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["passed"] is True


def test_what_was_not_foreseen(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("the sky\nfell")

    monkeypatch.setattr("edgelm.cli.doctor.examine", fail)
    complains(call("doctor"), 1, "ZeroDivisionError: the sky fell", "edgelm --debug")
    shown = typer_testing.CliRunner().invoke(app, ["--debug", "doctor"])
    assert "Traceback" in shown.stderr
    assert shown.exit_code == 1


def test_interrupted(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgelm.cli.doctor.examine", interrupt)
    complains(call("doctor"), 130, "interrupted")


@pytest.mark.parametrize(
    ("absent", "words", "code", "extra"),
    [
        ("typer", ["doctor"], 1, "edgelm[cli]"),
        ("torch", ["models"], 1, "edgelm[export]"),
        ("torch", ["new", "cunet2", "-o", "x.pt"], 1, "edgelm[export]"),
        ("torch", ["export", "x.pt", "--target", "onnx"], 1, "edgelm[export]"),
    ],
)
def test_absent_packages(tmp_path: Path, absent: str, words: list[str], code: int, extra: str) -> None:
    start = f"import sys; sys.modules[{absent!r}] = None; sys.argv = {['edgelm', *words]!r}; "
    command = [sys.executable, "-c", f"{start}from edgelm.cli import main; main()"]
    (tmp_path / "x.pt").write_bytes(b"")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.startswith("edgelm: ")
    assert f'pip install "{extra}"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m edgelm doctor | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
