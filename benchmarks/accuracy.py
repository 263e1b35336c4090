"""Accuracy of every quantization on real faces: trains what is missing, measures it, writes docs/accuracy.md.

    make accuracy DATA=FACES                          # as the next line
    python benchmarks/accuracy.py FACES               # FACES has train/ and val/ of photos with 68 landmarks
    python benchmarks/accuracy.py FACES --rows cunet2-m64n16,cunet2-m64n16-bwa --no-train

A row is one network, quantized one way: its checkpoint lies in runs/accuracy and is trained when it is not there; a run
that was stopped goes on. Figures are kept in benchmarks/results/accuracy.json and taken from there where they are of
the same checkpoint, so that rows can be added on any machine.
"""

import statistics
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from trained import TARGETS, Results, Table, export_beside, header, noise, time_files

from edgelm.bench.cpu import cpu_model
from edgelm.models.balance import MEMORY_SHARE, SIZE_SHARE, balance_index
from edgelm.models.checkpoint import checkpoint_bytes, load_checkpoint
from edgelm.models.datasets import open_data
from edgelm.models.localize import localize
from edgelm.models.metrics import nme
from edgelm.models.registry import resolve
from edgelm.models.runner import open_runner
from edgelm.models.train import TrainOptions

NETWORK, HOURGLASS, LONG = "cunet2-m64n16", "bcll-hpm96", "-long"
SIZE = 128
"""Side of the input, px: what one CPU core trains in a quarter of an hour a row."""


@dataclass(frozen=True)
class Row:
    """A quantization of a network.

    Attributes:
        suffix: of its model's name; "" for float, the twin of the network's other rows.
        label: in the table.
        epochs: of training, after that of the network whose weights it starts from.
        paper: NME of CU-Net-4 on 300-W, percent.
        network: what is quantized.
        after: name of the row whose weights it starts from; "" for its float twin, or for random ones.
        teacher: name of the row whose heatmaps it imitates; "" for its float twin, or for none.
        length: of training, end of its files' names; a row and its twin have the same.
    """

    suffix: str
    label: str
    epochs: int = 10
    paper: float | None = None
    network: str = NETWORK
    after: str = ""
    teacher: str = ""
    length: str = ""

    @property
    def model(self) -> str:
        """Name of its network as it is quantized."""
        return self.network + self.suffix

    @property
    def name(self) -> str:
        """Of its files."""
        return self.model + self.length

    @property
    def twin(self) -> str:
        """Name of its float twin; itself, where it is float."""
        return self.network + self.length


START = Row("", "", 40, length="-start")
ROWS = (
    Row("", "float", 15, 3.38),
    Row("-bwa", "BW-alpha", paper=3.58),
    Row("-bw", "BW", paper=3.75),
    Row("-tw", "TW"),
    Row("-bwa-a8", "BW-alpha, 8-bit activations"),
    Row("-bw-a8", "BW, 8-bit activations", paper=4.30),
    Row("-bw-a6", "BW, 6-bit activations"),
    Row("-tw-a8", "TW, 8-bit activations"),
    Row("-xnor", "W1A1", 30, after=f"{NETWORK}-bwa"),
    Row("", "float, longer", 30, after=START.name, length=LONG),
    Row("-bwa", "BW-alpha, longer", 30, after=START.name, teacher=START.name, length=LONG),
    Row("", "HPM hourglass, float", 15, network=HOURGLASS),
    Row("-xnor", "HPM hourglass, W1A1", network=HOURGLASS),
)


BY_NAME = {row.name: row for row in (START, *ROWS)}


def options(name: str, data: Path) -> TrainOptions:
    """How a row is trained: float ones from random weights or a start, the others from other weights and a teacher."""
    row, output = BY_NAME[name], TABLE.checkpoint(name)
    twin = row.twin if row.suffix else ""
    init, teacher = (TABLE.checkpoint(stem) if stem else None for stem in (row.after or twin, row.teacher or twin))
    return TrainOptions(
        row.model, data, output, recipe="softmax", epochs=row.epochs, size=SIZE, init=init, teacher=teacher
    )


def figures(source: Path, name: str, data: Path) -> dict[str, Any]:
    """NME by torch and by both exported files, sizes, and ms."""
    loaded = load_checkpoint(source)
    _, samples = open_data(data / "val", loaded.spec.scheme, "pts")
    found: dict[str, Any] = {"notes": dict(loaded.notes), "nme": {}, "bytes": {}, "ms": {}}
    with tempfile.TemporaryDirectory() as folder:
        files = export_beside(source, Path(folder))
        for label, path in files.items():
            with open_runner(path) as (run, spec):
                seen = localize(run, spec, samples)
                found["nme"][label] = float(nme(seen.xy, np.stack([s.xy for s in samples]), spec.scheme.name).mean())
        small = checkpoint_bytes(loaded.entry, loaded.model, loaded.spec, packed=bool(BY_NAME[name].suffix))
        found["bytes"] = {"checkpoint": len(small), **{t: files[t].stat().st_size for t in TARGETS}}
        timings = time_files(files, SIZE)
        found["ms"] = {target: timing.median_ms for target, timing in timings.items()}
        found["calm"] = all(timing.valid for timing in timings.values())
    return {**found, "faces": len(samples), "cpu": cpu_model()}


