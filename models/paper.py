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
        printed_mb: size as the paper or its release has it, MB: of the quantized network, of SDU's the float one, with
            BatchNorms' statistics; None where there is none.
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
_RELEASED = "the released file; which 1x1 convolutions are real in it is not known"
_UNKNOWN = "no reason known"
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
    PaperRow("cunet2-iterative", 16, 2_101_120, 4.821),
    PaperRow("cunet4-iterative", 16, 4_104_064, 10.209, 4.1),
    PaperRow("cunet8-iterative", 16, 8_109_952, 20.987),
    PaperRow("denseunet4", 16, 2_912_640, 3.886, 2.9),
    PaperRow("denseunet8", 16, 6_115_712, 7.813, 6.1),
    PaperRow("hrnet_w32", 17, 28_536_113, 7.645, 28.5, 0.05, "parameters"),
    PaperRow("hrnet_w48", 17, 63_595_745, 15.692, 63.6, 0.05, "parameters"),
    PaperRow(
        "hrnetv2_w18", 68, 9_654_398, 4.660, 9.3, 0.36, "parameters",
        why="9.3 M is the size with the head of V1 (9,319,184); the released network has the head of V2",
    ),
    PaperRow("shg1", 16, 3_400_896, 5.150, 3.5, 0.2, why=_UNKNOWN),
    PaperRow("shg4", 16, 12_764_352, 14.703, 12.9, 0.2, why=_UNKNOWN),
    PaperRow("shg8", 16, 25_248_960, 27.440, 25.5, 0.26, why=_UNKNOWN),
    PaperRow("shg16", 16, 50_218_176, 52.914, 50.5, 0.29, why=_UNKNOWN),
    PaperRow("fan4", 68, 23_763_136, 25.235),
    PaperRow("bcll-hpm256", 16, 6_220_992, 8.213, 6.2, printed_mb=1.3, why=_RELEASED),
    PaperRow("bcll-hpm192", 16, 3_614_144, 5.532, 4.0, 0.45, why=_UNKNOWN),
    PaperRow("bcll-hpm256-real1x1", 16, 6_220_992, 8.213, 6.2, printed_mb=1.3, why=_RELEASED),
    PaperRow("bcll-ms", 16, 3_926_208, 6.630, 4.0, 0.25, why="widths of the first blocks are not printed"),
    PaperRow("bcll-ms-no1x1", 16, 9_465_024, 11.758, 9.3, 0.25, why="widths of the branches are not printed"),
    PaperRow("bcll-wider", 16, 11_252_928, 15.930, 11.3),
    PaperRow("bcll-bottleneck192", 16, 6_755_520, 9.748, 7.0, 0.25, why="an inner width of 196 would give 7.0 M"),
    PaperRow("sdu-hg1-resnet", 68, 3_423_236, 5.079, counted="parameters", printed_mb=13),
    PaperRow("sdu-hg2-resnet", 68, 6_586_440, 8.372, counted="parameters", printed_mb=26),
    PaperRow("sdu-hg2-inception", 68, 9_549_864, 11.043, counted="parameters", printed_mb=38),
    PaperRow("sdu-hg2-hpm", 68, 12_097_864, 13.798, counted="parameters", printed_mb=48),
    PaperRow("sdu-hg2-cab", 68, 11_624_584, 13.372, counted="parameters", printed_mb=46),
    PaperRow("sdu-hg2-hpm-d3", 68, 9_659_464, 13.759, counted="parameters", printed_mb=38),
    PaperRow("sdu-hg2-cab-d3", 68, 9_286_792, 13.335, counted="parameters", printed_mb=37),
    PaperRow("sdu-unet2", 68, 8_507_528, 9.142, counted="parameters", printed_mb=36, why=_UNKNOWN),
    PaperRow("sdu-dla2", 68, 25_803_912, 42.076, counted="parameters", printed_mb=103),
    PaperRow("sdu-sat1", 68, 32_887_944, 46.379, counted="parameters", printed_mb=131),
    PaperRow("sdu-sat2", 68, 20_709_512, 37.560, counted="parameters", printed_mb=83),
    PaperRow("sdu-sat3", 68, 10_094_728, 17.635, counted="parameters", printed_mb=38, why="38.6 MiB; others are in MB"),
    PaperRow("sdu-sat3-dcn1", 68, 10_726_298, 20.220, counted="parameters"),
    PaperRow("sdu-sat3-dcn2", 68, 11_588_304, 23.750, counted="parameters"),
    PaperRow("sdu-sat3-dcn3", 68, 12_219_874, 26.336, counted="parameters", printed_mb=49),
    PaperRow("sdu-sat3-dcn3-stn", 68, 29_080_867, 26.693, counted="parameters", printed_mb=116),
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
