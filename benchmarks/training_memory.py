"""Memory of a training step of CU-Net over the number of its U-Nets, plain and memory-efficient.

    python benchmarks/training_memory.py -o benchmarks/results/training_memory.json

Each step runs in a process of its own, whose peak of resident memory is taken, less what it holds before the step
(weights, torch and a step of one image, which loads what torch loads late). docs/training-memory.md is made of it.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NETS = (1, 2, 4, 8, 16)
BATCH, SIDE = 4, 128
MIB = 1 << 10  # ru_maxrss counts kB


def step(nets: int, recompute: bool) -> float:
    """One step in this process: MiB above what was held before."""
    import torch

    from edgelm.models.brc import set_recompute
    from edgelm.models.cunet import CUNet, CUNetConfig
    from edgelm.models.quantizers import QuantScheme

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = CUNet(CUNetConfig(nets=nets, classes=16), QuantScheme("bwa")).train()
    set_recompute(model, recompute)

    def run(batch: int, side: int) -> None:
        made = model(torch.rand(batch, 3, side, side))
        torch.stack([maps.square().mean() for maps in made]).sum().backward()

    run(2, 64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(BATCH, SIDE)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / MIB


def page(rows: list[dict[str, float]]) -> str:
    """The table as a document."""
    lines = [
        "# Memory of training", "",
        "Made by `python benchmarks/training_memory.py`: the peak of one training step's resident memory above what is",
        f"held before it, CU-Net with binary weights, {BATCH} images of {SIDE}x{SIDE} px, 16 landmarks, float32. With",
        "`edgelm train --memory-efficient` the concatenated, normalised and rectified inputs of 1x1 convolutions are",
        "made anew in the backward pass; losses, gradients and statistics are the same bits (tests/test_brc.py).", "",
        "| U-Nets | plain, MiB | memory-efficient, MiB | share |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {row['nets']:.0f} | {row['plain']:.0f} | {row['efficient']:.0f} | {row['efficient'] / row['plain']:.0%} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--step", nargs=2, metavar=("NETS", "RECOMPUTE"), help="of a process of its own")
    asked = parser.parse_args()
    if asked.step:
        print(json.dumps(step(int(asked.step[0]), asked.step[1] == "1")))
        return
    rows = []
    for nets in NETS:
        done = []
        for recompute in ("0", "1"):
            command = [sys.executable, __file__, "--step", str(nets), recompute]
            done.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        plain, efficient = done
        rows.append({"nets": nets, "plain": plain, "efficient": efficient})
        print(f"{nets:>2} U-Nets: {plain:7.0f} MiB plain, {efficient:7.0f} MiB memory-efficient", flush=True)
    (ROOT / "docs" / "training-memory.md").write_text(page(rows))
    if asked.output:
        asked.output.write_text(json.dumps({"machine": platform.machine(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
