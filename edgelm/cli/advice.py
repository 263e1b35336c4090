"""What `edgelm doctor` found to be missing, as sentences with the command that brings it on this machine.

32-bit ARM has its own commands: package indexes have no NumPy, OpenCV or ONNX Runtime for it, Debian has the first two,
and the TFLite engine ends at Python 3.11.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["LAST_TFLITE_RUNTIME", "advise"]

LAST_TFLITE_RUNTIME = (3, 11)
"""The last Python that tflite-runtime has packages for."""


def advise(findings: Mapping[str, Any], problems: Sequence[str]) -> list[str]:
    """Sentences about what is absent or does not work; none where all is there.

    Args:
        findings: of `edgelm.cli.doctor.examine`, all but "missing".
        problems: of installed engines, see `edgelm.runtimes.engines.Engine.problem`.
    """
    arm32 = findings["userland_bits"] == 32 and findings["machine"].startswith(("arm", "aarch64"))
    missing = list(problems)
    missing += _engines(findings, arm32)
    missing += _packages(findings, arm32)
    native = findings["native"]
    if "error" in native:
        missing.append(f"the native library: {native['error']}")
    elif not any(kernel["chosen"] for kernel in native["kernels"]):
        able = list(dict.fromkeys(kernel["isa"] for kernel in native["kernels"] if kernel["able"]))
        missing.append(
            f"EDGELM_ISA is {os.environ.get('EDGELM_ISA')!r}, which this CPU cannot run or this library does not know; "
            f"unset it, or take one of {', '.join(able)}"
        )
    if absent := [name for name, found in findings["export"].items() if found is None]:
        where = "on a 64-bit system" if arm32 else 'pip install "edgelm[export]"'
        missing.append(f"to train and export, not to run models ({', '.join(absent)} absent): {where}")
    return missing


def _engines(findings: Mapping[str, Any], arm32: bool) -> list[str]:
    engines, missing = findings["engines"], []
    if engines["onnxruntime"] is None and not arm32:
        missing.append('to run .onnx files: pip install "edgelm[onnx]"')
    if engines["ai-edge-litert"] is None and engines["tflite-runtime"] is None:
        python = tuple(int(part) for part in findings["python"].split(".")[:2])
        if not arm32:
            missing.append('to run .tflite files: pip install "edgelm[tflite]"')
        elif python > LAST_TFLITE_RUNTIME:
            missing.append(
                f"to run models: no engine has packages for 32-bit ARM and Python {python[0]}.{python[1]}; "
                "take a 64-bit system, or a 32-bit one with Python 3.11"
            )
        else:
            missing.append("to run .tflite files: pip install --no-deps tflite-runtime")
    return missing


def _packages(findings: Mapping[str, Any], arm32: bool) -> list[str]:
    opencv, missing = findings["opencv"], []
    apt = "sudo apt install python3-numpy python3-opencv opencv-data, in an environment with --system-site-packages"
    if findings["numpy"] is None:
        missing.append(f"NumPy: {apt if arm32 else 'pip install numpy'}")
    if opencv["version"] is None:
        why = f" ({opencv['error']})" if opencv.get("error") else ""
        missing.append(f"to read photos and cut out faces{why}: " + (apt if arm32 else "pip install edgelm"))
    elif not opencv["face_cascade"]:
        pip = 'pip install "opencv-python-headless<5", which carries the cascade'
        missing.append("to find faces by itself: " + ("sudo apt install opencv-data" if arm32 else pip))
    return missing
