"""Timing in turns, and rivals that are not there."""

import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edgelm.bench.interleave import interleave
from edgelm.bench.rivals import RIVALS, UnavailableError, open_rival
from edgelm.errors import UsageError

X = np.zeros((1, 3, 64, 64), np.float32)


def test_entries_take_turns() -> None:
    order: list[str] = []
    timings = interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=5, attempts=1)
    assert list(timings) == ["a", "b"]
    assert "".join(order) == "aaabbb" + "ab" * 5
    assert all(t.min_ms <= t.median_ms <= t.p90_ms for t in timings.values())


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


def test_unknown_and_missing_rivals() -> None:
    nowhere = Path("nowhere.onnx")
    with pytest.raises(UsageError, match="known are ort-fp32"):
        open_rival("tensorrt", nowhere, nowhere, X, 1)
    for name in ("litert-int8", "ncnn-fp32"):
        assert name in RIVALS
        with pytest.raises(UnavailableError, match=r"not supported yet|no converter"):
            open_rival(name, nowhere, nowhere, X, 1)


def test_cli_asks_for_the_checkpoint() -> None:
    from edgelm.cli.app import app

    done = CliRunner().invoke(app, ["bench", "a.onnx", "--against", "ort-fp32"])
    assert done.exit_code != 0


def test_against_a_float_twin(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the float twin is exported with torch")
    from edgelm.bench.against import against
    from edgelm.export.pipeline import export
    from edgelm.models.checkpoint import save_checkpoint
    from edgelm.models.create import create, randomize

    entry, model, spec = create("cunet2-xnor", landmarks=5, size=64)
    randomize(model, 64, 0)
    save_checkpoint(tmp_path / "a.pt", entry, model, spec)
    export(tmp_path / "a.pt", "onnx", tmp_path / "a.onnx", verify=False)
    report = against({"ours": tmp_path / "a.onnx"}, ["ort-fp32", "ncnn-fp32"], tmp_path / "a.pt", rounds=3, threads=2)
    assert [r["name"] for r in report["results"]] == ["ours", "ort-fp32"]
    assert report["results"][0]["speedup"]["ort-fp32"] > 0
    assert set(report["unavailable"]) == {"ncnn-fp32"}
