"""The room in which ARM code is emulated and counted: its Pythons, and the tools that counting adds to it.

A room is a folder with `pi4/python` and `pi5/python`, wrappers that run a 64-bit ARM Python on an emulated Raspberry Pi
and add the QEMU options in EDGELM_QEMU_OPTIONS; making it is left to others. What is made here lies in its folder
`counting` and is made once: the plugin, the marks, LLVM 19 and the native library. Nothing needs root.
"""

import hashlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from crossbuild import BuildError, build_library, cross_compiler, refresh, run

from edgelm.atomic import write_atomic

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LLVM_PACKAGES = ("llvm-19", "libllvm19")


@dataclass(frozen=True)
class Board:
    """A board and its core.

    Attributes:
        folder: of its Python in a room.
        name: of the board.
        core: its name.
        ghz: clock of its core in GHz.
        scheduling: LLVM's scheduling model that stands for the core.
    """

    folder: str
    name: str
    core: str
    ghz: float
    scheduling: str


BOARDS = {
    "a72": Board("pi4", "Raspberry Pi 4", "Cortex-A72", 1.8, "cortex-a72"),
    # LLVM's cortex-a76 is an alias of the A57 model, half as wide as the core; the Neoverse N1 is its sibling.
    "a76": Board("pi5", "Raspberry Pi 5", "Cortex-A76", 2.4, "neoverse-n1"),
}


class RoomError(BuildError):
    """The room lacks something; the text says what to do."""


@dataclass(frozen=True)
class Room:
    """A room.

    Attributes:
        path: of its folder.
    """

    path: Path

    @property
    def cache(self) -> Path:
        """The folder for what counting makes."""
        folder = self.path / "counting"
        folder.mkdir(exist_ok=True)
        return folder

    def python(self, cpu: str) -> Path:
        """The emulated Python with this core.

        Raises:
            RoomError: there is none.
        """
        python = self.path / BOARDS[cpu].folder / "python"
        if not python.is_file():
            raise RoomError(
                f"there is no emulated Python at {python}; make the room with `make arm`, or say --room DIR"
            )
        return python

    @cached_property
    def plugin(self) -> Path:
        """count.c for this machine's QEMU."""
        made = self.cache / "count.so"
        sources = [HERE / "count.c", HERE / "qemu_plugin.h"]
        return refresh(made, sources, ["cc", "-O2", "-Wall", "-shared", "-fPIC", str(sources[0]), "-o"])

    @cached_property
    def marker(self) -> Path:
        """mark.c for the emulated machine."""
        source = HERE / "mark.c"
        flags = ["-O2", "-shared", "-fPIC", "-nostdlib", str(source), "-o"]
        return refresh(self.cache / "mark.so", [source], [*cross_compiler(), *flags])

    @cached_property
    def library(self) -> Path:
        """libedgelm.so of this checkout, with symbols, as it is now: later builds leave it alone."""
        built = build_library(self.cache / "native").read_bytes()
        kept = self.cache / "libraries" / hashlib.sha256(built).hexdigest()[:16] / "libedgelm.so"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(kept, built)
        return kept

    @cached_property
    def llvm(self) -> Path:
        """The folder of LLVM 19's programs, unpacked from the distribution's packages."""
        folder = self.cache / "llvm"
        tools = folder / "usr/lib/llvm-19/bin"
        if not (tools / "llvm-mca").exists():
            run(["apt-get", "download", *LLVM_PACKAGES], self.cache)
            for package in LLVM_PACKAGES:
                (found,) = self.cache.glob(f"{package}_*.deb")
                run(["dpkg-deb", "-x", str(found), str(folder)], self.cache)
                found.unlink()
        return tools

    def tool(self, name: str, args: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program of LLVM 19 on `text`."""
        libraries = self.llvm.parents[2] / "lib" / f"{os.uname().machine}-linux-gnu"
        env = os.environ | {"LD_LIBRARY_PATH": f"{libraries}:{self.llvm.parent / 'lib'}"}
        command = [str(self.llvm / name), *args]
        done = subprocess.run(command, input=text, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RoomError(f"{name} failed (status {done.returncode}): {done.stderr[-500:]}")
        return done
