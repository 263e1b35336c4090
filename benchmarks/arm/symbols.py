"""Which function an address of the emulated process lies in, by its memory map and the files' symbol tables."""

import bisect
import re
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from counting import Mapping
from room import Room

_LOAD = 1  # the type of a program header whose bytes are mapped


class Places:
    """Where the addresses of one process lie.

    Args:
        room: its LLVM reads the symbols.
        mappings: of the process.
    """

    def __init__(self, room: Room, mappings: Sequence[Mapping]) -> None:
        self._room = room
        self._mappings = sorted(mappings, key=lambda mapping: mapping.start)
        self._starts = [mapping.start for mapping in self._mappings]

    def file(self, address: int) -> Path | None:
        """The file that is mapped there."""
        index = bisect.bisect_right(self._starts, address) - 1
        inside = index >= 0 and address < self._mappings[index].end
        return Path(self._mappings[index].path) if inside else None

    def function(self, address: int) -> str:
        """The symbol, the file where that has none, or "?"."""
        path = self.file(address)
        if path is None:
            return "?"
        starts, names = _symbols(self._room, path)
        index = bisect.bisect_right(starts, self.inside(address)) - 1
        return names[index] if index >= 0 else path.name

    def line(self, address: int) -> str:
        """The line of source "file.c:12", or "" without debug information."""
        path = self.file(address)
        if path is None:
            return ""
        args = [f"--obj={path}", "--no-inlines", "--basenames", hex(self.inside(address))]
        found = re.search(r"^([^?\n]+\.\w+:\d+)", self._room.tool("llvm-symbolizer", args).stdout, re.MULTILINE)
        return found[1] if found else ""

    def inside(self, address: int) -> int:
        """The address as the mapped file's own tables give it."""
        mapping = self._mappings[bisect.bisect_right(self._starts, address) - 1]
        offset = address - mapping.start + mapping.offset
        for start, size, own in _segments(Path(mapping.path)):
            if start <= offset < start + size:
                return offset - start + own
        return offset


@cache
def _symbols(room: Room, path: Path) -> tuple[list[int], list[str]]:
    lines = room.tool("llvm-nm", ["--defined-only", "--debug-syms", "--no-sort", str(path)]).stdout.splitlines()
    return named_functions(lines)


def named_functions(lines: Sequence[str]) -> tuple[list[int], list[str]]:
    """Addresses in order and what lies there, from nm's lines in the order of the file's table.

    There a source file stands before its own functions, whose names several files may have.
    """
    functions, source = [], ""
    for line in lines:
        address, kind, name, *_ = [*line.split(maxsplit=2), "", ""]
        if kind == "a":
            source = name
        elif kind in ("t", "T", "w", "W") and not name.startswith("$"):
            functions.append((int(address, 16), f"{source} {name}" if kind == "t" and source else name))
    functions.sort()
    return [address for address, _ in functions], [name for _, name in functions]


@cache
def _segments(path: Path) -> list[tuple[int, int, int]]:
    """(offset, size, address) of what a 64-bit little-endian ELF file maps."""
    data = path.read_bytes()
    table, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    found = []
    for index in range(count):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, table + index * size)
        if kind == _LOAD:
            found.append((offset, length, address))
    return found
