"""`edgelm doctor`: what this installation can do here, and what to install for the rest."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

import edgelm
from edgelm.cli.output import human, print_json
from edgelm.errors import EdgelmError, EngineMissingError

__all__ = ["examine", "register"]

_ENGINES = {"onnxruntime": "onnx", "ai-edge-litert": "tflite", "tflite-runtime": "tflite"}
_EXPORT = ("torch", "onnx", "onnxsim", "onnxscript")


def examine() -> dict[str, Any]:
    """Everything `doctor` reports, ready for JSON; `missing` holds sentences with what to do."""
    from edgelm.bench.device import cpu_model, libc

    engines = {name: _version(name) for name in _ENGINES}
    export = {name: _version(name) for name in _EXPORT}
    missing = []
    if engines["onnxruntime"] is None:
        missing.append('to run .onnx files: pip install "edgelm[onnx]"')
    if engines["ai-edge-litert"] is None and engines["tflite-runtime"] is None:
        missing.append('to run .tflite files: pip install "edgelm[tflite]"')
    if absent := [name for name, found in export.items() if found is None]:
        missing.append(f'to train and export ({", ".join(absent)} absent): pip install "edgelm[export]"')
    opencv = _opencv()
    if not opencv["face_cascade"]:
        missing.append('to find faces by itself: pip install "opencv-python-headless<5", which carries the cascade')
    native = _native()
    if "error" in native:
        missing.append(f"the native library: {native['error']}")
    return {
        "edgelm": edgelm.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "libc": libc(),
        "engines": engines,
        "opencv": opencv,
        "native": native,
        "export": export,
        "missing": missing,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


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
    """Path and version of the library, and its table; the last able line of a kind is the one that runs."""
    try:
        from edgelm.runtimes.native import kernels, library_path, library_version

        table = kernels()
        path, library = str(library_path()), library_version()
    except (EdgelmError, ImportError, OSError) as error:
        return {"error": str(error), "kernels": []}
    wanted = os.environ.get("EDGELM_ISA")
    chosen = {kernel.kind: kernel.isa for kernel in table if kernel.able and wanted in (None, "", kernel.isa)}
    lines = [
        {"kind": k.kind, "isa": k.isa, "able": k.able, "chosen": k.able and chosen.get(k.kind) == k.isa} for k in table
    ]
    return {"path": path, "version": library, "kernels": lines}


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
    line("Python", f"{findings['python']} on {findings['platform']}")
    line("CPU", findings["cpu"])
    line("C library", findings["libc"])
    for name, found in findings["engines"].items():
        line(name, found)
    cascade = "with" if findings["opencv"]["face_cascade"] else "without"
    found = findings["opencv"]["version"]
    line("OpenCV", f"{found}, {cascade} face cascade" if found else None)
    line("for export", ", ".join(f"{name} {found or 'absent'}" for name, found in findings["export"].items()))
    native = findings["native"]
    line("native library", native.get("error") or f"{native['version']} at {native['path']}")
    for kernel in native["kernels"]:
        state = "chosen" if kernel["chosen"] else "can run" if kernel["able"] else "this CPU cannot"
        line(f"  {kernel['kind']}", f"{kernel['isa']:<20} {state}")
    typer.echo(
        "\n".join(["", "missing:", *(f"  {m}" for m in findings["missing"])]) if findings["missing"] else "\nall there"
    )


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application."""
    app.command()(doctor)
