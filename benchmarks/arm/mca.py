"""Static estimates of cycles: LLVM's scheduling models over the blocks that were executed.

Each block is costed as if it ran in a loop of its own, all its data in the level-1 cache, every branch foreseen: right
for a block that branches back to itself, as kernels' inner loops do, and an approximation for any other. Blocks are
costed from the heaviest on until they hold COVERED of all instructions; the rest is assumed to be like them. Estimates
are to be multiplied with calibration.py before anybody speaks of time.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from counting import Block, Window, instructions
from room import BOARDS, Room

COVERED = 0.97
ITERATIONS = 20
"""Of each block in the model; the calibration was made with as many, and holds for these."""

_FEATURES = "+v8.2a,+dotprod,+fullfp16"
_RELATIVE = re.compile(r"^(b|bl|b\.\w+|cbn?z|tbn?z|adrp?|ldr|ldrsw|prfm)\s[^\[]*#-?\d+$")


@dataclass(frozen=True)
class Cost:
    """What one execution of a block takes.

    Attributes:
        cycles: estimate, from issuing to retiring ITERATIONS of them.
        bound: cycles that the busiest unit alone would take.
    """

    cycles: float
    bound: float


@dataclass(frozen=True)
class Estimate:
    """Of a window.

    Attributes:
        cycles: all, those of blocks that were not costed by proportion.
        costs: of the costed blocks.
        covered: share of the instructions that these hold.
        window: the blocks, joined.
    """

    cycles: float
    costs: dict[Block, Cost]
    covered: float
    window: Window


def estimate(room: Room, cpu: str, window: Window) -> Estimate:
    """Cost a window on a core's scheduling model, uncalibrated."""
    window = joined(window)
    total = instructions(window)
    chosen, held = [], 0
    for block in sorted(window, key=lambda block: window[block] * len(block.words), reverse=True):
        if held >= COVERED * total:
            break
        chosen.append(block)
        held += window[block] * len(block.words)
    costs = cost(room, cpu, chosen)
    known = sum(window[block] * len(block.words) for block in costs)
    cycles = sum(window[block] * costs[block].cycles for block in costs)
    return Estimate(cycles * total / known, costs, known / total, window)


def joined(window: Window) -> Window:
    """The same executions, with blocks that QEMU cut at the end of a page put together again.

    A block without a branch at its end is followed by the one behind it, always. Left apart, a loop that happens to lie
    across two pages would be costed as two, and estimates would depend on where the linker put it.
    """
    found = Counter(window)
    at: dict[int, list[Block]] = {}
    for block in window:
        at.setdefault(block.address, []).append(block)
    # From the last on, so that what a block is joined to is whole.
    for block in sorted(window, key=lambda block: block.address, reverse=True):
        runs = found[block]
        behind = at.get(block.address + 4 * len(block.words), [])
        if leaves(block) or not runs or not behind:
            continue
        follower = max(behind, key=found.__getitem__)
        if found[follower] < runs:
            continue
        whole = Block(block.address, block.words + follower.words)
        for part, change in ((block, -runs), (follower, -runs), (whole, runs)):
            found[part] += change
        at[block.address].append(whole)
    return +found


def leaves(block: Block) -> bool:
    """Whether its last instruction is a branch or goes to the system."""
    return block.words[-1] >> 26 & 7 == 5


def disassemble(room: Room, words: Sequence[int]) -> list[str | None]:
    """Each instruction as text; None for what LLVM does not know."""
    lines = (" ".join(f"0x{byte:02x}" for byte in word.to_bytes(4, "little")) for word in words)
    done = room.tool("llvm-mc", ["-disassemble", "-triple=aarch64", f"-mattr={_FEATURES}"], "\n".join(lines) + "\n")
    unknown = {int(line) for line in re.findall(r"<stdin>:(\d+):\d+: warning: invalid", done.stderr)}
    texts = iter([" ".join(line.split()) for line in done.stdout.splitlines() if line.strip() and line[0] == "\t"
                  and not line.strip().startswith(".")])  # fmt: skip
    return [None if number in unknown else next(texts) for number in range(1, len(words) + 1)]


def cost(room: Room, cpu: str, blocks: Sequence[Block], iterations: int = ITERATIONS) -> dict[Block, Cost]:
    """Cost blocks, each as a loop; those that the model cannot take are left out."""
    words = sorted({word for block in blocks for word in block.words})
    texts = dict(zip(words, disassemble(room, words), strict=True))
    source = []
    for index, block in enumerate(blocks):
        source.append(f"# LLVM-MCA-BEGIN {index}")
        # Distances to other places of the program mean nothing here, and some are refused when read again.
        source += [_placeless(text) for word in block.words if (text := texts[word]) is not None]
        source.append(f"# LLVM-MCA-END {index}")
    flags = ["-march=aarch64", f"-mcpu={BOARDS[cpu].scheduling}", f"-mattr={_FEATURES}", f"-iterations={iterations}"]
    flags += ["-skip-unsupported-instructions=any", "-json"]
    regions = json.loads(room.tool("llvm-mca", flags, "\n".join(source) + "\n").stdout)["CodeRegions"]
    costs = {}
    for region in regions:
        summary = region["SummaryView"]
        costs[blocks[int(region["Name"])]] = Cost(summary["TotalCycles"] / iterations, summary["BlockRThroughput"])
    return costs


def _placeless(text: str) -> str:
    if not _RELATIVE.match(text):
        return text
    return re.sub(r"#-?\d+$", "#4096" if text.startswith("adrp") else "#8", text)
