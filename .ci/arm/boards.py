"""The boards that are emulated, and the programs that run Python on each.

A board is a folder that stands for the root of its file system: links into a Debian root, and of its own what the
kernel would say about the CPU. Libraries read that: it has to match the CPU that qemu makes.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

_BASE = "fp asimd evtstrm crc32 cpuid"
_A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_A7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"


@dataclass(frozen=True)
class Board:
    """An emulated board.

    Attributes:
        name: of its folder.
        model: what the kernel calls it.
        root: the folder of the Debian root.
        qemu: the emulator's options for its CPU and pages.
        implementation: CPU architecture, variant and part as the kernel prints them.
        features: those of the CPU, as the kernel prints them.
    """

    name: str
    model: str
    root: str
    qemu: tuple[str, ...]
    implementation: tuple[str, str, str]
    features: str

    @property
    def bits(self) -> int:
        """Of its addresses."""
        return 32 if self.root == "armhf" else 64


BOARDS = (
    Board("pi3", "Raspberry Pi 3 Model B Rev 1.2", "arm64", ("-cpu", "cortex-a53"), ("8", "0x0", "0xd03"), _BASE),
    Board("pi4", "Raspberry Pi 4 Model B Rev 1.4", "arm64", ("-cpu", "cortex-a72"), ("8", "0x0", "0xd08"), _BASE),
    Board(
        *("pi5", "Raspberry Pi 5 Model B Rev 1.0", "arm64"),
        *(("-cpu", "cortex-a76", "-p", "16384"), ("8", "0x4", "0xd0b"), _A76),
    ),
    Board("pi32", "Raspberry Pi 2 Model B Rev 1.1", "armhf", ("-cpu", "cortex-a7"), ("7", "0x0", "0xc07"), _A7),
)


def cpuinfo(board: Board) -> str:
    """What the kernel of the board writes about its four cores."""
    architecture, variant, part = board.implementation
    lines = {
        "BogoMIPS": "108.00",
        "Features": board.features,
        "CPU implementer": "0x41",
        "CPU architecture": architecture,
        "CPU variant": variant,
        "CPU part": part,
        "CPU revision": "1",
    }
    body = "".join(f"{key}\t: {value}\n" for key, value in lines.items())
    return "".join(f"processor\t: {core}\n{body}\n" for core in range(4)) + f"Model\t\t: {board.model}\n"


def wrapper(board: Board, room: Path, name: str, sites: tuple[str, ...]) -> str:
    """A shell script that runs Python on the board with these folders of the room to import from.

    A program beside it in the environment's PYTHONPATH comes before the installed one; EDGELM_QEMU_OPTIONS are options
    that qemu gets, too.
    """
    folder = room / board.name
    emulator = "qemu-arm" if board.bits == 32 else "qemu-aarch64"
    late = ":".join(str(room / site) for site in sites)
    command = shlex.join([emulator, *board.qemu, "-L", str(folder)])
    return (
        "#!/bin/sh\n"
        f"export EDGELM_ARM_PYTHON={shlex.quote(str(folder / name))} OPENBLAS_NUM_THREADS=1\n"
        "unset VIRTUAL_ENV OPENBLAS_CORETYPE\n"
        f'export PYTHONPATH="{room / "hook"}${{PYTHONPATH:+:$PYTHONPATH}}:{late}"\n'
        f'exec {command} $EDGELM_QEMU_OPTIONS {shlex.quote(str(folder / "usr/bin/python3"))} "$@"\n'
    )


# The emulated Python takes the emulated program for itself, which the machine cannot start.
HOOK = '''"""Lets programs that start their own Python again start it under emulation."""

import os
import sys

sys.executable = os.environ["EDGELM_ARM_PYTHON"]
'''


def lay_out(board: Board, room: Path, pythons: dict[str, tuple[str, ...]]) -> None:
    """Makes the folder of a board in a room; `pythons` are names of programs and what each imports from."""
    folder = room / board.name
    (folder / "proc" / "device-tree").mkdir(parents=True, exist_ok=True)
    (folder / "proc" / "cpuinfo").write_text(cpuinfo(board))
    (folder / "proc" / "device-tree" / "model").write_text(board.model + "\0")
    for entry in (room / board.root).iterdir():
        link = folder / entry.name
        if not link.is_symlink():
            link.symlink_to(Path("..", board.root, entry.name))
    (room / "hook").mkdir(exist_ok=True)
    (room / "hook" / "sitecustomize.py").write_text(HOOK)
    for name, sites in pythons.items():
        path = folder / name
        path.write_text(wrapper(board, room, name, sites))
        path.chmod(0o755)
