"""Every kernel on single layers: how near it comes to what the core can do.

A layer is timed in a loop of the native library, in two forms: `levels`, where it reads the levels of its input as an
earlier layer left them and hands levels of its own kind on, and `floats`, where the floats of the input become levels
first and floats are made at the end. Before that its outputs, over memory that held NaN, are compared with the scalar
kernel's.

A rate above the peak that the same arithmetic reaches on registers, measured in the same run, is a mistake of the bench
and an error. A run is valid where the median of every entry is at most 1.15 times its minimum.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgelm
from edgelm.bench.device import device_info, emulator
from edgelm.bench.interleave import NOISE_LIMIT, pin
from edgelm.bench.shapes import SHAPES, LayerShape
from edgelm.errors import EdgelmError, UsageError

__all__ = ["PRECISIONS", "Entry", "Precision", "bench_kernels", "check_rate", "layer", "verified_entries"]

Floats = NDArray[np.float32]
_PEAK_ROOM = 1.05
"""What a rate may be above the peak measured beside it: clocks change."""


@dataclass(frozen=True)
class Precision:
    """Bits of weights and activations, and the kind of kernel that is made for them."""

    kind: str
    weight_bits: int
    act_bits: int
    relu: int


PRECISIONS = {
    "W1A1": Precision("b1", 1, 1, 0),
    "W1A6": Precision("i6", 1, 6, 1),
    "W1A8": Precision("i8", 1, 9, 1),
    "W1A13": Precision("i16", 1, 14, 1),
    "W1A32": Precision("f32", 1, 32, 1),
    "W8A8": Precision("r8", 8, 8, 0),
    "W32A32": Precision("r32", 32, 32, 1),
}
"""By their usual names: A8 and A13 count behind a ReLU, where the sign bit of the record is not used."""


def layer(shape: LayerShape, precision: Precision, *, consumer: bool) -> Any:
    """The program of a layer with random weights, and if asked for a small 1x1 layer that reads its levels.

    Returns:
        `edgelm.export.quant_graph.Program`.
    """
    from edgelm.bits import pack_weights
    from edgelm.export.ops import QUANT_CONV
    from edgelm.export.quant_graph import Conv, Program

    random = np.random.default_rng(0)
    zero = {attribute.name: 0 for attribute in QUANT_CONV.attributes}
    ones = dict.fromkeys(("version", "stride_h", "stride_w", "dilation_h", "dilation_w", "sign_zero"), 1)

    def conv(value: int, K: int, C: int, O: int) -> Any:
        pads = dict.fromkeys(("pad_top", "pad_left", "pad_bottom", "pad_right"), K // 2)
        attributes = zero | ones | pads | {"kernel_h": K, "kernel_w": K, "in_channels": C, "out_channels": O}
        attributes |= {"weight_bits": precision.weight_bits, "act_bits": precision.act_bits}
        attributes |= {"pre_relu": precision.relu}
        weight: NDArray[Any] = random.choice(np.array([-1, 1], np.int8), (O, K, K, C))
        if precision.weight_bits == 8:
            weight = random.integers(-127, 128, (O, K, K, C)).astype(np.int8)
        if precision.weight_bits == 32:
            weight = random.standard_normal((O, K, K, C)).astype(np.float32)
        floats = {
            "in_scale": random.uniform(0.3, 0.6, C).astype(np.float32),
            "in_bias": random.uniform(-0.1, 0.1, C).astype(np.float32),
            "out_scale": np.full(O, 1 / (K * K * C) ** 0.5, np.float32),
            "out_bias": np.zeros(O, np.float32),
        }
        return Conv(attributes, pack_weights(weight, precision.weight_bits), (value,), None, floats)

    nodes = [conv(0, shape.K, shape.C, shape.O)]
    if consumer:
        nodes.append(conv(1, 1, shape.O, 16))
    return Program((shape.C,), tuple(nodes), (len(nodes),))


def check_rate(what: str, rate: float, peak: float | None) -> None:
    """Refuse a rate that cannot be; under emulation no rate means anything.

    Raises:
        EdgelmError: GMAC/s above the core's peak for that arithmetic.
    """
    if peak is not None and rate > _PEAK_ROOM * peak and emulator() is None:
        raise EdgelmError(
            f"{what} seems to reach {rate:.0f} GMAC/s, above the core's peak of {peak:.0f}; the measurement is wrong, "
            "please report it"
        )


@dataclass(frozen=True)
class Entry:
    """One timed thing: the steps of a graph that count, and where their rounds go."""

    labels: dict[str, Any]
    graph: Any
    steps: tuple[int, ...]
    times: list[float]

    def run(self, x: Floats, rounds: int) -> None:
        """Time it `rounds` times more on `x`, (1, H, W, C), in a loop of the library."""
        each = [self.graph.repeat([x], step, rounds, "NHWC") for step in self.steps]
        self.times.extend(map(sum, zip(*each, strict=True)))


def verified_entries(shape: LayerShape, x: Floats, isas: Sequence[str], precisions: Sequence[str]) -> list[Entry]:
    """A layer on every kernel of `isas`, in both forms, after a look at what it computes.

    Raises:
        EdgelmError: a kernel that computes something else than the scalar one.
    """
    from edgelm.export.quant_graph import encode
    from edgelm.runtimes.native import QuantGraph

    entries = []
    for name in precisions:
        precision = PRECISIONS[name]
        for form in ("floats",) if precision.act_bits == 32 else ("levels", "floats"):
            words = encode(layer(shape, precision, consumer=form == "levels"))
            expected: Floats | None = None
            for isa in isas:
                graph = QuantGraph(*words, isa=isa)
                steps = graph.steps()
                first = next(i for i, step in enumerate(steps) if step.op == "conv")
                if (steps[first].kind, steps[first].isa) != (precision.kind, isa):
                    continue
                if expected is None:
                    with QuantGraph(*words, isa="scalar") as reference:
                        (expected,) = reference([x], "NHWC")
                (got,) = graph([x], "NHWC")
                _verify(f"{shape.name} {name} on {isa}", got, expected, exact=precision.act_bits < 32)
                labels = {"layer": shape.name, "precision": name, "kind": precision.kind, "isa": isa, "form": form}
                counted = (first,) if form == "levels" else tuple(range(first + 1))
                entries.append(Entry(labels, graph, counted, []))
    return entries


def _verify(what: str, got: Floats, expected: Floats, *, exact: bool) -> None:
    # Float sums are made in other orders: the bound of docs/kernels.md, over the largest output.
    room = 0.0 if exact else 1e-4 * float(np.abs(expected).max())
    if not np.all(np.abs(got - expected) <= room):  # NaN is not
        raise EdgelmError(f"{what} gives other sums than the scalar kernel; please report it")


def bench_kernels(
    *,
    shapes: Sequence[LayerShape] = SHAPES,
    precisions: Sequence[str] = tuple(PRECISIONS),
    isas: Sequence[str] | None = None,
    rounds: int = 40,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure kernels on layers, one thread, pinned.

    Args:
        shapes: the layers.
        precisions: names of `PRECISIONS`.
        isas: instruction sets; None for all that this CPU can run but the scalar reference, or for that
            where there is no other.
        rounds: timed runs of each entry.
        progress: told what happens.

    Returns:
        {"edgelm", "device", "pinned_cpu", "rounds", "valid", "peaks": [{"kind", "isa", "gmacs"}], "rows": [{"layer",
        "networks", "precision", "kind", "isa", "form", "median_ms", "min_ms", "gmacs", "peak_share", "valid"}]};
        `gmacs` is of the median, `peak_share` null where the peak is unknown.

    Raises:
        UsageError: an unknown precision or instruction set, or less than one round.
        EdgelmError: a kernel that computes something else, or a rate that cannot be.
    """
    from edgelm.runtimes.native import kernel_peak, kernels

    able = [kernel for kernel in kernels() if kernel.able]
    known = list(dict.fromkeys(kernel.isa for kernel in able))
    wanted = [isa for isa in known if isa != "scalar"] or known if isas is None else list(isas)
    for given, names, what in ((precisions, list(PRECISIONS), "precision"), (wanted, known, "instruction set")):
        if unknown := [name for name in given if name not in names]:
            raise UsageError(f"unknown {what} {unknown[0]!r}; known here are {', '.join(names)}")
    if rounds < 1:
        raise UsageError(f"rounds are at least 1, got {rounds}")
    cpu = pin(1)
    peaks = {(kernel.kind, kernel.isa): kernel_peak(kernel) for kernel in able if kernel.isa in wanted}
    rows: list[dict[str, Any]] = []
    for number, shape in enumerate(shapes, 1):
        progress(f"[{number}/{len(shapes)}] {shape.name}")
        rows += _measure(shape, wanted, precisions, rounds, peaks)
    return {
        "edgelm": edgelm.__version__,
        "device": device_info(),
        "pinned_cpu": cpu,
        "rounds": rounds,
        "valid": all(row["valid"] for row in rows),
        "peaks": [{"kind": kind, "isa": isa, "gmacs": peak} for (kind, isa), peak in peaks.items() if peak],
        "rows": rows,
        "shapes": [asdict(shape) for shape in shapes],
    }


