"""What the papers print about their networks, and the exact counts of ours: one row for each registered network.

The exact counts are the project's own specification. Printed ones are held to a tolerance, for papers round; where ours
is outside it, `why` says what is known. Most papers count the weights of convolutions (no biases, no BatchNorms);
HRNet's counts all parameters. A MAC is one multiplication with its addition, in convolutions; HRNet's "GFLOPs" are
MACs / 2^30.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgelm.errors import UsageError

__all__ = ["PAPER", "PaperRow"]

Counted = Literal["convolutions", "parameters"]


@dataclass(frozen=True)
class PaperRow:
    """A network's figures.

    Attributes:
        network: as registered.
        classes: landmarks that the figures hold for.
        count: of the convolutions' weights or all parameters, exactly.
        gmacs: multiply-accumulates / 10^9 at the authors' input, to the digits that are given.
        printed: millions, as the paper prints them; None where it does not.
        tolerance: allowed |count - printed| in millions.
        counted: what `count` and `printed` count.
        printed_mb: size of the quantized network as the paper or its release has it, MB; None where there is none.
        why: what is known where figures differ.
    """

    network: str
    classes: int
    count: int
    gmacs: float
    printed: float | None = None
    tolerance: float = 0.06
    counted: Counted = "convolutions"
    printed_mb: float | None = None
    why: str = ""


_BITS = "the paper counts the bits alone; scales, BatchNorms and real layers are to be stored, too"
_ROWS = (
    PaperRow("cunet2", 16, 1_898_880, 2.757, 1.9),
    PaperRow("cunet4", 16, 3_901_824, 5.451, 3.9),
    PaperRow("cunet8", 16, 7_907_712, 10.840, 7.9),
    PaperRow("cunet16", 16, 15_919_488, 21.617, 15.9, printed_mb=2.0, why=_BITS),
    PaperRow("cunet2-m64n16", 16, 480_448, 0.770, 0.5),
    PaperRow("cunet2-m128n16", 16, 1_080_704, 1.753, 1.0, 0.09, why="printed as 1.0"),
    PaperRow("cunet2-m128n24", 16, 1_446_016, 2.202, 1.4),
    PaperRow("cunet2-m192n24", 16, 2_414_400, 3.700, 2.4),
    PaperRow("cunet2-m192n32", 16, 2_940_480, 4.347, 2.9),
    PaperRow("hrnet_w32", 17, 28_536_113, 7.645, 28.5, 0.05, "parameters"),
    PaperRow("hrnet_w48", 17, 63_595_745, 15.692, 63.6, 0.05, "parameters"),
    PaperRow(
        "hrnetv2_w18", 68, 9_654_398, 4.660, 9.3, 0.36, "parameters",
        why="9.3 M is the size with the head of V1 (9,319,184); the released network has the head of V2",
    ),
)  # fmt: skip


def _by_network(rows: tuple[PaperRow, ...]) -> Mapping[str, PaperRow]:
    found: dict[str, PaperRow] = {}
    for row in rows:
        if row.network in found:
            raise UsageError(f"the network {row.network!r} has two rows")
        found[row.network] = row
    return found


PAPER: Mapping[str, PaperRow] = _by_network(_ROWS)
"""Row by network."""
