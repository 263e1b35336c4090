"""What `edgelm doctor` advises on machines that are not this one, and what it says of kernels."""

import json
import platform
from typing import Any

import pytest

typer_testing = pytest.importorskip("typer.testing", reason="the command line needs the extra [cli]")

from edgelm.bench import device
from edgelm.cli import doctor
from edgelm.cli.advice import advise
from edgelm.cli.app import app
from edgelm.runtimes import native, onnx, tflite
from edgelm.runtimes.native import Kernel, library

COMPLETE: dict[str, Any] = {
    "python": "3.11.2",
    "machine": "aarch64",
    "userland_bits": 64,
    "numpy": "1.24.2",
    "engines": {"onnxruntime": "1.31.1", "ai-edge-litert": "2.3.0", "tflite-runtime": None},
    "opencv": {"version": "4.6.0", "face_cascade": True},
    "native": {"kernels": [{"kind": "b1", "isa": "neon", "able": True, "chosen": True}]},
    "export": {"torch": "2.13.0"},
}
NO_ENGINES = dict.fromkeys(COMPLETE["engines"])
BARE: dict[str, Any] = COMPLETE | {
    "numpy": None,
    "engines": NO_ENGINES,
    "opencv": {"version": None, "face_cascade": False, "error": "No module named 'cv2'"},
    "export": {"torch": None},
}


def test_nothing_is_missing() -> None:
    assert advise(COMPLETE, []) == []


def test_a_bare_64_bit_system() -> None:
    text = "\n".join(advise(BARE, []))
    extras = [f'pip install "edgelm[{extra}]"' for extra in ("onnx", "tflite", "export")]
    for words in (*extras, "pip install numpy", "No module named 'cv2'"):
        assert words in text
    assert "apt" not in text


@pytest.mark.parametrize("machine", ["armv7l", "aarch64"])  # a 64-bit kernel may carry a 32-bit system
def test_a_bare_32_bit_system(machine: str) -> None:
    text = "\n".join(advise(BARE | {"machine": machine, "userland_bits": 32}, []))
    assert "sudo apt install python3-numpy python3-opencv opencv-data" in text
    assert "--system-site-packages" in text
    assert "pip install --no-deps tflite-runtime" in text
    assert "on a 64-bit system" in text
    assert "onnx" not in text
    assert "edgelm[" not in text


def test_32_bit_after_the_last_engine() -> None:
    findings = COMPLETE | {"machine": "armv7l", "userland_bits": 32, "python": "3.13.5", "engines": NO_ENGINES}
    (line,) = advise(findings, [])
    assert "no engine has packages for 32-bit ARM and Python 3.13" in line
    assert "64-bit system" in line


def test_no_cascade() -> None:
    opencv = {"version": "4.6.0", "face_cascade": False}
    (line,) = advise(COMPLETE | {"opencv": opencv, "userland_bits": 32}, [])
    assert line.endswith("sudo apt install opencv-data")
    (line,) = advise(COMPLETE | {"opencv": opencv}, [])
    assert "opencv-python-headless<5" in line


def test_problems_and_faults_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    assert advise(COMPLETE, ["the sky is falling"]) == ["the sky is falling"]
    broken = {"error": "it is damaged", "kernels": []}
    assert advise(COMPLETE | {"native": broken}, []) == ["the native library: it is damaged"]
    monkeypatch.setenv("EDGELM_ISA", "typo")
    unchosen = {"kernels": [{"kind": "b1", "isa": "neon", "able": True, "chosen": False}]}
    (line,) = advise(COMPLETE | {"native": unchosen}, [])
    assert "'typo'" in line
    assert "neon" in line


def examined() -> tuple[dict[str, Any], str]:
    """The JSON and the text of the command."""
    runner = typer_testing.CliRunner()
    found, text = (runner.invoke(app, ["doctor", *options]) for options in (["--json"], []))
    assert found.exit_code == text.exit_code == 0
    return json.loads(found.stdout), text.stdout


def test_a_crashing_engine_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "package_version", lambda package: f"{package} 1.21.0")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    report, text = examined()
    assert any("onnxruntime 1.21.0" in line and "illegal instruction" in line for line in report["missing"])
    assert "onnxruntime>=1.21.1" in text


def test_numpy_2_beside_tflite_runtime_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"tflite-runtime": "tflite-runtime 2.14.0", "numpy": "numpy 2.4.6"}
    monkeypatch.setattr(tflite, "package_version", installed.get)
    report, _ = examined()
    assert any('pip install "numpy<2"' in line for line in report["missing"])


def test_only_slow_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ("f32", "i16", "i8", "b1", "r32", "r8")
    lines = [Kernel(kind, isa, isa == "scalar") for isa in ("scalar", "neon") for kind in kinds]
    table = (*lines, Kernel("i6", "neon", False))
    for module in (library, native):
        monkeypatch.setattr(module, "kernels", lambda: table)
    monkeypatch.setattr(platform, "machine", lambda: "armv7l")
    monkeypatch.delenv("EDGELM_ISA", raising=False)
    report, text = examined()
    assert "lacks NEON" in report["native"]["slow"]
    assert "many times slower" in text
    assert "W1A1 (b1)      scalar   not on this CPU: neon" in text
    assert "W1A6 (i6)      none     not on this CPU: neon" in text
    assert device.native_info()["slow"] == report["native"]["slow"]  # it stands in the bench's report too


def test_one_line_for_each_precision() -> None:
    from edgelm.bench.kernels import PRECISIONS

    report, text = examined()
    for name, precision in PRECISIONS.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"  {name} ({precision.kind})")]
        chosen = [k["isa"] for k in report["native"]["kernels"] if k["kind"] == precision.kind and k["chosen"]]
        assert line.split()[2:3] == chosen
    assert "32 bit" in text or "64 bit" in text


def test_it_works_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_problems", list)
    monkeypatch.setattr(doctor, "_native", lambda: {"error": "No module named 'numpy'", "kernels": []})
    monkeypatch.setattr(doctor, "_opencv", lambda: {"version": None, "face_cascade": False, "error": "no numpy"})
    report, text = examined()
    assert report["missing"]
    assert "No module named 'numpy'" in text