def _measure(
    shape: LayerShape, isas: Sequence[str], precisions: Sequence[str], rounds: int, peaks: dict[Any, float | None]
) -> list[dict[str, Any]]:
    x = np.random.default_rng(1).standard_normal((1, shape.H, shape.W, shape.C)).astype(np.float32)
    entries = verified_entries(shape, x, isas, precisions)
    for _attempt in range(3):
        for entry in entries:
            entry.times.clear()
        for _turn in range(max(1, rounds // 4)):
            for entry in entries:
                entry.run(x, min(rounds, 4))
        if all(_calm(entry.times) for entry in entries):
            break
    return [_row(shape, entry, peaks[entry.labels["kind"], entry.labels["isa"]]) for entry in entries]


def _calm(times: Sequence[float]) -> bool:
    return statistics.median(times) <= NOISE_LIMIT * min(times)


def _row(shape: LayerShape, entry: Entry, peak: float | None) -> dict[str, Any]:
    median, least = statistics.median(entry.times), min(entry.times)
    rate = shape.macs / median / 1e6
    check_rate(f"{shape.name} {entry.labels['precision']} on {entry.labels['isa']}", rate, peak)
    return {
        **entry.labels,
        "networks": shape.networks,
        "median_ms": median,
        "min_ms": least,
        "gmacs": rate,
        "peak_share": None if peak is None else rate / peak,
        "valid": _calm(entry.times),
    }
