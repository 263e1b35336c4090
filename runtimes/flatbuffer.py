"""A bounds-checked reader of FlatBuffers, driven by tables of fields; what the fields mean is left to its caller.

A table starts with the distance back to its vtable, which says at which byte of the table each field lies; strings,
vectors and other tables are stored elsewhere, at an unsigned distance from the field. All numbers are little-endian.
"""

import struct
from collections.abc import Mapping
from typing import Any

from edgelm.errors import ModelFileError
from edgelm.runtimes.tflite_schema import TABLES, Field

__all__ = ["NUMBERS", "FlatBuffer", "damaged"]

NUMBERS = {"i8": "b", "u8": "B", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "f32": "f"}
"""A field's kind -> `struct`'s letter."""

_MAX_STEP = 4096
_MAX_ITEMS = 1 << 20  # tables, strings and numbers in all: a hostile file may point at one vector a thousand times


def damaged(what: str) -> ModelFileError:
    """The error for a file whose structure is wrong."""
    return ModelFileError(f"the TFLite file is damaged or not edgelm's ({what}); copy or export it again")


class FlatBuffer:
    """Reads tables; every offset is checked against the file and places count bytes from its start."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._budget = _MAX_ITEMS

    def root(self) -> int:
        """Place of the outermost table."""
        return self._target(0)

    def table(self, at: int, fields: Mapping[str, Field]) -> dict[str, Any]:
        """All fields of a table by name.

        Absent ones have their default, "" for a string, b"" for a blob, () for a vector, None for a table. Vectors are
        tuples, blobs memoryviews; a field of kind "options" is given as the place of its table.

        Raises:
            ModelFileError: an offset leaves the file, or the table has a field that is not listed.
        """
        self._spend(1 + len(fields))
        vtable = at - self._number(at, "i32")
        vtable_bytes, table_bytes = self._number(vtable, "u16"), self._number(vtable + 2, "u16")
        if vtable_bytes < 4 or vtable_bytes % 2 or table_bytes < 4:
            raise damaged(f"a table of {table_bytes} bytes with {vtable_bytes} bytes of fields at byte {at}")
        self._check(vtable, vtable_bytes)
        self._check(at, table_bytes)
        offsets = struct.unpack_from(f"<{vtable_bytes // 2 - 2}H", self._data, vtable + 4)
        known = {field.id for field in fields.values()}
        if unknown := [i for i, offset in enumerate(offsets) if offset and i not in known]:
            raise damaged(f"unknown fields {unknown[:8]} beside {list(fields)}")
        values = {}
        for name, field in fields.items():
            offset = offsets[field.id] if field.id < len(offsets) else 0
            size = struct.calcsize(NUMBERS.get(field.kind, "I"))
            if offset and not 4 <= offset <= table_bytes - size:
                raise damaged(f"{name} at byte {offset} of a table of {table_bytes}")
            value = self._value(at + offset, field) if offset else _absent(field)
            if field.names is not None and value not in field.names.values():
                raise damaged(f"{name} is {value}, known are {dict(field.names)}")
            if field.positive and not 1 <= value <= _MAX_STEP:
                raise damaged(f"{name} is {value}")
            values[name] = value
        return values

    def _value(self, at: int, field: Field) -> Any:
        kind = field.kind
        if kind in NUMBERS:
            return self._number(at, kind)
        place = self._target(at)
        if kind == "options":
            return place
        if kind in TABLES:
            return self.table(place, TABLES[kind])
        count = self._number(place, "u32")
        if kind == "blob":
            self._check(place + 4, count)
            return memoryview(self._data)[place + 4 : place + 4 + count]
        if kind == "string":
            return self._string(place + 4, count)
        self._spend(count)
        element = kind.strip("[]")
        if element in NUMBERS:
            size = struct.calcsize(NUMBERS[element])
            if (place + 4) % size:
                raise damaged(f"a vector at byte {place}")
            self._check(place + 4, count * size)
            return struct.unpack_from(f"<{count}{NUMBERS[element]}", self._data, place + 4)
        return tuple(self.table(self._target(place + 4 + 4 * i), TABLES[element]) for i in range(count))

    def _string(self, at: int, count: int) -> str:
        self._check(at, count + 1)
        self._spend(count)
        if self._data[at + count] != 0:
            raise damaged(f"a string without its end at byte {at}")
        try:
            return self._data[at : at + count].decode()
        except UnicodeDecodeError as error:
            raise damaged(f"a name that is not UTF-8 at byte {at}") from error

    def _number(self, at: int, kind: str) -> Any:
        size = struct.calcsize(NUMBERS[kind])
        self._check(at, size)
        if at % size:
            raise damaged(f"a number at byte {at}")
        return struct.unpack_from("<" + NUMBERS[kind], self._data, at)[0]

    def _target(self, at: int) -> int:
        return at + int(self._number(at, "u32"))

    def _check(self, at: int, size: int) -> None:
        if at < 0 or at + size > len(self._data):
            raise damaged(f"{size} bytes at byte {at} of {len(self._data)}")

    def _spend(self, items: int) -> None:
        self._budget -= items
        if self._budget < 0:
            raise damaged(f"more than {_MAX_ITEMS} items")


def _absent(field: Field) -> Any:
    if field.kind in NUMBERS:
        return field.default
    if field.kind.startswith("["):
        return ()
    return {"string": "", "blob": b""}.get(field.kind)
