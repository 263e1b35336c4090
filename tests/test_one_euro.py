"""The One Euro filter against its definition, value by value, and what it promises about calm and lag."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples

from edgelm.errors import UsageError
from edgelm.runtimes.one_euro import OneEuro, OneEuroOptions

STEP = 1 / 30


def plain(values: list[float], times: list[float], o: OneEuroOptions) -> list[float]:
    """The slow twin: the paper's algorithm for one value, with its alpha = 1 / (1 + tau / Te)."""

    def alpha(cutoff: float, period: float) -> float:
        return 1 / (1 + 1 / (2 * math.pi * cutoff) / period)

    out, smooth, speed = [], values[0], 0.0
    for i, x in enumerate(values):
        if i:
            period = times[i] - times[i - 1]
            a = alpha(o.d_cutoff, period)
            speed = a * (x - smooth) / period + (1 - a) * speed
            a = alpha(o.min_cutoff + o.beta * abs(speed), period)
            smooth = a * x + (1 - a) * smooth
        out.append(smooth)
    return out


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(1e-3, 2)), min_size=1, max_size=12),
    st.floats(0.01, 20),
    st.floats(0, 5),
)
def test_equals_the_papers_algorithm(steps: list[tuple[float, float]], min_cutoff: float, beta: float) -> None:
    options = OneEuroOptions(min_cutoff=min_cutoff, beta=beta)
    values, times = [v for v, _ in steps], np.cumsum([dt for _, dt in steps]).tolist()
    smooth = OneEuro(options)
    got = [smooth(np.array([[v, -v]]), t)[0] for v, t in zip(values, times, strict=True)]
    # Both compute in float64; they round in another order.
    np.testing.assert_allclose([g[0] for g in got], plain(values, times, options), rtol=1e-9, atol=1e-7)
    np.testing.assert_array_equal([g[1] for g in got], [-g[0] for g in got])


def test_jitter_falls_threefold() -> None:
    noise = np.random.default_rng(0).standard_normal((600, 68, 2))
    smooth = OneEuro()
    out = np.array([smooth(300 + x, i * STEP) for i, x in enumerate(noise)])[60:]
    assert noise[60:].std(0).mean() / out.std(0).mean() > 3
    assert abs(out.mean() - 300) < 0.01


@pytest.mark.parametrize("speed", [10.0, 100.0, 1000.0, 10000.0])
def test_lag_is_bounded_at_any_speed(speed: float) -> None:
    smooth = OneEuro()
    lag = [speed * i * STEP - float(smooth(np.array(speed * i * STEP), i * STEP)) for i in range(300)]
    bound = 1 / (2 * math.pi * OneEuroOptions().beta)
    assert 0 < lag[-1] < bound
    # Behind by `d`, the filter sees the speed s + d / STEP: the root of 2 pi (1 + beta (s + d / STEP)) d = s.
    a, b = 2 * math.pi * 0.007 / STEP, 2 * math.pi * (1 + 0.007 * speed)
    assert lag[-1] == pytest.approx((math.sqrt(b * b + 4 * a * speed) - b) / (2 * a), rel=0.01)


def test_the_unit_makes_sizes_alike() -> None:
    values = np.random.default_rng(1).standard_normal(40).cumsum()
    small, large = OneEuro(), OneEuro()
    for i, x in enumerate(values):
        a, b = small(x, i * STEP), large(7 * x, i * STEP, unit=7.0)
        assert float(b) == pytest.approx(7 * float(a))


def test_unseen_values_pass_and_are_not_learned_from() -> None:
    smooth, other = OneEuro(), OneEuro()
    for i in range(30):
        seen = np.array([True, not 10 <= i < 20])
        value = np.array([1.0, 1.0 if seen[1] else 500.0])
        out = smooth(value, i * STEP, seen=seen)
        assert out[1] == value[1]
        value[~seen] = np.nan
        np.testing.assert_array_equal(np.nan_to_num(other(value, i * STEP)), np.where(seen, out, 0))


def test_a_clock_that_stands_or_turns_back_starts_anew() -> None:
    for later in (5.0, 4.0, -1.0):
        smooth = OneEuro()
        smooth(np.zeros(2), 0.0)
        smooth(np.zeros(2), 5.0)
        np.testing.assert_array_equal(smooth(np.ones(2), later), np.ones(2))


def test_a_long_pause_forgets() -> None:
    smooth = OneEuro()
    smooth(np.zeros(1), 0.0)
    assert smooth(np.ones(1), 1000.0)[0] > 0.999


@pytest.mark.parametrize(
    "wrong", [{"min_cutoff": 0}, {"beta": -1}, {"d_cutoff": math.inf}, {"beta": "1"}, {"beta": True}]
)
def test_wrong_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        OneEuroOptions(**wrong)


def test_the_shape_stays() -> None:
    smooth = OneEuro()
    smooth(np.zeros((3, 2)), 0.0)
    with pytest.raises(UsageError, match=r"shape \(3, 2\)"):
        smooth(np.zeros((4, 2)), 1.0)


SCRIPT = Path(__file__).parents[1] / "benchmarks" / "smoothing.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="the benchmarks are not beside these tests")
def test_the_benchmark_prints_both_figures_and_plots_them(tmp_path: Path) -> None:
    words = ["--frames", "0", "-o", str(tmp_path / "plot.png")]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=True)
    jitter, lag = done.stdout.splitlines()
    assert float(jitter.split()[-3]) > 3
    assert "below 22.7 px at any speed" in lag
    plot = cv2.imread(str(tmp_path / "plot.png"))
    assert plot is not None
    assert ((plot[..., 2] > 150) & (plot[..., 0] < 100)).sum() > 500, "the filtered lines are red"
    loose = subprocess.run(
        [sys.executable, str(SCRIPT), "--frames", "0", "--beta", "1"], capture_output=True, check=False
    )
    assert loose.returncode == 1, "with so high a beta jitter does not fall threefold"
