"""The table of networks beside the papers' figures: `python benchmarks/sizes.py` writes docs/networks.md.

`--check` compares instead and exits with 1 where the document is not what would be written.
"""

import argparse
import sys
from pathlib import Path

from edgelm.models.paper import PAPER, PaperRow
from edgelm.models.registry import networks

PAGE = Path(__file__).parent.parent / "docs" / "networks.md"
_HEAD = """# Networks beside their papers

Made by `python benchmarks/sizes.py`; every count is asserted by tests/test_registry.py. "Printed" is what the paper
prints, in millions: of convolutions' weights, for HRNet of all parameters. "Float" is all parameters in float32; the
paper's MB are of the released or printed network: SDU's of the float one, the others' of the quantized one. "1 bit" is
the network with `-bwa`: weights of quantized layers packed, their scales, BatchNorms (a scale and a shift for each
channel) and the real layers in float32.

| network | points | convolutions' weights | parameters | printed, M | GMAC | float, MB | 1 bit, MB | paper, MB | why |
|---|---|---|---|---|---|---|---|---|---|
"""


def line(row: PaperRow) -> str:
    """A network's line."""
    printed = "" if row.printed is None else f"{row.printed:g}"
    size = "" if row.printed_mb is None else f"{row.printed_mb:g}"
    return (
        f"| `{row.network}` | {row.classes} | {row.conv_weights:,} | {row.parameters:,} | {printed} "
        f"| {row.gmacs:.2f} | {row.parameters * 4e-6:.1f} | {row.packed_bytes / 1e6:.2f} | {size} | {row.why} |\n"
    )


def page() -> str:
    """The document."""
    return _HEAD + "".join(line(PAPER[entry.name]) for entry in networks())


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail where the document is another")
    if parser.parse_args().check:
        return int(PAGE.read_text() != page())
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
