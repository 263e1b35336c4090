"""The bench: percentiles, planning, and the JSON that later tools read."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from bundled import BUNDLED

from edgelm.bench import bench, device, memory
from edgelm.bench.report import plan
from edgelm.bench.stages import STAGES, is_noisy, summarize
from edgelm.errors import EdgelmError, EngineMissingError, ModelFileError, UsageError
from edgelm.runtimes import engines


def test_summarize_drops_nothing() -> None:
    times = {stage: [int(ms * 1e6) for ms in range(1, 101)] for stage in STAGES}
    for stage in summarize(times).values():
        assert stage == pytest.approx({"p50": 50.5, "p90": 90.1, "p99": 99.01, "min": 1.0})


def test_noise_is_noticed() -> None:
    calm, disturbed = [10_000_000] * 100, [10_000_000] * 80 + [30_000_000] * 20
    assert not is_noisy(summarize(dict.fromkeys(STAGES, calm)))
    assert is_noisy(summarize(dict.fromkeys(STAGES, disturbed)))


def test_device_info_is_json() -> None:
    info = device.device_info()
    json.dumps(info, allow_nan=False)
    assert info["cpu"]
    assert info["cpus"] >= 1
    assert len(info["load_average"]) == 3


def test_memory_grows_with_what_is_touched() -> None:
    before, peak = memory.rss(), memory.peak_rss()
    if before is None or peak is None:
        pytest.skip("this kernel tells no resident memory")
    assert peak >= before > 1 << 20
    if not memory.reset_peak():
        pytest.skip("this kernel or sandbox does not let a process reset its peak")
    block = bytearray(b"x") * (64 << 20)
    grown = memory.peak_rss()
    assert grown is not None
    assert grown - before > 60 << 20
    del block


@pytest.mark.parametrize(("option", "value"), [("device", "gpu"), ("threads", 0), ("runs", 0)])
def test_impossible_options(option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=option):
        bench(["x.onnx"], **{option: value})


def test_missing_and_damaged_models(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="not there"):
        plan([tmp_path / "none.onnx"])
    (tmp_path / "damaged.onnx").write_bytes(b"\x08\x07" * 50)
    try:
        plan([tmp_path / "damaged.onnx"])
    except EngineMissingError:
        pytest.skip("onnxruntime is not installed")
    with pytest.raises(EdgelmError, match=r"damaged\.onnx"):
        bench([tmp_path / "damaged.onnx"], runs=1)


def test_an_engine_that_does_not_work_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = {
        engine.name: dataclasses.replace(engine, version=lambda: "engine 1", problem=lambda: "it crashes here")
        for engine in engines.engines()
    }
    monkeypatch.setattr(engines, "_ENGINES", broken)
    with pytest.raises(EngineMissingError, match="it crashes here; it crashes here"):
        plan([])
    (tmp_path / "asked.onnx").write_bytes(b"x")
    assert plan([tmp_path / "asked.onnx"]) == [(tmp_path / "asked.onnx", "onnx")]  # its own error says why not


@pytest.mark.parametrize("path", BUNDLED)
def test_report(path: Path) -> None:
    lines: list[str] = []
    try:
        report = bench([path], runs=3, progress=lines.append)
    except EngineMissingError as error:
        pytest.skip(str(error))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["device"].keys() >= {"cpu", "arch", "cpus", "governor", "load_average", "libc", "emulated"}
    assert str(path.parent) not in json.dumps(report)
    assert len(lines) == len(report["results"]) >= 1
    for result in report["results"]:
        assert result["model"] == path.name
        assert result["threads"] == 1
        assert result["runs"] == 3
        assert result["load_ms"] > 0
        assert result["first_ms"] > 0
        assert result["pinned_cpu"] is not None
        assert result["after"].keys() == {"governor", "clock_mhz", "clock_max_mhz", "temperature_c", "throttled"}
        assert tuple(result["stages"]) == STAGES
        for times in result["stages"].values():
            assert tuple(times) == ("p50", "p90", "p99", "min")
            assert 0 < times["min"] <= times["p50"] <= times["p90"] <= times["p99"]
        stages = result["stages"]
        rounding = 0.001
        assert stages["total"]["min"] + rounding >= sum(stages[stage]["min"] for stage in STAGES[:3])
        assert result["memory"]["file_bytes"] == path.stat().st_size
        growth = result["memory"]["peak_rss_growth_bytes"]
        assert growth is None or growth > 0
