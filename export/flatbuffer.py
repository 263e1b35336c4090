"""Write FlatBuffers from plain values, driven by the same tables of fields that `edgelm.runtimes.flatbuffer` reads by.

Front to back: a table lies before what it points at, and blobs come last, so that a file starts with its structure.
"""

import struct
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from edgelm.runtimes.flatbuffer import NUMBERS
from edgelm.runtimes.tflite_schema import TABLES, Field

__all__ = ["write_flatbuffer"]

_BLOB_ALIGNMENT = 16


def write_flatbuffer(identifier: bytes, fields: Mapping[str, Field], values: Mapping[str, Any]) -> bytes:
    """Serialize one table and all below it.

    Args:
        identifier: 4 bytes that name the format.
        fields: of the outermost table.
        values: by field name. A number; text; bytes for a blob; a mapping for a table; a sequence of these for a
            vector; a pair (fields, mapping) for "options". What is left out takes its default.

    Returns:
        The file.
    """
    writer = _Writer(identifier)
    writer.put(0, "options", (fields, values))
    return writer.finish()


class _Writer:
    def __init__(self, identifier: bytes) -> None:
        self.out = bytearray(4) + identifier
        self.todo: deque[tuple[int, str, Any]] = deque()
        self.vtables: dict[bytes, int] = {}

    def put(self, slot: int, kind: str, value: Any) -> None:
        """Promise that the offset at `slot` will lead to the value."""
        self.todo.append((slot, kind, value))

    def finish(self) -> bytes:
        blobs = []
        while self.todo:
            slot, kind, value = self.todo.popleft()
            if kind == "blob":
                blobs.append((slot, value))
            else:
                self._point(slot, self._place(kind, value))
        for slot, value in blobs:
            self._align(_BLOB_ALIGNMENT, 4)
            self._point(slot, len(self.out))
            self.out += struct.pack("<I", len(value)) + value
        self._align(_BLOB_ALIGNMENT)
        return bytes(self.out)

    def _point(self, slot: int, place: int) -> None:
        struct.pack_into("<I", self.out, slot, place - slot)

    def _align(self, alignment: int, ahead: int = 0) -> None:
        """Pad so that what comes `ahead` bytes later is aligned."""
        self.out += bytes(-(len(self.out) + ahead) % alignment)

    def _place(self, kind: str, value: Any) -> int:
        """Append a value; returns where it starts."""
        if kind == "options":
            return self._table(*value)
        if kind in TABLES:
            return self._table(TABLES[kind], value)
        if kind == "string":
            text = value.encode()
            self._align(4)
            place = len(self.out)
            self.out += struct.pack("<I", len(text)) + text + b"\0"
            return place
        return self._vector(kind.strip("[]"), value)

    def _vector(self, element: str, values: Sequence[Any]) -> int:
        letter = NUMBERS.get(element)
        self._align(max(4, struct.calcsize(letter or "I")), 4)
        place = len(self.out)
        self.out += struct.pack("<I", len(values))
        if letter:
            self.out += struct.pack(f"<{len(values)}{letter}", *values)
        else:
            self.out += bytes(4 * len(values))
            for i, value in enumerate(values):
                self.put(place + 4 + 4 * i, element, value)
        return place

    def _table(self, fields: Mapping[str, Field], values: Mapping[str, Any]) -> int:
        """Larger fields first, so that each is aligned; equal vtables are shared."""
        present = [(f, values[name]) for name, f in fields.items() if name in values and values[name] != f.default]
        present.sort(key=lambda pair: -_inline(pair[0]))
        offsets = [0] * (1 + max((f.id for f, _ in present), default=-1))
        size = 4
        for f, _ in present:
            offsets[f.id] = size
            size += _inline(f)
        vtable = struct.pack(f"<{2 + len(offsets)}H", 4 + 2 * len(offsets), size, *offsets)
        if vtable not in self.vtables:
            self._align(2)
            self.vtables[vtable] = len(self.out)
            self.out += vtable
        self._align(4)
        place = len(self.out)
        self.out += struct.pack("<i", place - self.vtables[vtable]) + bytes(size - 4)
        for f, value in present:
            slot = place + offsets[f.id]
            if f.kind in NUMBERS:
                struct.pack_into("<" + NUMBERS[f.kind], self.out, slot, value)
            else:
                self.put(slot, f.kind, value)
        return place


def _inline(field: Field) -> int:
    """Bytes that the field takes inside its table."""
    return struct.calcsize(NUMBERS.get(field.kind, "I"))
