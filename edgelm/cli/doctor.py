"""`edgelm doctor`: what this installation can do here, and what to install for the rest.

What a device lacks and the command for it is `edgelm.cli.advice`.
"""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

import edgelm
from edgelm.cli.advice import advise
from edgelm.cli.output import human, print_json
from edgelm.errors import EdgelmError, EngineMissingError

__all__ = ["examine", "register"]

_ENGINES = ("onnxruntime", "ai-edge-litert", "tflite-runtime")
_EXPORT = ("torch", "onnx", "onnxsim", "onnxscript")


def examine() -> dict[str, Any]:
    """Everything `doctor` reports, ready for JSON; `missing` holds sentences with what to do."""
    from edgelm.bench.cpu import board
    from edgelm.bench.device import cpu_model, emulator, libc, system_name, userland_bits

    findings: dict[str, Any] = {
        "edgelm": edgelm.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "distribution": system_name(),
        "machine": platform.machine(),
        "userland_bits": userland_bits(),
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "cpu": cpu_model(),
        "board": board(),
        "emulator": emulator(),
        "libc": libc(),
        "engines": {name: _version(name) for name in _ENGINES},
        "numpy": _version("numpy"),
        "opencv": _opencv(),
        "native": _native(),
        "export": {name: _version(name) for name in _EXPORT},
    }
    return findings | {"missing": advise(findings, _problems())}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _problems() -> list[str]:
    """Sentences about engines that are installed and do not work here."""
    try:
        from edgelm.runtimes.engines import engines
    except ImportError:  # numpy is absent, which the findings say themselves
        return []
    return [problem for engine in engines() if (problem := engine.problem()) is not None]


def _opencv() -> dict[str, Any]:
    try:
        import cv2
        import numpy as np
    except ImportError as error:  # a system library may be absent even where the package is there
        return {"version": None, "face_cascade": False, "error": str(error)}
    from edgelm.runtimes.detect import haar_boxes

    try:
        haar_boxes(np.zeros((64, 64, 3), np.uint8))
    except EngineMissingError:
        return {"version": cv2.__version__, "face_cascade": False}
    return {"version": cv2.__version__, "face_cascade": True}


def _native() -> dict[str, Any]:
    """Path and version of the library, and its table: which lines this CPU can run and which are taken."""
    try:
        from edgelm.runtimes.native import chosen_kernels, kernels, library_path, library_version, slow_kernels

        table, chosen, slow = kernels(), chosen_kernels(), slow_kernels()
        path, library = str(library_path()), library_version()
    except (EdgelmError, ImportError, OSError) as error:
        return {"error": str(error), "kernels": []}
    lines = [
        {"kind": k.kind, "isa": k.isa, "able": k.able, "chosen": k.able and chosen.get(k.kind) == k.isa} for k in table
    ]
    return {"path": path, "version": library, "kernels": lines, "slow": slow}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say which engines, versions and kernels are here, and what is missing."""
    with human(as_json):
        findings = examine()
    if as_json:
        print_json(findings)
        return

    def line(name: str, value: str | None) -> None:
        typer.echo(f"{name:<16} {value or 'not installed'}")

    line("edgelm", findings["edgelm"])
    line("Python", f"{findings['python']}, {findings['userland_bits']} bit")
    line("system", f"{findings['distribution'] or findings['platform']}, {findings['libc']}")
    line("machine", findings["machine"] + (f", {findings['board']}" if findings["board"] else ""))
    line("CPU", findings["cpu"] + (f", emulated by {findings['emulator']}" if findings["emulator"] else ""))
    for name, found in findings["engines"].items():
        line(name, found)
    line("NumPy", findings["numpy"])
    cascade = "with" if findings["opencv"]["face_cascade"] else "without"
    found = findings["opencv"]["version"]
    line("OpenCV", f"{found}, {cascade} face cascade" if found else None)
    line("for export", ", ".join(f"{name} {found or 'absent'}" for name, found in findings["export"].items()))
    native = findings["native"]
    line("native library", native.get("error") or f"{native['version']} at {native['path']}")
    for name, text in _kernels(native["kernels"]):
        line(f"  {name}", text)
    if native.get("slow"):
        line("  slow", native["slow"])
    typer.echo(
        "\n".join(["", "missing:", *(f"  {m}" for m in findings["missing"])]) if findings["missing"] else "\nall there"
    )


def _kernels(table: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """For each precision: the instruction set taken, and what else the library holds for it."""
    if not table:
        return []
    from edgelm.bench.kernels import PRECISIONS

    lines = []
    for name, precision in PRECISIONS.items():
        rows = [row for row in table if row["kind"] == precision.kind]
        taken = [row["isa"] for row in rows if row["chosen"]]
        able = [row["isa"] for row in rows if row["able"] and not row["chosen"]]
        beyond = [row["isa"] for row in rows if not row["able"]]
        text = f"{taken[0] if taken else 'none':<9}"
        text += f"also here: {', '.join(able)}" if able else ""
        text += f"{'; ' * bool(able)}not on this CPU: {', '.join(beyond)}" if beyond else ""
        lines.append((f"{name} ({precision.kind})", text.rstrip()))
    return lines


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application."""
    app.command()(doctor)
