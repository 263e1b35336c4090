"""What the papers print about their networks, and the exact counts of ours: one row for each registered network.

The exact counts are the project's own specification; the printed ones are held to a tolerance, for papers round, and
where ours is outside it the row says why. "Counted" says what a paper's figure counts: most papers count the weights of
convolutions (no biases, no BatchNorm), HRNet's counts all parameters. A MAC is one multiplication with its addition;
HRNet's "GFLOPs" are MACs / 2^30.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgelm.errors import UsageError

__all__ = ["PAPER", "PaperRow", "add_rows"]


@dataclass(frozen=True)
class PaperRow:
    """A network's figures.

    Attributes:
        network: as registered.
        classes: landmarks that the figures hold for.
        size: (H, W) px of the input that the MACs hold for.
        counted: what `count` and `printed` count.
        count: exactly, of our network.
        macs: multiply-accumulates, exactly.
        printed: millions, as the paper prints them, None where it does not.
        tolerance: allowed |count - printed| in millions.
        why: where they differ: the reason, or that there is none known.
    """

    network: str
    classes: int
    size: tuple[int, int]
    counted: Literal["convolutions", "parameters"]
    count: int
    macs: int
    printed: float | None = None
    tolerance: float = 0.06
    why: str = ""


_ROWS: dict[str, PaperRow] = {}
PAPER: Mapping[str, PaperRow] = _ROWS
"""Row by network."""


def add_rows(*rows: PaperRow) -> None:
    """Make rows known; a second one of a network raises UsageError."""
    for row in rows:
        if row.network in _ROWS:
            raise UsageError(f"the network {row.network!r} has a row already")
        _ROWS[row.network] = row
