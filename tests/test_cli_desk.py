"""The commands that need torch: new, pack, export and train, with good and bad input."""

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="new, pack, train and export need the extra [export]")
pytest.importorskip("onnx", reason="export needs the extra [export]")
typer_testing = pytest.importorskip("typer.testing", reason="the command line needs the extra [cli]")

from edgelm.cli.app import app
from edgelm.cli.train import _Reporter
from edgelm.models.hourglass import HourglassConfig
from edgelm.models.registry import HOURGLASS, SCHEMES, Entry
from edgelm.models.train import Progress

NAME = "cunet2-m64n16-bw"  # the smallest


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGELM_DEBUG", raising=False)
    return tmp_path


def call(*words: object) -> Any:
    result = typer_testing.CliRunner().invoke(app, [str(w) for w in words])
    assert "Traceback" not in result.output
    return result


def test_models() -> None:
    told = json.loads(call("models", "--json").stdout)
    names = told["models"]
    assert {"cunet8-bw", "cunet4-bwa", "cunet2-tw-a8", "cunet2-bw-a8", "cunet2-xnor"} <= set(names)
    assert told["aliases"]["dunet4"] == "cunet4"
    assert {row["network"] for row in told["networks"]} <= set(names)
    lines = call("models").stdout.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(told["networks"])]] == [
        n["network"] for n in told["networks"]
    ]


def test_new_pack_export(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("flat-bw", HOURGLASS, HourglassConfig(depth=1, width=64, stem=(16, 64)), SCHEMES["-bw"])
    monkeypatch.setattr("edgelm.models.create.resolve", {entry.name: entry}.__getitem__)
    for file in ("a.pt", "b.pt"):
        assert call("new", entry.name, "-o", file, "--input", 64, "--seed", 3).exit_code == 0
    assert call("pack", "a.pt", "-o", "small.pt").exit_code == 0
    sizes = {path.name: path.stat().st_size for path in empty_folder.iterdir()}
    assert sizes["a.pt"] == sizes["b.pt"] > 10 * sizes["small.pt"]
    first, second = (torch.load(file, weights_only=True)["state"] for file in ("a.pt", "b.pt"))
    assert all(torch.equal(first[key], second[key]) for key in first)

    again = call("pack", "small.pt", "-o", "smaller.pt")
    assert (again.exit_code, "packed already" in again.stderr) == (2, True)
    onto_itself = call("pack", "a.pt", "-o", "./a.pt")
    assert (onto_itself.exit_code, "would be lost" in onto_itself.stderr) == (2, True)
    assert Path("a.pt").stat().st_size == sizes["a.pt"]

    result = call("export", "small.pt", "--target", "onnx", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["end_to_end"]["passed"]
    assert len(report["steps"]) == 6
    assert Path(report["path"]).stat().st_size == report["bytes"] < 2 * sizes["small.pt"]


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["new", "cunet3-bw", "-o", "x.pt"], 2, "Known are the networks cunet2"),
        (["new", NAME, "-o", "x.onnx"], 2, ".pt file"),
        (["new", NAME, "-o", "none/x.pt"], 2, "does not exist"),
        (["new", NAME, "-o", "x.pt", "--input", "50"], 2, "64"),
        (["new", "cunet2", "-o", "x.pt", "--input", "64", "--packed"], 2, "float weights"),
        (["pack", "none.pt", "-o", "x.pt"], 1, "none.pt"),
        (["export", "none.pt", "--target", "onnx"], 1, "none.pt"),
        (["export", "foreign.pt", "--target", "onnx"], 1, "another tool"),
        (["export", "truncated.pt", "--target", "onnx"], 1, "truncated.pt"),
        (["export", "empty.pt", "--target", "tflite"], 1, "empty.pt"),
        (["export", "pickle.pt", "--target", "tflite"], 1, "pickle.pt"),
        (["export", "foreign.pt", "--target", "coreml"], 2, "known are onnx, tflite"),
        (["export", "foreign.pt", "--target", "onnx", "-o", "x.tflite"], 2, ".onnx"),
        (["export", "foreign.pt", "--target", "onnx", "-o", "none/x.onnx"], 2, "does not exist"),
        (["train", NAME, "none", "-o", "x.pt"], 2, "train/"),
        (["train", NAME, ".", "-o", "x.pt"], 2, "train"),
        (["train", "cunet3-bw", ".", "-o", "x.pt"], 2, "Known are"),
    ],
)
def test_refuses(empty_folder: Path, words: list[str], code: int, complaint: str) -> None:
    torch.save({"model": {"weight": torch.zeros(3)}}, "foreign.pt")
    torch.save(Path("no tensor"), "pickle.pt")
    Path("truncated.pt").write_bytes(Path("foreign.pt").read_bytes()[:300])
    Path("empty.pt").write_bytes(b"")
    before = sorted(empty_folder.iterdir())
    result = call(*words)
    assert result.exit_code == code, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("edgelm: ")
    assert complaint in last
    assert sorted(empty_folder.iterdir()) == before


def test_training_says_that_it_continues(capsys: pytest.CaptureFixture[str]) -> None:
    for first, said in ((1, ""), (3, "continuing after epoch 2/4")):
        with _Reporter() as report:
            for step in (1, 2):
                report(Progress(first, 4, step, 2, 1.0, 10.0))
        assert capsys.readouterr().err.strip() == said


def test_progress_says_the_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelm.cli.train._QUIET_S", -1.0)
    with _Reporter() as report:
        for seconds in (None, 3.0, 20.0, 150.0, 3600 * 25 + 120.0):
            report(Progress(1, 2, 3, 9, 0.5, 10.0, seconds_left=seconds))
    lines = capsys.readouterr().err.splitlines()
    assert ["left" in line for line in lines] == [False, False, True, True, True]
    assert ["1 min left" in lines[2], "2 min left" in lines[3], "25 h 02 min left" in lines[4]] == [True] * 3
