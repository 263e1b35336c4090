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
        conv_weights: in its convolutions, without biases, exactly.
        parameters: all of them, exactly.
        packed_bytes: as it is deployed with binary weights and a scale for each filter (`-bwa`), see
            `edgelm.models.packed_size`.
        gmacs: multiply-accumulates / 10^9 at the authors' input, to the digits that are given.
        printed: millions, as the paper prints them; None where it does not.
        tolerance: allowed distance from it in millions.
        counted: what `printed` counts.
        printed_mb: size as the paper or its release has it, MB: of the quantized network, of SDU's the float one, with
            BatchNorms' statistics; None where there is none.
        why: what is known where figures differ.
    """

    network: str
    classes: int
    conv_weights: int
    parameters: int
    packed_bytes: int
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
    PaperRow("cunet2", 16, 1_898_880, 1_923_200, 440_896, 2.757, 1.9),
    PaperRow("cunet4", 16, 3_901_824, 3_952_128, 821_184, 5.451, 3.9),
    PaperRow("cunet8", 16, 7_907_712, 8_009_984, 1_581_760, 10.840, 7.9),
    PaperRow("cunet16", 16, 15_919_488, 16_125_696, 3_102_912, 21.617, 15.9, printed_mb=2.0, why=_BITS),
    PaperRow("cunet2-m64n16", 16, 480_448, 492_608, 161_856, 0.770, 0.5),
    PaperRow("cunet2-m128n16", 16, 1_080_704, 1_101_184, 317_504, 1.753, 1.0, 0.09, why="printed as 1.0"),
    PaperRow("cunet2-m128n24", 16, 1_446_016, 1_468_416, 373_728, 2.202, 1.4),
    PaperRow("cunet2-m192n24", 16, 2_414_400, 2_445_120, 575_392, 3.700, 2.4),
    PaperRow("cunet2-m192n32", 16, 2_940_480, 2_973_120, 651_712, 4.347, 2.9),
    PaperRow("cunet2-iterative", 16, 2_101_120, 2_139_904, 524_800, 4.821),
    PaperRow("cunet4-iterative", 16, 4_104_064, 4_194_816, 1_009_024, 10.209, 4.1),
    PaperRow("cunet8-iterative", 16, 8_109_952, 8_304_640, 1_977_472, 20.987),
    PaperRow("denseunet4", 16, 2_912_640, 2_946_816, 611_328, 3.886, 2.9),
    PaperRow("denseunet8", 16, 6_115_712, 6_188_416, 1_188_864, 7.813, 6.1),
    PaperRow("hrnet_w32", 17, 28_481_760, 28_536_113, 3_894_852, 7.645, 28.5, 0.05, "parameters"),
    PaperRow("hrnet_w48", 17, 63_516_144, 63_595_745, 8_426_692, 15.692, 63.6, 0.05, "parameters"),
    PaperRow(
        "hrnetv2_w18", 68, 9_619_584, 9_654_398, 1_490_968, 4.660, 9.3, 0.36, "parameters",
        why="9.3 M is the size with the head of V1 (9,319,184); the released network has the head of V2",
    ),
    PaperRow("shg1", 16, 3_400_896, 3_418_256, 579_648, 5.150, 3.5, 0.2, why=_UNKNOWN),
    PaperRow("shg4", 16, 12_764_352, 12_828_608, 2_023_680, 14.703, 12.9, 0.2, why=_UNKNOWN),
    PaperRow("shg8", 16, 25_248_960, 25_375_744, 3_949_056, 27.440, 25.5, 0.26, why=_UNKNOWN),
    PaperRow("shg16", 16, 50_218_176, 50_470_016, 7_799_808, 52.914, 50.5, 0.29, why=_UNKNOWN),
    PaperRow("fan4", 68, 23_763_136, 23_820_176, 3_363_776, 25.235),
    PaperRow("bcll-hpm256", 16, 6_220_992, 6_236_304, 909_120, 8.213, 6.2, printed_mb=1.3, why=_RELEASED),
    PaperRow("bcll-hpm192", 16, 3_614_144, 3_626_032, 561_504, 5.532, 4.0, 0.45, why=_UNKNOWN),
    PaperRow("bcll-hpm96", 16, 906_656, 912_608, 168_232, 1.425, why="not in the paper: trains on one CPU core"),
    PaperRow("bcll-hpm256-real1x1", 16, 6_220_992, 6_236_304, 1_320_256, 8.213, 6.2, printed_mb=1.3, why=_RELEASED),
    PaperRow(
        "bcll-ms", 16, 3_926_208, 3_958_608, 704_320, 6.630, 4.0, 0.25,
        why="widths of the first blocks are not printed",
    ),
    PaperRow(
        "bcll-ms-no1x1", 16, 9_465_024, 9_491_856, 1_363_264, 11.758, 9.3, 0.25,
        why="widths of the branches are not printed",
    ),
    PaperRow("bcll-wider", 16, 11_252_928, 11_278_480, 1_610_304, 15.930, 11.3),
    PaperRow(
        "bcll-bottleneck192", 16, 6_755_520, 6_776_976, 1_023_552, 9.748, 7.0, 0.25,
        why="an inner width of 196 would give 7.0 M",
    ),
    PaperRow("sdu-hg1-resnet", 68, 3_406_528, 3_423_236, 602_128, 5.079, counted="parameters", printed_mb=13),
    PaperRow("sdu-hg2-resnet", 68, 6_554_304, 6_586_440, 1_087_136, 8.372, counted="parameters", printed_mb=26),
    PaperRow("sdu-hg2-inception", 68, 9_504_960, 9_549_864, 1_532_576, 11.043, counted="parameters", printed_mb=38),
    PaperRow("sdu-hg2-hpm", 68, 12_069_568, 12_097_864, 1_730_464, 13.798, counted="parameters", printed_mb=48),
    PaperRow("sdu-hg2-cab", 68, 11_598_112, 11_624_584, 1_851_424, 13.372, counted="parameters", printed_mb=46),
    PaperRow("sdu-hg2-hpm-d3", 68, 9_636_544, 9_659_464, 1_398_688, 13.759, counted="parameters", printed_mb=38),
    PaperRow("sdu-hg2-cab-d3", 68, 9_265_312, 9_286_792, 1_494_304, 13.335, counted="parameters", printed_mb=37),
    PaperRow(
        "sdu-unet2", 68, 8_487_712, 8_507_528, 1_375_264, 9.142, counted="parameters", printed_mb=36,
        why=_UNKNOWN,
    ),
    PaperRow("sdu-dla2", 68, 25_762_720, 25_803_912, 15_875_872, 42.076, counted="parameters", printed_mb=103),
    PaperRow("sdu-sat1", 68, 32_840_608, 32_887_944, 16_797_472, 46.379, counted="parameters", printed_mb=131),
    PaperRow("sdu-sat2", 68, 20_677_408, 20_709_512, 9_061_408, 37.560, counted="parameters", printed_mb=83),
    PaperRow(
        "sdu-sat3", 68, 10_069_792, 10_094_728, 7_724_064, 17.635, counted="parameters", printed_mb=38,
        why="38.6 MiB; others are in MB",
    ),
    PaperRow("sdu-sat3-dcn1", 68, 10_701_088, 10_726_298, 10_250_344, 20.220, counted="parameters"),
    PaperRow("sdu-sat3-dcn2", 68, 11_562_784, 11_588_304, 14_271_680, 23.750, counted="parameters"),
    PaperRow("sdu-sat3-dcn3", 68, 12_194_080, 12_219_874, 16_797_960, 26.336, counted="parameters", printed_mb=49),
    PaperRow("sdu-sat3-dcn3-stn", 68, 29_054_560, 29_080_867, 84_241_932, 26.693, counted="parameters", printed_mb=116),
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