def lines(results: Results) -> Iterator[str]:
    """The table."""
    yield from header(_COLUMNS)
    for row in ROWS:
        twin = results.get(row.twin)
        scheme = resolve(row.model).scheme
        weights = {"float": 32, "tw": 2}.get(scheme.weights, 1)
        paper = f"{row.paper:.2f} ({row.paper / 3.38:.2f}x)" if row.paper else ""
        if (found := results.get(row.name)) is None:
            yield f"| {row.label} | not trained yet | | | | | | | | {paper} |"
            continue
        error, size, ms = found["nme"], found["bytes"], found["ms"]
        ratio = f"{error['torch'] / twin['nme']['torch']:.3f}x" if twin else ""
        index = balance_index(error["torch"], scheme.act_bits, weights)
        yield (
            f"| {row.label} | {error['torch']:.3f} | {ratio} | {error['onnx']:.3f} | {error['tflite']:.3f} "
            f"| {size['checkpoint'] / 1e3:.0f} | {ms['onnx']:.2f} | {ms['tflite']:.2f} | {index:.3f} | {paper} |"
        )


def page(results: Results) -> str:
    """The document."""
    faces = max(found["faces"] for found in results.values())
    cpus = ", ".join(sorted({found["cpu"] for found in results.values()}))
    spread = statistics.mean(
        max(abs(found["nme"][t] - found["nme"]["torch"]) for t in TARGETS) for found in results.values()
    )
    return _PAGE.format(
        network=NETWORK, hourglass=HOURGLASS, size=SIZE, first=ROWS[0].epochs, other=ROWS[1].epochs,
        longest=BY_NAME[f"{NETWORK}-xnor"].epochs, start=START.epochs, longer=BY_NAME[NETWORK + LONG].epochs,
        table="\n".join(lines(results)), cpus=cpus, faces=faces, noise=noise(results), spread=spread,
        memory=_said(MEMORY_SHARE), size_share=_said(SIZE_SHARE),
    )  # fmt: skip


def _said(shares: Mapping[int, float]) -> str:
    return ", ".join(f"{share:g} for {bits}" for bits, share in shares.items())


_COLUMNS = (
    "weights", "NME %, torch", "to float", "NME %, ONNX file", "NME %, TFLite file", "checkpoint, kB", "ms, ONNX",
    "ms, TFLite", "balance index", "paper's NME (to float)",
)  # fmt: skip
_PAGE = """# Accuracy of quantized networks on real faces

Made by `make accuracy`, which trains the rows that are missing and nothing else.

Every row is `{network}`: CU-Net with two U-Nets, m = 64 and n = 16, at {size} x {size} px with heatmaps of 32 x 32.
That is a small network, taken so that every row can be trained on one CPU core; the paper's are CU-Net-4 at 256 x 256,
on other images with other boxes, and their figures stand beside these only for the ratio to float. Data: 1207 faces of
AFW and HELEN with the 300-W annotation to train, {faces} to validate, boxes tight around the landmarks. NME is divided
by the distance of the outer eye corners.

The last two rows are `{hourglass}`, BCLL's hourglass of hierarchical, parallel and multi-scale blocks with 96 channels
in place of 256, trained in the same way.

Float is trained from random weights for {first} epochs by the recipe `softmax`, the others for {other} more from its
weights and with its heatmaps as half of the target (`edgelm train --init FLOAT --teacher FLOAT`). W1A1 of CU-Net alone
starts from BW-alpha, weights first and then activations, and is trained for {longest} epochs. For the rows called
longer a float network is trained for {start} epochs first, from which float and BW-alpha both go on for {longer} more,
BW-alpha with it as its teacher. One seed each: with {faces} faces and one seed, differences of a few hundredths mean
nothing. The last epoch is taken; validation chose nothing.

{table}

Exported files are made with the options that `edgelm export` takes by itself; their NME differs from torch's by
{spread:.4f} points on average. Times are medians on one thread of {cpus}.{noise}

The balance index is E^2 TM MS with the paper's rounded shares of float32's memory and size:
TM is {memory} bits of activations,
MS is {size_share} bits of weights.
The paper's row with 8-bit activations is BW with weight gradients of 8 bits, too.
"""


TABLE = Table(
    "accuracy.json", "accuracy.md", "accuracy", tuple(row.name for row in ROWS), options, figures, lines, page
)

if __name__ == "__main__":
    TABLE.command(__doc__)
