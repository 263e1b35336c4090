"""The tables of docs/arm-speed.md from benchmarks/results/arm.json.

python benchmarks/arm/tables.py            # write them
python benchmarks/arm/tables.py --check    # fail where the document does not hold the results
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibration import CALIBRATIONS, RATIO_BAR, milliseconds
from room import BOARDS, ROOT

DOCUMENT = ROOT / "docs" / "arm-speed.md"
RESULTS = ROOT / "benchmarks" / "results" / "arm.json"
BEGIN, END = "<!-- arm:begin -->", "<!-- arm:end -->"
CORES = {cpu: (f"{board.core}, {board.name} at {board.ghz} GHz", board.ghz) for cpu, board in BOARDS.items()}


def _head(columns: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(columns)} |".replace("|  |", "| |"), "|---" * len(columns) + "|"]


def _of(cpu: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["cpu"] == cpu]


def network_table(title: str, cpu: str, rows: list[dict[str, Any]]) -> str:
    """A network on a core: the best rival in float and in int8 are those of the fewest estimated cycles."""
    core, ghz = CORES[cpu]
    bar = CALIBRATIONS[cpu].bar
    floats = min(row["model_cycles"] for row in rows if row["name"].endswith("fp32"))
    int8 = min(row["model_cycles"] for row in rows if row["name"].endswith("-int8"))
    about = f"{RATIO_BAR:.2f} times more or less"
    columns = (
        "",
        "M instructions, counted",
        "M cycles of the model, estimate",
        f"ms, estimate ({bar:.2f} times more or less)",
        f"fewer cycles than the best float engine, estimate ({about})",
        f"than the best int8 engine, estimate ({about})",
    )
    lines = [f"{title}, one inference on one {core}:", "", *_head(columns)]
    for row in rows:
        cycles = row["model_cycles"]
        ms = milliseconds(cycles, cpu, ghz)
        lines.append(
            f"| {row['name']} | {row['instructions'] / 1e6:.1f} | {cycles / 1e6:.1f} "
            f"| {ms:.1f} ({ms / bar:.1f} to {ms * bar:.1f}) | {floats / cycles:.2f}x | {int8 / cycles:.2f}x |"
        )
    return "\n".join(lines)


def kernel_table(cpu: str, rows: list[dict[str, Any]], bounds: list[dict[str, Any]]) -> str:
    """Single layers on a core."""
    rates = {bound["kind"]: bound["macs_a_cycle"] for bound in bounds if bound["cpu"] == cpu}
    inner_and_whole = ("inner kernel, estimate", "of the bound", "whole step, estimate", "of the bound")
    columns = ("layer", "precision", "kernel", "bound", *inner_and_whole)
    core = CORES[cpu][0].split(",")[0]
    lines = [f"Layers on one {core}, multiply-accumulates a cycle, all estimates:", "", *_head(columns)]
    for row in rows:
        bound = rates[row["kind"]]
        inner, whole = row["macs"] / row["kernel_cycles"], row["macs"] / row["model_cycles"]
        lines.append(
            f"| {row['layer']} | {row['precision']} | {row['kind']} {row['isa']} | {bound:.1f} | {inner:.1f} "
            f"| {inner / bound:.0%} | {whole:.1f} | {whole / bound:.0%} |"
        )
    return "\n".join(lines)


def calibration_table() -> str:
    """The factors from model cycles to time."""
    columns = (
        "core, board",
        "published time over the model's, geometric mean",
        "one standard deviation",
        "smallest and largest",
        "error bar shown",
    )
    lines = [
        f"| {CORES[cpu][0]} | {found.factor:.2f} | {found.spread:.2f} times | {found.low:.2f} and {found.high:.2f} "
        f"| {found.bar:.2f} times |"
        for cpu, found in CALIBRATIONS.items()
    ]
    return "\n".join([*_head(columns), *lines])


def bound_table(bounds: list[dict[str, Any]]) -> str:
    """What the bounds are made of."""
    lines = _head(("core", "kind", "bound, MAC a cycle, estimate", "instructions", "limited by"))
    lines += [
        f"| {CORES[bound['cpu']][0].split(',')[0]} | {bound['kind']} | {bound['macs_a_cycle']:.1f} | {bound['way']} "
        f"| {bound['unit']} |"
        for bound in bounds
    ]
    return "\n".join(lines)


def tables(report: dict[str, Any]) -> str:
    """All of them, as Markdown."""
    engines = ", ".join(f"{name} {version}" for name, version in report["engines"].items())
    parts = [
        f"Made with edgelm {report['edgelm']} built by {report['compiler']}, {report['qemu']}, LLVM {report['llvm']}; "
        f"{engines}."
    ]
    parts.append("### Networks")
    parts += [
        network_table(entry["network"], cpu, _of(cpu, entry["rows"])) for entry in report["networks"] for cpu in CORES
    ]
    parts.append("### Kernels")
    parts += [kernel_table(cpu, _of(cpu, report["kernels"]), report["bounds"]) for cpu in CORES]
    parts += ["### Bounds", bound_table(report["bounds"]), "### Calibration", calibration_table()]
    return "\n\n".join(parts)


def placed(text: str, report: dict[str, Any]) -> str:
    """A document with the tables between its marks."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{tables(report)}\n{END}{rest.split(END)[1]}"


def write_tables(report: dict[str, Any], document: Path) -> str:
    """Put them into the document, and return them."""
    document.write_text(placed(document.read_text(), report))
    return tables(report)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    report = json.loads(RESULTS.read_text())
    if check:
        return int(placed(DOCUMENT.read_text(), report) != DOCUMENT.read_text())
    write_tables(report, DOCUMENT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
