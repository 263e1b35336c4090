"""The assignment is the best one: equal to trying all."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples

from edgelm.runtimes.assign import assign


def best_sum(similarity: np.ndarray, least: float) -> float:
    """The slow twin: every way of giving some rows a column each."""
    T, D = similarity.shape
    able = np.isfinite(similarity) & (similarity >= least) & (similarity > 0)
    sums = [0.0]
    for count in range(1, min(T, D) + 1):
        for rows in combinations(range(T), count):
            ways = [columns for columns in permutations(range(D), count) if able[rows, columns].all()]
            sums += [float(similarity[rows, columns].sum()) for columns in ways]
    return max(sums)


VALUES = st.sampled_from([0.0, -0.5, 0.1, 0.25, 0.3, 0.5, 0.5, 0.75, 1.0, float("nan"), float("inf")])


@settings(max_examples=examples(150), deadline=None)
@given(st.data(), st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.0, 0.3, 0.6]))
def test_is_the_best_of_all(data: st.DataObject, T: int, D: int, least: float) -> None:
    values = data.draw(st.lists(VALUES, min_size=T * D, max_size=T * D))
    similarity = np.array(values, float).reshape(T, D)
    pairs = assign(similarity, least)
    rows, columns = [r for r, _ in pairs], [c for _, c in pairs]
    assert len(set(rows)) == len(rows)
    assert len(set(columns)) == len(columns)
    assert rows == sorted(rows)
    assert all(similarity[pair] >= least for pair in pairs)
    assert sum(float(similarity[pair]) for pair in pairs) == pytest.approx(best_sum(similarity, least), abs=1e-12)


def test_the_greedy_choice_would_be_worse() -> None:
    similarity = np.array([[0.9, 0.8], [0.8, 0.1]])
    assert assign(similarity, 0.05) == [(0, 1), (1, 0)]


def test_a_pair_below_the_least_does_not_displace_another() -> None:
    similarity = np.array([[0.5, 0.29], [0.6, 0.0]])
    assert assign(similarity, 0.3) == [(1, 0)]


def test_many() -> None:
    rng = np.random.default_rng(0)
    where = rng.permutation(60)
    similarity = rng.uniform(0, 0.5, (60, 60))
    similarity[np.arange(60), where] = 0.9
    assert assign(similarity, 0.3) == list(enumerate(where.tolist()))
