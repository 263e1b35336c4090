"""Accuracy of quantized networks on people: trains what is missing, measures it, writes docs/pose-accuracy.md.

    make accuracy POSES=PEOPLE                       # as the next line
    python benchmarks/pose_accuracy.py PEOPLE        # PEOPLE has train/ and val/ of photos with LSP's 14 joints
    python benchmarks/pose_accuracy.py PEOPLE --no-train

Rows are kept as those of accuracy.py are: checkpoints in runs/pose, figures in benchmarks/results/pose.json.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trained import TARGETS, Results, Table, export_beside, header, noise, time_files

from edgelm.bench.cpu import cpu_model
from edgelm.models.checkpoint import checkpoint_bytes, load_checkpoint
from edgelm.models.datasets import open_data
from edgelm.models.localize import localize
from edgelm.models.report import measure
from edgelm.models.runner import open_runner
from edgelm.models.train import TrainOptions
from edgelm.schemes import get_scheme

NETWORK = "cunet2-m64n16"
SIZE, JOINTS, EPOCHS = 128, 14, 9
MEAN = "PCK@0.2"


@dataclass(frozen=True)
class Row:
    """A quantization.

    Attributes:
        suffix: of its model's name.
        label: in the table.
        after: whose weights it starts from, a file's stem; "" for random ones.
        file: stem of its checkpoint.
        paper: PCKh@0.5 on MPII of a larger network, float and so quantized, percent.
    """

    suffix: str
    label: str
    after: str
    file: str
    paper: str = ""


START = Row("", "", "", "start")
ROWS = (
    Row("", "float", START.file, NETWORK),
    Row("-bwa", "BW-alpha", START.file, f"{NETWORK}-bwa", "86.1, 85.5 (CU-Net-8)"),
    Row("-xnor", "W1A1", f"{NETWORK}-bwa", f"{NETWORK}-xnor", "85.5, 78.1 (BCLL)"),
)


BY_NAME = {row.file: row for row in (START, *ROWS)}


def options(name: str, data: Path) -> TrainOptions:
    """How a row is trained."""
    row = BY_NAME[name]
    return TrainOptions(
        NETWORK + row.suffix, data, TABLE.checkpoint(name), recipe="softmax", epochs=EPOCHS, size=SIZE,
        landmarks=JOINTS, init=TABLE.checkpoint(row.after) if row.after else None,
    )  # fmt: skip


def figures(source: Path, name: str, data: Path) -> dict[str, Any]:
    """PCK of each joint by torch and by both exported files, sizes, and ms."""
    loaded = load_checkpoint(source)
    _, samples = open_data(data / "val", loaded.spec.scheme)
    found: dict[str, Any] = {"notes": dict(loaded.notes), "pck": {}, "joints": {}, "people": len(samples)}
    with tempfile.TemporaryDirectory() as folder:
        files = export_beside(source, Path(folder))
        for label, path in files.items():
            with open_runner(path) as (run, spec):
                measured = measure(localize(run, spec, samples), spec.scheme)
            found["pck"][label] = measured.metrics[MEAN]
            found["joints"][label] = dict(measured.joints)
            found["remarks"] = list(measured.remarks)
        small = checkpoint_bytes(loaded.entry, loaded.model, loaded.spec, packed=bool(BY_NAME[name].suffix))
        found["bytes"] = {"checkpoint": len(small), **{t: files[t].stat().st_size for t in TARGETS}}
        timings = time_files(files, SIZE)
    found["ms"] = {target: timing.median_ms for target, timing in timings.items()}
    found["calm"] = all(timing.valid for timing in timings.values())
    return {**found, "cpu": cpu_model()}


def lines(results: Results) -> Iterator[str]:
    """The table of all rows."""
    yield from header(_COLUMNS)
    twin = results.get(ROWS[0].file)
    for row in ROWS:
        if (found := results.get(row.file)) is None:
            yield f"| {row.label} | not trained yet | | | | | | | {row.paper} |"
            continue
        pck, size, ms = found["pck"], found["bytes"], found["ms"]
        less = f"{pck['torch'] - twin['pck']['torch']:+.2f}" if twin and row.suffix else ""
        yield (
            f"| {row.label} | {pck['torch']:.2f} | {less} | {pck['onnx']:.2f} | {pck['tflite']:.2f} "
            f"| {size['checkpoint'] / 1e3:.0f} | {ms['onnx']:.2f} | {ms['tflite']:.2f} | {row.paper} |"
        )


def joint_lines(results: Results) -> Iterator[str]:
    """PCK of each joint: torch's, and in brackets that of the files where it is another."""
    done = [row for row in ROWS if row.file in results]
    yield from header(["joint", *(row.label for row in done)])
    for joint in get_scheme("lsp14").names:
        cells = []
        for row in done:
            by_form = {form: values[joint] for form, values in results[row.file]["joints"].items()}
            others = sorted({f"{by_form[target]:.1f}" for target in TARGETS} - {f"{by_form['torch']:.1f}"})
            cells.append(f"{by_form['torch']:.1f}" + (f" ({', '.join(others)})" if others else ""))
        yield f"| {joint.replace('_', ' ')} | {' | '.join(cells)} |"


def page(results: Results) -> str:
    """The document."""
    some = next(iter(results.values()))
    cpus = ", ".join(sorted({found["cpu"] for found in results.values()}))
    return _PAGE.format(
        network=NETWORK, size=SIZE, epochs=EPOCHS, both=2 * EPOCHS, all=3 * EPOCHS, people=some["people"],
        remarks="; ".join(some["remarks"]), noise=noise(results), cpus=cpus,
        table="\n".join(lines(results)),
        joints="\n".join(joint_lines(results)),
    )  # fmt: skip


_COLUMNS = (
    "weights", "PCK@0.2, torch", "to float, points", "ONNX file", "TFLite file", "checkpoint, kB", "ms, ONNX",
    "ms, TFLite", "paper's PCKh, float and so",
)  # fmt: skip
_PAGE = """# Accuracy of quantized networks on people

Made by `make accuracy POSES=PEOPLE`, which trains the rows that are missing and nothing else.

Every row is `{network}`: CU-Net with two U-Nets, m = 64 and n = 16, at {size} x {size} px with heatmaps of 32 x 32, on
Leeds Sports Pose extended: 5000 athletes to train, {people} to validate ({remarks}).
It is a network of a size that one CPU core trains in an afternoon, and it is **far from trained out**: the papers train
200 epochs at 256 x 256, here a row has {both}. What can be read off is what the bits cost at this stage; a network to
ship for people's poses wants a GPU.

A float network is trained from random weights for {epochs} epochs by the recipe `softmax`. Float and BW-alpha then go
on from it for {epochs} epochs each, W1A1 for {epochs} from BW-alpha (weights first, then activations), so that it has
{all} in all. One seed each. The last epoch is taken; validation chose nothing.

{table}

The papers' figures are PCKh@0.5 of large networks on MPII and stand here for the difference alone. Times are medians
on one thread of {cpus}.{noise}

## By joint

PCK@0.2 in percent by torch; of the exported files, in brackets, where it is another.

{joints}
"""


TABLE = Table(
    "pose.json", "pose-accuracy.md", "pose", tuple(row.file for row in ROWS), options, figures, lines, page,
)  # fmt: skip

if __name__ == "__main__":
    TABLE.command(__doc__)
