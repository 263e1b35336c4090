"""Peaks on the native library against numpy's: places bit for bit, on every odd shape and every broken value."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples
from test_runtime import BOX, PLACES, blobs, make_runtime, make_spec

from edgelm import decode
from edgelm.errors import EdgelmError, UsageError
from edgelm.refine import Refine
from edgelm.runtimes import decoding
from edgelm.runtimes.native import peaks
from edgelm.spec import Decode, Score

SCORES: tuple[Score, ...] = ("max", "sigmoid_max", "softmax_near")
TOLERANCE = 1e-5
"""Of scores: exponentials are right to 1.3e-7 and what rounding the argument costs, 2e-6 where they still weigh."""
BROKEN = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, -1e30, 0.0, -0.0, 1e-45], np.float32)


def both(maps: np.ndarray, rule: Decode, score: Score) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    native = peaks.native_peaks()
    assert native is not None
    return native(maps, rule, score), decode.decode(maps, rule, score)  # type: ignore[arg-type]


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 21), st.integers(1, 21)),
    rule=st.sampled_from(["center", "index"]),
    score=st.sampled_from(SCORES),
    kind=st.sampled_from(["ties", "logits", "broken"]),
)
@settings(deadline=None, max_examples=examples(300))
def test_equals_numpy(seed: int, shape: tuple[int, ...], rule: Decode, score: Score, kind: str) -> None:
    random = np.random.RandomState(seed)
    if kind == "ties":
        maps = random.randint(-2, 4, shape).astype(np.float32)
    else:
        maps = (random.randn(*shape) * random.choice([0.1, 3, 40])).astype(np.float32)
    if kind == "broken":
        hit = random.rand(*shape) < random.choice([0.05, 0.5, 1.0])
        maps[hit] = random.choice(BROKEN, int(hit.sum()))
    before = maps.copy()
    (uv, value), (wanted_uv, wanted) = both(maps, rule, score)
    np.testing.assert_array_equal(uv, wanted_uv)
    if score == "max":
        np.testing.assert_array_equal(value, wanted)
    else:
        np.testing.assert_allclose(value, wanted, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(maps, before)


@pytest.mark.parametrize("score", SCORES)
def test_a_large_map(score: Score) -> None:
    maps = np.random.RandomState(0).randn(1, 3, 128, 96).astype(np.float32) * 5
    (uv, value), (wanted_uv, wanted) = both(maps, "center", score)
    np.testing.assert_array_equal(uv, wanted_uv)
    np.testing.assert_allclose(value, wanted, rtol=0, atol=TOLERANCE)


def test_maps_that_do_not_lie_in_order() -> None:
    maps = np.random.RandomState(0).rand(2, 9, 7, 5).astype(np.float32).transpose(0, 3, 1, 2)
    (uv, _), (wanted, _) = both(maps, "index", "max")
    np.testing.assert_array_equal(uv, wanted)


@pytest.mark.parametrize("rule", ["center", "index", "resize_argmax"])
@pytest.mark.parametrize("refinement", ["rule", "none", "dark"])
def test_a_runtime_decodes_as_numpy_does(rule: Decode, refinement: Refine) -> None:
    spec = make_spec(rule, score="softmax_near")
    maps = np.random.RandomState(0).randn(2, 3, 64, 48).astype(np.float32)
    uv, value = decoding.decode_maps(maps, spec, refinement=refinement)
    wanted_uv, wanted = decode.decode(maps, rule, "softmax_near", refinement=refinement)
    np.testing.assert_array_equal(uv, wanted_uv)
    np.testing.assert_allclose(value, wanted, rtol=0, atol=TOLERANCE)
    assert decoding.decode_maps(maps[:0], spec, refinement=refinement)[0].shape == (0, 3, 2)
    with pytest.raises(UsageError, match="expected heatmaps"):
        decoding.decode_maps(maps[0], spec)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = make_runtime()(blobs(PLACES), BOX).xy

    def missing() -> None:
        raise EdgelmError("no library")

    monkeypatch.setattr(peaks, "load_library", missing)
    peaks.native_peaks.cache_clear()
    try:
        assert peaks.native_peaks() is None
        np.testing.assert_array_equal(make_runtime()(blobs(PLACES), BOX).xy, wanted)
    finally:
        peaks.native_peaks.cache_clear()
