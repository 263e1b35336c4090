"""Counting: a file runs in the emulated machine, and what comes back are the blocks of instructions that it executed.

Counts are exact and have nothing to do with the emulator's speed. What they cost on a core is left to mca.py.
"""

import hashlib
import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from room import HERE, ROOT, Room, RoomError

MOST_CHANGE = 1e-3
"""Between the two least windows over the same work, as a share: allocators and Python's own caches differ a little."""

MOST_CHANGE_PLAIN = 3e-3
"""The same of other engines, whose own threads do something beside the work now and then; hence the least."""

WARM = 3
"""Inferences until edgelm's operator in ONNX Runtime has settled how many threads there are."""


@dataclass(frozen=True)
class Block:
    """A stretch of instructions that QEMU translates as one: it is entered at its start and ends with a branch at most.

    Attributes:
        address: of its first instruction in the emulated process.
        words: its instructions.
    """

    address: int
    words: tuple[int, ...]


Window = Counter[Block]
"""How often each block was executed."""


@dataclass(frozen=True)
class Mapping:
    """A file's pages in the emulated process.

    Attributes:
        start: first address.
        end: one past the last.
        offset: of `start` in the file.
        path: of the file.
    """

    start: int
    end: int
    offset: int
    path: str


@dataclass(frozen=True)
class Counted:
    """What one inference executed.

    Attributes:
        window: the blocks.
        about: the engine and its version; of a layer also its kernel.
        mappings: what lies where.
        output: (1, O, OH, OW) of a network for the input of guest.image.
    """

    window: Window
    about: dict[str, Any]
    mappings: tuple[Mapping, ...]
    output: NDArray[np.float32] | None


def instructions(window: Window) -> int:
    """How many were executed."""
    return sum(runs * len(block.words) for block, runs in window.items())


def classes(window: Window) -> dict[str, int]:
    """Executed instructions by the class that A64's encoding gives them."""
    found: Counter[str] = Counter()
    for block, runs in window.items():
        for word in block.words:
            found[_class(word)] += runs
    return dict(found.most_common())


def _class(word: int) -> str:
    group = word >> 25 & 15
    if group & 5 == 4:
        return "load or store"
    if group & 7 == 7:
        return "SIMD or float"
    if group & 7 == 5 or group & 14 == 8:
        return "integer"
    return "branch or system" if group & 14 == 10 else "other"


def count(
    room: Room, cpu: str, file: Path, *, library: Path, plain: bool = False, warm: int = WARM, windows: int = 3
) -> Counted:
    """Run `file` on an emulated core and count one inference, or of an .npz one run of its step.

    Args:
        room: where.
        cpu: one of room.BOARDS.
        file: see guest.py.
        library: libedgelm.so for 64-bit ARM.
        plain: by the engine alone.
        warm: inferences before the first window; engines prepare themselves in these.
        windows: how many are compared, from 1 on; the least counts.

    Raises:
        RoomError: the room lacks something, the run failed, or windows over the same work differ.
    """
    with tempfile.TemporaryDirectory() as name:
        out, maps, output = Path(name) / "blocks", Path(name) / "maps", Path(name) / "output.npy"
        env = os.environ | {
            "EDGELM_QEMU_OPTIONS": f"-plugin {room.plugin},out={out}",
            "EDGELM_LIBRARY": str(library.resolve()),
            "PYTHONPATH": str(ROOT),
        }
        env.pop("EDGELM_ISA", None)
        command = [str(room.python(cpu)), str(HERE / "guest.py"), str(file.resolve())]
        command += ["--marker", str(room.marker), "--maps", str(maps), "--output", str(output)]
        command += ["--warm", str(warm), "--windows", str(windows)]
        done = subprocess.run(
            command + ["--plain"] * plain, env=env, capture_output=True, text=True, check=False, cwd=name
        )
        if done.returncode != 0:
            raise RoomError(
                f"{file.name} failed on the emulated {cpu} (status {done.returncode}): {done.stderr[-800:]}"
            )
        found = list(read_windows(out.read_text().splitlines()))
        about = json.loads(done.stdout.splitlines()[-1])
        mappings = tuple(read_maps(maps.read_text()))
        floats = np.load(output) if output.exists() else None
    if file.suffix == ".npz":
        # Python's part of a call depends on where its arrays happen to lie.
        found = [within(window, mappings, library) for window in found]
        found = [step_of(once, thrice) for once, thrice in zip(found[::2], found[1::2], strict=True)]
    window = least(file.name, found, MOST_CHANGE_PLAIN if plain else MOST_CHANGE)
    return Counted(window, about, mappings, floats)


def least(name: str, windows: Sequence[Window], most_change: float = MOST_CHANGE) -> Window:
    """The window with the fewest instructions of several over the same work.

    Raises:
        RoomError: there is none, or no other one comes near it.
    """
    ordered = sorted(windows, key=instructions)
    totals = [instructions(window) for window in ordered]
    if not totals or (len(totals) > 1 and totals[1] - totals[0] > most_change * totals[1]):
        raise RoomError(f"{name} executed {totals} instructions in windows over the same work; run it again")
    return ordered[0]


def read_windows(lines: Iterable[str]) -> Iterable[Window]:
    """The windows in a file of count.c, which names a block twice where it was translated twice."""
    window: Window = Counter()
    for line in lines:
        if line == "window":
            window = Counter()
        elif line == "end":
            yield window
        else:
            runs, address, *words = line.split()
            window[Block(int(address, 16), tuple(int(word, 16) for word in words))] += int(runs)


def within(window: Window, mappings: Iterable[Mapping], file: Path) -> Window:
    """The blocks that lie in a file."""
    spans = [(mapping.start, mapping.end) for mapping in mappings if mapping.path == str(file.resolve())]
    return Counter(
        {block: runs for block, runs in window.items() if any(start <= block.address < end for start, end in spans)}
    )


def step_of(once: Window, thrice: Window) -> Window:
    """What a step executes, from windows in which it ran some times and two times more."""
    return Counter({block: (runs - once[block]) // 2 for block, runs in thrice.items() if runs - once[block] >= 2})


def read_maps(text: str) -> Iterable[Mapping]:
    """The mapped files of Linux's /proc/self/maps."""
    for line in text.splitlines():
        span, _, offset, _, _, *path = line.split(maxsplit=5)
        if path and path[0].startswith("/"):
            start, end = (int(side, 16) for side in span.split("-"))
            yield Mapping(start, end, int(offset, 16), path[0].strip())


def digest(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
