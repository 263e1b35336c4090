"""Timing in turns, and rivals that are not there."""

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edgelm.bench import convert
from edgelm.bench.interleave import Clocked, interleave
from edgelm.bench.rivals import UnavailableError, compare, open_rival
from edgelm.errors import UsageError

X = np.zeros((1, 3, 64, 64), np.float32)


def test_entries_take_turns() -> None:
    order: list[str] = []
    timings = interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=5, attempts=1)
    assert list(timings) == ["a", "b"]
    assert "".join(order) == "aaabbb" + "ab" * 5
    assert all(t.min_ms <= t.median_ms <= t.p90_ms for t in timings.values())


def test_entries_that_measure_themselves_and_warm_calls() -> None:
    order: list[str] = []

    def own() -> float:
        order.append("o")
        return 7.0

    entries: dict[str, Callable[[], object]] = {"own": Clocked(own), "other": lambda: order.append("x")}
    timings = interleave(entries, rounds=2, attempts=1, warm=1)
    assert "".join(order) == "oooxxx" + "ooxx" * 2
    assert (timings["own"].min_ms, timings["own"].p90_ms) == (7.0, 7.0)
    assert timings["other"].median_ms < 7


def test_a_noisy_run_is_made_again_and_then_called_invalid() -> None:
    calls = 0

    def uneven() -> None:
        nonlocal calls
        calls += 1
        time.sleep(0.002 if calls % 4 == 0 else 0.02)

    said: list[str] = []
    timings = interleave({"uneven": uneven}, rounds=8, attempts=2, progress=said.append)
    assert not timings["uneven"].valid
    assert calls == 2 * (3 + 8)
    assert len(said) == 1


def test_a_calm_run_is_valid() -> None:
    timings = interleave({"sleep": lambda: time.sleep(0.01)}, rounds=5, attempts=3)
    assert timings["sleep"].min_ms >= 10
    assert timings["sleep"].valid


def test_unknown_and_missing_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Path("nowhere.onnx")
    with pytest.raises(UsageError, match="known are ort-fp32"):
        open_rival("tensorrt", nowhere, nowhere, X, 1, X)
    monkeypatch.setattr(convert, "find_spec", lambda name: None)
    for name, package in (("litert-int8", "ai-edge-quantizer"), ("ncnn-fp32", "ncnn"), ("openvino-int8", "nncf")):
        with pytest.raises(UnavailableError, match=rf"not installed: .*{package}.*pip install 'edgelm\[bench\]'"):
            open_rival(name, nowhere, nowhere, X, 1, X)


def test_rivals_that_compute_something_else_are_refused() -> None:
    right = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
    near, far, unwritten = right * np.float32(1 + 1e-5), right + np.float32(0.1), right.copy()
    unwritten[0, 3, 7, 7] = np.nan
    assert compare(near, right, exact=True) == pytest.approx(1)
    assert compare(far, right, exact=False) == pytest.approx(1)
    with pytest.raises(UnavailableError, match="differs from ONNX Runtime's by 0"):
        compare(far, right, exact=True)
    with pytest.raises(UnavailableError, match="not finite"):
        compare(unwritten, right, exact=False)
    with pytest.raises(UnavailableError, match="not of the shape"):
        compare(right[:, :3], right, exact=False)
    for wrong in (right[:, ::-1].copy(), np.zeros_like(right)):
        with pytest.raises(UnavailableError, match="hardly that of the float network"):
            compare(wrong, right, exact=False)


def test_cli_asks_for_the_checkpoint() -> None:
    from edgelm.cli.app import app

    done = CliRunner().invoke(app, ["bench", "a.onnx", "--against", "ort-fp32"])
    assert done.exit_code != 0


def test_against_a_float_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="the float twin is exported with torch")
    from exports import probes

    from edgelm.bench.against import against
    from edgelm.export.pipeline import export

    rivals = ["ort-fp32", "openvino-int8"]
    monkeypatch.setattr(convert, "find_spec", lambda name: None if name == "nncf" else find_spec(name))
    with probes(tmp_path) as made:
        checkpoint = made("xnor").checkpoint
        export(checkpoint, "onnx", tmp_path / "a.onnx", verify=False)
        report = against({"ours": tmp_path / "a.onnx"}, rivals, checkpoint, rounds=3, threads=2)
    assert [r["name"] for r in report["results"]] == ["ours", "ort-fp32"]
    assert report["results"][0]["speedup"]["ort-fp32"] > 0
    assert report["correlation"] == {"ort-fp32": pytest.approx(1)}
    assert set(report["unavailable"]) == {"openvino-int8"}
