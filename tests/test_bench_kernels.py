"""`edgelm bench --kernels`: what it measures, verifies and refuses."""

import json
from functools import partial
from typing import Any

import numpy as np
import pytest

from edgelm.bench import kernels as bench
from edgelm.bench.shapes import SHAPES, LayerShape
from edgelm.errors import EdgelmError, UsageError
from edgelm.runtimes.native import QuantGraph, kernel_peak, kernels

TINY = (LayerShape("a test", 3, 40, 24, 5, 7),)
ABLE = [kernel for kernel in kernels() if kernel.able]


def test_every_kernel_of_this_cpu_has_rows_and_is_verified() -> None:
    isas = list(dict.fromkeys(kernel.isa for kernel in ABLE))
    report = bench.bench_kernels(shapes=TINY, isas=isas, rounds=2)
    measured = {(row["kind"], row["isa"]) for row in report["rows"]}
    wanted = {(kernel.kind, kernel.isa) for kernel in ABLE}
    # A set that has a cheaper kind for the same bits never takes the wider one.
    assert measured <= wanted
    assert {kind for kind, _ in measured} == {kind for kind, _ in wanted}
    for row in report["rows"]:
        assert row["min_ms"] <= row["median_ms"]
        assert row["gmacs"] == pytest.approx(TINY[0].macs / row["median_ms"] / 1e6)
        assert row["form"] in ("levels", "floats")
    json.dumps(report, allow_nan=False)


def test_rates_above_the_peak_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "emulator", lambda: None)
    bench.check_rate("a layer", 99.0, 100.0)
    bench.check_rate("a layer", 1e9, None)
    with pytest.raises(EdgelmError, match="above the core's peak of 100"):
        bench.check_rate("a layer", 120.0, 100.0)
    monkeypatch.setattr(bench, "emulator", lambda: "an emulator")
    bench.check_rate("a layer", 1e9, 100.0)  # whose times mean nothing


def test_wrong_sums_and_unwritten_outputs_are_refused() -> None:
    right = np.ones((1, 2, 2, 3), np.float32)
    bench._verify("a layer", right.copy(), right, exact=True)
    wrong, unwritten = right.copy(), right.copy()
    wrong[0, 1, 1, 2], unwritten[0, 0, 0, 0] = 2.0, np.nan
    for got in (wrong, unwritten):
        for exact in (True, False):
            with pytest.raises(EdgelmError, match="other sums"):
                bench._verify("a layer", got, right, exact=exact)


def test_a_disturbed_run_is_made_again_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def repeat(self: QuantGraph, x: Any, step: int, rounds: int, layout: str) -> list[float]:
        runs.append(step)
        return [1.0, *[2.0] * (rounds - 1)]

    monkeypatch.setattr(QuantGraph, "repeat", repeat)
    report = bench.bench_kernels(shapes=TINY, precisions=["W1A1"], isas=[ABLE[-1].isa], rounds=8)
    assert not report["valid"]
    assert not any(row["valid"] for row in report["rows"])
    assert len(runs) == 3 * 2 * (1 + 2)  # attempts, turns, steps of the two forms


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown precision 'W9A9'; known here are W1A1"):
        bench.bench_kernels(shapes=TINY, precisions=["W9A9"])
    with pytest.raises(UsageError, match="unknown instruction set 'mmx'"):
        bench.bench_kernels(shapes=TINY, isas=["mmx"])
    with pytest.raises(UsageError, match="rounds"):
        bench.bench_kernels(shapes=TINY, rounds=0)


def test_peaks_are_positive_where_known() -> None:
    peaks = {(kernel.kind, kernel.isa): kernel_peak(kernel) for kernel in ABLE}
    assert all(peak is None or peak > 1 for peak in peaks.values())
    if ("r32", "avx512") in peaks and ("b1", "avx512") in peaks:
        assert (peaks["b1", "avx512"] or 0) > 5 * (peaks["r32", "avx512"] or 0)


def test_repeat_refuses_steps_that_are_not_there() -> None:
    from edgelm.export.quant_graph import encode

    x = np.zeros((1, 40, 5, 7), np.float32)
    with QuantGraph(*encode(bench.layer(TINY[0], bench.PRECISIONS["W1A1"], consumer=True))) as graph:
        assert len(graph.repeat([x], 1, 3)) == 3
        for step, rounds in ((3, 1), (-1, 1), (0, 0)):
            with pytest.raises(UsageError, match="3 steps"):
                graph.repeat([x], step, rounds)


def test_shapes_are_distinct() -> None:
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)


def test_command(monkeypatch: pytest.MonkeyPatch) -> None:
    testing = pytest.importorskip("typer.testing", reason="the command line needs typer")
    from edgelm.cli.app import app

    monkeypatch.setattr(bench, "bench_kernels", partial(bench.bench_kernels, shapes=TINY))
    done = testing.CliRunner().invoke(app, ["bench", "--kernels", "--isa", ABLE[-1].isa, "--runs", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert {row["isa"] for row in json.loads(done.stdout)["rows"]} == {ABLE[-1].isa}
    table = testing.CliRunner().invoke(app, ["bench", "--kernels", "--isa", ABLE[-1].isa, "--runs", "1"])
    assert TINY[0].name in table.stdout
    assert "of peak" in table.stdout
