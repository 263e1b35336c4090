"""A shared library's header: whether the file is whole and for this kind of machine. Loading it is left to others.

The loader's own words for these faults are misleading ("No such file" for a library of another machine), and a file cut
short passes it and ends the process with a bus error later.
"""

import os
import struct
from os import PathLike

from edgelm.errors import EdgelmError

__all__ = ["check_elf"]

_MACHINES = {3: "32-bit x86", 40: "32-bit ARM", 62: "64-bit x86", 183: "64-bit ARM", 243: "RISC-V"}
_THIS = "/proc/self/exe"
_AGAIN = "; install edgelm again: pip install --force-reinstall --no-deps edgelm"


def check_elf(path: str | PathLike[str]) -> None:
    """Look at a library before it is loaded; nothing is checked on systems without ELF.

    Raises:
        EdgelmError: it is no library, is cut short, or is for another kind of machine than this Python.
    """
    try:
        with open(_THIS, "rb") as file:
            own = file.read(64)
    except OSError:
        return
    if own[:4] != b"\x7fELF":
        return
    try:
        with open(path, "rb") as file:
            header, size = file.read(64), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise EdgelmError(f"{path} cannot be read: {error.strerror}{_AGAIN}") from error
    if header[:4] != b"\x7fELF" or len(header) < 64:
        raise EdgelmError(f"{path} is damaged: it is no shared library{_AGAIN}")
    machine, here = _machine(header), _machine(own)
    if machine != here:
        raise EdgelmError(
            f"{path} is for {machine}, this Python is for {here}; install edgelm with the pip of this Python"
        )
    if size < (end := _end(header)):
        raise EdgelmError(f"{path} is damaged: it has {size} bytes of {end}{_AGAIN}")


def _machine(header: bytes) -> str:
    number = struct.unpack_from(_order(header) + "H", header, 18)[0]
    return _MACHINES.get(number, f"ELF machine {number}")


def _end(header: bytes) -> int:
    """Where the table of sections ends; linkers write it last."""
    wide = header[4] == 2
    offset = struct.unpack_from(_order(header) + ("Q" if wide else "I"), header, 40 if wide else 32)[0]
    size, count = struct.unpack_from(_order(header) + "HH", header, 58 if wide else 46)
    return int(offset + size * count)


def _order(header: bytes) -> str:
    return ">" if header[5] == 2 else "<"
