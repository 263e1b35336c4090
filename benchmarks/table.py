"""README's table of speed from the committed results: `python benchmarks/table.py` writes it, `--check` compares."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"


def table(report: dict[str, Any]) -> str:
    """One report as Markdown."""
    results = report["results"]
    rivals = list(results[0]["speedup"])
    device = report["device"]
    noise = "" if report["valid"] else ", on a machine that other work disturbed"
    threads = "one thread" if report["threads"] == 1 else f"{report['threads']} threads"
    lines = [
        f"{report['network']}, {threads}, {device['cpu']}, {report['rounds']} interleaved rounds{noise}; medians:", "",
        "| | ms | " + " | ".join(f"vs {rival}" for rival in rivals) + " |",
        "|---|---|" + "---|" * len(rivals),
    ]  # fmt: skip
    for result in results:
        ratios = " | ".join(f"{result['speedup'][rival]:.2f}x" for rival in rivals)
        lines.append(f"| {result['name']} | {result['median_ms']:.1f} | {ratios} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where README does not hold the results")
    check = parser.parse_args().check
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    reports = [json.loads(path.read_text()) for path in sorted((ROOT / "benchmarks" / "results").glob("*.json"))]
    reports = [report for report in reports if "network" in report]  # the others are of single layers
    made = f"{before}{BEGIN}\n" + "\n\n".join(map(table, reports)) + f"\n{END}{after}"
    if check:
        return int(made != text)
    readme.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
