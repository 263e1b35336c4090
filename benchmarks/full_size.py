"""Every registered network at its authors' size, exported to both targets and verified: slow, hours for all of them.

    python benchmarks/full_size.py                         # what benchmarks/results/full_size.json lacks
    python benchmarks/full_size.py hrnet_w32 bcll-hpm256 --suffixes -bwa

Weights are random with plausible statistics; an export that differs from torch fails, and its sentence is kept. Each
export runs in a process of its own, whose memory is given back. The tests export every family in small.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edgelm.atomic import write_atomic
from edgelm.models.checkpoint import save_checkpoint
from edgelm.models.create import create, randomize
from edgelm.models.registry import networks, resolve

RESULTS = Path(__file__).parent / "results" / "full_size.json"
TARGETS = ("onnx", "tflite")


def exported(name: str, target: str, folder: Path) -> dict[str, Any]:
    """What became of one export."""
    source = folder / f"{name}.pt"
    if not source.is_file():
        entry = resolve(name)
        entry, model, spec = create(name, landmarks=entry.config.classes)
        randomize(model, spec.input.height, 0)
        save_checkpoint(source, entry, model, spec)
    began = time.monotonic()
    line = [sys.executable, "-m", "edgelm", "export", str(source), "--target", target, "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    seconds = round(time.monotonic() - began, 1)
    if done.returncode:
        return {"passed": False, "why": done.stderr.strip().splitlines()[-1][:500], "seconds": seconds}
    report = json.loads(done.stdout)
    layers, whole = report["layers"], report["end_to_end"]
    return {
        "passed": True,
        "seconds": seconds,
        "bytes": report["bytes"],
        "layers": layers["layers"],
        "worst_layer": layers["worst"],
        "heatmap_max": whole["heatmap_max"],
        "heatmap_limit": whole["heatmap_limit"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="registered networks; by default all")
    parser.add_argument("--suffixes", default=",-bwa", help="quantizations by commas; the empty one is float")
    parser.add_argument("--again", action="store_true", help="also what is in the results")
    args = parser.parse_args()
    names = args.names or [entry.name for entry in networks()]
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for name in [name + suffix for name in names for suffix in args.suffixes.split(",")]:
        resolve(name)
        with tempfile.TemporaryDirectory() as folder:
            for target in TARGETS:
                key = f"{name} {target}"
                if key in results and not args.again:
                    continue
                found = results[key] = exported(name, target, Path(folder))
                write_atomic(RESULTS, (json.dumps(results, indent=1) + "\n").encode())
                said = f"{found['bytes'] / 1e6:.2f} MB" if found["passed"] else found["why"]
                print(f"{key}: {'passed' if found['passed'] else 'FAILED'} in {found['seconds']:.0f} s, {said}")
    failed = [key for key, found in results.items() if not found["passed"]]
    print(
        f"{len(results) - len(failed)} of {len(results)} exports passed" + "".join(f"\nfailed: {key}" for key in failed)
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
