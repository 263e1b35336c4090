"""The native library for 64-bit ARM with its symbols, from the sources of this checkout. Wheels are left to others."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "runtimes" / "native"
TARGET = "aarch64-linux-gnu.2.17"


class BuildError(Exception):
    """Something cannot be built; the text says what to do."""


def cross_compiler() -> list[str]:
    """The compiler of $EDGELM_ARM_CC, else zig where this Python has it, else Debian's cross compiler."""
    if named := os.environ.get("EDGELM_ARM_CC"):
        return shlex.split(named)
    spec = find_spec("ziglang")
    if spec is not None and spec.submodule_search_locations:
        # The CPU is always given: zig would take that of the building machine.
        return [str(Path(spec.submodule_search_locations[0]) / "zig"), "cc", "-target", TARGET, "-mcpu=generic"]
    return ["aarch64-linux-gnu-gcc"]


def compiler_version() -> str:
    """What the cross compiler says of itself, for example "clang version 22.1.0"."""
    return run([*cross_compiler(), "--version"], Path.cwd()).splitlines()[0].split(" (")[0]


def build_library(folder: Path) -> Path:
    """Build or refresh libedgelm.so in a folder, with symbols and lines.

    Raises:
        BuildError: no compiler, or it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # CMake takes no arguments with a compiler's name.
    program = folder / "cc"
    text = f'#!/bin/sh\nexec {shlex.join(cross_compiler())} "$@"\n'
    if not program.exists() or program.read_text() != text:
        shutil.rmtree(folder)  # what another compiler made
        folder.mkdir()
        program.write_text(text)
        program.chmod(0o755)
    settings = {
        "CMAKE_C_COMPILER": str(program),
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": "aarch64",
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_C_FLAGS": "-g",  # adds tables, and changes no instruction
        "EDGELM_WERROR": "OFF",
    }
    options = [f"-D{key}={value}" for key, value in settings.items()]
    run(["cmake", "-S", str(SOURCES), "-B", str(folder / "build"), "-G", "Ninja", *options], folder)
    run(["cmake", "--build", str(folder / "build"), "--target", "edgelm"], folder)
    return folder / "build" / "libedgelm.so"


def refresh(made: Path, sources: Sequence[Path], command: Sequence[str]) -> Path:
    """Run `command` with `made` as its last argument where it is missing or older than a source."""
    if not made.exists() or made.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        run([*command, str(made)], made.parent)
    return made


def run(command: Sequence[str], folder: Path) -> str:
    """Run a command in a folder and return what it printed.

    Raises:
        BuildError: it is not there, or fails.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        done = subprocess.run(
            command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise BuildError(
            f"there is no {command[0]} here; counting needs qemu-user, a C compiler, CMake and Ninja, and to build for "
            "ARM ziglang from PyPI, gcc-aarch64-linux-gnu, or a compiler's command in EDGELM_ARM_CC"
        ) from error
    if done.returncode != 0:
        raise BuildError(
            f"{shlex.join(command)} failed (status {done.returncode}): {(done.stdout + done.stderr)[-800:]}"
        )
    return done.stdout
