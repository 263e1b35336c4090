"""Every form of `edgelm bench` says so where it runs under emulation, and only there."""

import json
from pathlib import Path
from typing import Any

import pytest

typer_testing = pytest.importorskip("typer.testing", reason="the command line needs the extra [cli]")

from edgelm.bench import device
from edgelm.bench.kernels import check_rate
from edgelm.cli.app import app
from edgelm.errors import EdgelmError

SAYS = "emulated: times mean nothing (this CPU is made by qemu-aarch64)"
STAGES = {stage: dict.fromkeys(("p50", "p90", "p99", "min"), 1.0) for stage in ("crop", "network", "decode", "total")}
RESULT = {
    "model": "a.onnx",
    "engine": "onnx",
    "engine_version": "onnxruntime 1",
    "threads": 1,
    "load_ms": 1.0,
    "first_ms": 1.0,
    "stages": STAGES,
    "noisy": True,
    "memory": {"file_bytes": 1, "peak_rss_growth_bytes": None},
    "after": {"throttled": ["undervoltage now"]},
}
FORMS = {
    "plain": ("edgelm.bench.bench", [], [RESULT]),
    "kernels": ("edgelm.bench.kernels.bench_kernels", ["--kernels"], []),
    "against": (
        "edgelm.bench.against.against",
        ["a.onnx", "--against", "all", "--checkpoint", "a.pt"],
        [{"name": "a.onnx", "median_ms": 1.0, "speedup": {}}],
    ),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that ask for one form, which then reports without measuring, from a device described anew."""
    target, words, results = FORMS[request.param]

    def measured(*_: object, **__: object) -> dict[str, Any]:
        rest = {"peaks": [], "rows": [], "unavailable": {}, "valid": False}
        return {"edgelm": "1", "device": device.device_info(), "results": results, **rest}

    monkeypatch.setattr(target, measured)
    return words


def test_it_is_said_under_emulation(form: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device, "emulator", lambda: "qemu-aarch64")
    file = tmp_path / "report.json"
    shown = typer_testing.CliRunner().invoke(app, ["bench", *form, "-o", str(file)])
    assert shown.exit_code == 0, shown.output
    assert SAYS in shown.stdout
    assert "disturbed" not in shown.output  # noise of times that mean nothing
    told = json.loads(file.read_text())["device"]
    assert (told["emulated"], told["emulator"]) == (True, "qemu-aarch64")
    as_json = typer_testing.CliRunner().invoke(app, ["bench", *form, "--json"])
    assert json.loads(as_json.stdout)["device"]["emulated"] is True
    assert SAYS in as_json.stderr


def test_it_is_not_said_elsewhere(form: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "emulator", lambda: None)
    shown = typer_testing.CliRunner().invoke(app, ["bench", *form])
    assert "emulated" not in shown.output
    assert (
        json.loads(typer_testing.CliRunner().invoke(app, ["bench", *form, "--json"]).stdout)["device"]["emulated"]
        is False
    )


def test_what_the_board_complains_about(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object, **__: object) -> dict[str, Any]:
        heat = {"clock_mhz": 600, "clock_max_mhz": 1800, "temperature_c": 81.2, "board": "Raspberry Pi 4 Model B"}
        return {"edgelm": "1", "device": device.device_info() | heat, "results": [RESULT]}

    monkeypatch.setattr("edgelm.bench.bench", measured)
    text = typer_testing.CliRunner().invoke(app, ["bench"]).stdout
    assert "(Raspberry Pi 4 Model B)" in text
    assert "600 of 1800 MHz, 81 degrees C" in text
    assert "after a.onnx on onnx the firmware tells: undervoltage now" in text


def test_no_rate_is_refused_under_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelm.bench.kernels.emulator", lambda: "qemu-aarch64")
    check_rate("a layer", 2.0, 1.0)
    monkeypatch.setattr("edgelm.bench.kernels.emulator", lambda: None)
    with pytest.raises(EdgelmError, match="above the core's peak"):
        check_rate("a layer", 2.0, 1.0)
