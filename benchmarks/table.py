"""Tables of speed from the committed results, written into their documents: `python benchmarks/table.py`.

`--check` compares, and fails where a document does not hold the results.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
DOCUMENTS = {"README.md": "benchmarks/results", "docs/avx2-speed.md": "benchmarks/results/avx2"}
"""Where the results of a folder stand."""


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


def reports(folder: Path) -> list[dict[str, Any]]:
    """Those of whole networks."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [report for report in found if "network" in report]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail where a document does not hold the results")
    check = parser.parse_args().check
    stale = 0
    for document, folder in DOCUMENTS.items():
        text = (ROOT / document).read_text()
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        made = f"{before}{BEGIN}\n" + "\n\n".join(map(table, reports(ROOT / folder))) + f"\n{END}{after}"
        stale |= made != text
        if not check:
            (ROOT / document).write_text(made)
    return int(stale and check)


if __name__ == "__main__":
    sys.exit(main())
