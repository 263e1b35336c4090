"""What a core can do at most for each kind of kernel: its arithmetic on registers, by the core's instruction tables.

A bound is made of the instructions without which a product cannot be added up: no loads, no addresses, no loops, no
widening that happens once in a while. LLVM's scheduling model tells how many cycles its units need for them and which
unit they wait for. Of several ways to do the same arithmetic the fastest is the bound.
"""

import json
from dataclasses import dataclass

from room import BOARDS, Room


@dataclass(frozen=True)
class Way:
    """A way to multiply and add.

    Attributes:
        what: in words.
        code: A64 instructions, of which none waits for another where they are repeated.
        macs: products that they add up.
        cpus: cores that have the instructions.
    """

    what: str
    code: tuple[str, ...]
    macs: int
    cpus: tuple[str, ...] = tuple(BOARDS)


@dataclass(frozen=True)
class Bound:
    """The fastest way on a core.

    Attributes:
        rate: multiply-accumulates a cycle.
        way: which.
        unit: what is busy all the time, in the scheduling model's words.
    """

    rate: float
    way: Way
    unit: str


_FEW = (
    Way("lookup of 8 bytes, widening add", ("tbl v1.8b, { v28.16b }, v29.8b", "uaddw v2.8h, v2.8h, v1.8b"), 32),
    Way("lookup of 16 bytes in two tables, pairwise add",
        ("tbl v1.16b, { v27.16b, v28.16b }, v29.16b", "uadalp v2.8h, v1.16b"), 64),
    Way("lookup of 16 bytes, add as words, add of upper bytes",
        ("tbl v1.16b, { v28.16b }, v29.16b", "add v2.8h, v2.8h, v1.8h", "usra v3.8h, v1.8h, #8"), 64),
)  # fmt: skip
_MANY = (
    Way("lookups of 8 lower and 8 upper bytes, widening add, add of bytes",
        ("tbl v1.8b, { v28.16b }, v29.8b", "uaddw v2.8h, v2.8h, v1.8b",
         "tbl v3.8b, { v27.16b }, v29.8b", "add v4.8b, v4.8b, v3.8b"), 32),
    Way("lookups of 16 lower and 16 upper bytes in two tables each, pairwise add, add of bytes",
        ("tbl v1.16b, { v27.16b, v28.16b }, v29.16b", "uadalp v2.8h, v1.16b",
         "tbl v3.16b, { v25.16b, v26.16b }, v29.16b", "add v4.16b, v4.16b, v3.16b"), 64),
)  # fmt: skip
# The upper bytes of sums of four 13-bit numbers reach 127: after two of them a byte is full.
_WIDE = (
    Way("as for i8, upper bytes widened after every other one",
        (*_MANY[0].code[:3], *_MANY[0].code[:3], "add v4.8b, v3.8b, v5.8b", "uaddw v6.8h, v6.8h, v4.8b"), 64),
    Way("as for i8 with 16 bytes, upper bytes added in pairs after every other one",
        (*_MANY[1].code[:3], *_MANY[1].code[:3], "add v4.16b, v3.16b, v5.16b", "uadalp v6.8h, v4.16b"), 128),
)  # fmt: skip
_DOTS = Way("dot products of bytes", ("sdot v1.4s, v30.16b, v31.4b[0]",), 16, ("a76",))
_FUSED = Way("fused multiply-add", ("fmla v1.4s, v30.4s, v31.s[0]",), 4)

VECTOR_PIPES = 2
"""Of either core; no way holds anything but vector instructions."""

WAYS: dict[str, tuple[Way, ...]] = {
    "b1": (
        Way("exclusive or, bit count, add of bytes",
            ("eor v1.16b, v30.16b, v31.16b", "cnt v2.16b, v1.16b", "add v3.16b, v3.16b, v2.16b"), 128),
    ),
    "i6": _FEW,
    "i8": (*_MANY, _DOTS),
    "i16": _WIDE,
    "f32": (_FUSED,),
    "r8": (
        _DOTS,
        Way("two products of bytes in one word each, pairwise add",
            ("smull v1.8h, v30.8b, v31.8b", "smlal2 v2.8h, v30.16b, v31.16b", "sadalp v3.4s, v2.8h"), 16),
    ),
    "r32": (_FUSED,),
}  # fmt: skip
"""By kind of kernel, see docs/kernels.md."""


def bounds(room: Room, cpu: str) -> dict[str, Bound]:
    """The bound of each kind on a core."""
    ways = [(kind, way) for kind, several in WAYS.items() for way in several if cpu in way.cpus]
    source = ""
    for index, (_, way) in enumerate(ways):
        source += "\n".join([f"# LLVM-MCA-BEGIN {index}", *way.code, f"# LLVM-MCA-END {index}", ""])
    flags = ["-march=aarch64", f"-mcpu={BOARDS[cpu].scheduling}", "-mattr=+v8.2a,+dotprod", "-iterations=1", "-json"]
    report = json.loads(room.tool("llvm-mca", flags, source).stdout)
    units = report["TargetInfo"]["Resources"]
    found: dict[str, Bound] = {}
    for region in report["CodeRegions"]:
        kind, way = ways[int(region["Name"])]
        busy = _pressure(region["ResourcePressureView"], len(way.code), units)
        # The reciprocal throughput looks at instructions that fit one pipe and at those that fit both apart.
        cycles = max(region["SummaryView"]["BlockRThroughput"], sum(busy.values()) / VECTOR_PIPES)
        rate = way.macs / cycles
        if kind not in found or rate > found[kind].rate:
            full = max(busy.values())
            limits = [unit for unit in sorted(busy) if busy[unit] >= min(full, cycles)]
            both = sum(busy.values()) / VECTOR_PIPES >= cycles
            found[kind] = Bound(rate, way, "both vector pipes" if both else " and ".join(limits))
    return found


def _pressure(view: dict[str, list[dict[str, float]]], length: int, units: list[str]) -> dict[str, float]:
    """Cycles for which a unit is busy with the whole way; the row after the last instruction holds the sums."""
    rows = view["ResourcePressureInfo"]
    return {units[int(row["ResourceIndex"])]: row["ResourceUsage"] for row in rows if row["InstructionIndex"] == length}
