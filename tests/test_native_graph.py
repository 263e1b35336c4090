"""Graphs on the native library against the reference, and what it makes of hostile programs."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples
from programs import PLAIN, conv, programs

from edgelm.errors import UsageError
from edgelm.export.quant_graph import MaxPool, Program, Upsample, encode, quant_graph_reference
from edgelm.runtimes.native import QuantGraph, kernels, low_memory, memory

ISAS = list(dict.fromkeys(k.isa for k in kernels() if k.able))


def run(program: Program, x: list[Any], layout: str, **options: Any) -> list[Any]:
    """Outputs NCHW, whatever the layout of the run."""
    isa = options.pop("isa", None)
    with QuantGraph(*encode(program), isa=isa) as graph:
        if layout == "NCHW":
            return graph(x, layout, **options)
        nhwc = graph([part.transpose(0, 2, 3, 1) for part in x], layout, **options)
        return [y.transpose(0, 3, 1, 2) for y in nhwc]


def exact(program: Program) -> bool:
    """Whether all sums are whole numbers, so that every kernel gives the same bits."""
    return all(getattr(node, "attributes", PLAIN)["act_bits"] < 32 for node in program.nodes)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_equals_reference(isa: str, layout: str) -> None:
    @settings(deadline=None, max_examples=examples(150), derandomize=True)
    @given(programs())
    def check(case: tuple[Program, list[Any]]) -> None:
        program, x = case
        expected = quant_graph_reference(program, x)
        for y, want in zip(run(program, x, layout, isa=isa), expected, strict=True):
            if exact(program):
                np.testing.assert_array_equal(y, want)
            else:  # a level may turn behind a float sum; most must not
                near = np.isclose(y, want, rtol=1e-3, atol=1e-3 * max(1.0, float(np.abs(want).max())))
                assert y.shape == want.shape
                assert near.mean() > 0.8

    check()


def chain(act_bits: int, batch: int = 2) -> tuple[Program, list[Any]]:
    """Convolutions that hand on pooled, upsampled and concatenated levels, on maps with odd sides."""
    random = np.random.default_rng(act_bits)
    bits = {"act_bits": act_bits, "pre_relu": int(act_bits > 1)}
    pads = dict.fromkeys(["pad_top", "pad_left", "pad_bottom", "pad_right"], 1)
    nodes = (
        conv(random, [0], 3, 40, **bits),
        MaxPool(1),
        conv(random, [2], 40, 33, kernel_h=3, kernel_w=3, **bits, **pads),
        Upsample(3),
        conv(random, [4, 4], 66, 70, kernel_h=3, kernel_w=3, **bits, **pads),
        conv(random, [5, 4, 5], 173, 5, **bits),
    )
    x = [random.standard_normal((batch, 3, 21, 15)).astype(np.float32)]
    return Program((3,), nodes, (6, 2)), x


@pytest.mark.parametrize("act_bits", [1, 2, 6, 8, 12])
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_levels_stay_levels(act_bits: int, isa: str, layout: str) -> None:
    program, x = chain(act_bits)
    for y, want in zip(run(program, x, layout, isa=isa), quant_graph_reference(program, x), strict=True):
        np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("act_bits", [1, 6, 8, 12, 32])
def test_results_do_not_depend_on_threads(act_bits: int) -> None:
    program, x = chain(act_bits)

    def threads(job: Any, total: int) -> None:
        with ThreadPoolExecutor(total) as pool:
            list(pool.map(job, reversed(range(total))))

    def one_after_the_other(job: Any, total: int) -> None:
        for index in range(total):
            job(index)

    alone = run(program, x, "NCHW")
    for run_jobs in (threads, one_after_the_other):
        for y, want in zip(run(program, x, "NCHW", run_jobs=run_jobs), alone, strict=True):
            np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("act_bits", [1, 6, 8, 12, 32])
def test_pointers_may_be_aligned_to_a_float_alone(isa: str, act_bits: int) -> None:
    program, x = chain(act_bits)
    with QuantGraph(*encode(program), isa=isa) as graph:
        for layout, axes in (("NCHW", (0, 1, 2, 3)), ("NHWC", (0, 2, 3, 1))):
            plain = [np.ascontiguousarray(part.transpose(axes)) for part in x]
            moved = [np.concatenate([[0], part.ravel()]).astype(np.float32)[1:].reshape(part.shape) for part in plain]
            assert all(part.ctypes.data % 8 == 4 for part in moved)
            for got, want in zip(graph(moved, layout), graph(plain, layout), strict=True):
                np.testing.assert_array_equal(got, want)


def test_profile_tells_every_step() -> None:
    program, x = chain(1)
    with QuantGraph(*encode(program)) as graph:
        steps = graph.profile(x)
    convs = [step for step in steps if step.op == "conv"]
    assert [step.node for step in convs] == [0, 2, 4, 5]
    assert [step.macs for step in convs][:2] == [3 * 40 * 21 * 15, 9 * 40 * 33 * 10 * 7]
    assert all(step.kind == "b1" and step.resident_bytes > 0 and step.ms > 0 for step in convs)


def test_resident_weights_are_bits() -> None:
    random = np.random.default_rng(0)
    for act_bits, most in ((1, 1.25), (6, 2.5), (8, 8.5), (13, 4.5), (32, 8.5)):
        node = conv(random, [0], 128, 128, kernel_h=3, kernel_w=3, act_bits=act_bits, pre_relu=1)
        for isa in ISAS[1:]:
            with QuantGraph(*encode(Program((128,), (node,), (1,))), isa=isa) as graph:
                (step,) = [step for step in graph.steps() if step.op == "conv"]
                assert 8 * step.resident_bytes / step.weight_count <= most, (act_bits, isa)


@pytest.mark.parametrize("isa", ISAS[1:])
def test_low_memory_is_under_two_bits_and_computes_the_same(isa: str) -> None:
    random = np.random.default_rng(0)
    for act_bits, weight_bits in ((1, 1), (6, 1), (8, 1), (9, 1), (13, 1), (32, 1), (6, 2), (14, 2), (32, 2)):
        bits = {"act_bits": act_bits, "weight_bits": weight_bits, "pre_relu": 1}
        node = conv(random, [0], 96, 64, kernel_h=3, kernel_w=3, **bits)
        words = encode(Program((96,), (node,), (1,)))
        x = [random.standard_normal((1, 96, 5, 6)).astype(np.float32)]
        before = memory()
        with QuantGraph(*words, isa=isa) as plain, low_memory(True), QuantGraph(*words, isa=isa) as small:
            (step,) = [step for step in small.steps() if step.op == "conv"]
            bits_each = 8 * step.resident_bytes / step.weight_count
            assert bits_each <= 2 if weight_bits == 1 else bits_each <= 2.5, (act_bits, weight_bits, step)
            np.testing.assert_allclose(small(x)[0], plain(x)[0], rtol=1e-4, atol=1e-3 if act_bits == 32 else 0)
            assert memory().weight_count == before.weight_count + 2 * step.weight_count
            assert memory().scratch_bytes > 0
            usual = plain.steps()
        assert memory().resident_bytes == before.resident_bytes
    with QuantGraph(*words, isa=isa) as after:
        assert after.steps() == usual, "the wish ends with the block"


@settings(deadline=None, max_examples=examples(400), derandomize=True)
@given(st.data())
def test_damaged_programs_are_refused_or_run(data: st.DataObject) -> None:
    """Whatever the words say: an error in words, or a run that stays inside its memory."""
    program, x = chain(1, batch=1)
    words, packed = encode(program)
    words = words.copy()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(words) - 1))
        words[at] = data.draw(st.one_of(st.integers(-3, 80), st.integers(-(2**31), 2**31 - 1)))
    words = words[: data.draw(st.integers(0, len(words)))] if data.draw(st.booleans()) else words
    inputs = [np.zeros((1, 3, 9, 9), np.float32)] * len(x)
    with contextlib.suppress(UsageError), QuantGraph(words, packed) as graph:
        if graph.scratch_bytes(inputs) < 1 << 26:
            assert all(y.shape[0] == 1 for y in graph(inputs))


def test_refuses_shapes_that_do_not_fit() -> None:
    program, x = chain(1)
    with QuantGraph(*encode(program)) as graph:
        for wrong, text in (
            ([], "expected 1 inputs"),
            ([x[0][:, :2]], "other channels than the program says"),
            ([x[0][:, :, :1]], "too small to be pooled"),
            ([x[0][0]], "4 dimensions"),
        ):
            with pytest.raises(UsageError, match=text):
                graph(wrong)
        with pytest.raises(UsageError, match="NCHW or NHWC"):
            graph(x, "CHWN")
    with pytest.raises(UsageError, match="closed"):
        graph(x)
