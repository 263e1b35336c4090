"""Packed weights: golden bytes, round trips, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelm.bits import pack_weights, packed_row_bytes, unpack_weights
from edgelm.errors import ModelFileError, UsageError


def test_golden_binary() -> None:
    levels = np.array([-1, 1, 1, 1, 1, 1, 1, -1, -1, 1], np.int8).reshape(1, 1, 5, 2)
    assert pack_weights(levels, 1).tolist() == [[0b1000_0001, 0b01]]


def test_golden_ternary() -> None:
    levels = np.array([0, 1, -1, 0, 1], np.int8).reshape(1, 5, 1, 1)
    assert pack_weights(levels, 2).tolist() == [[0b00_10_01_00, 0b01]]


@given(
    bits=st.sampled_from([1, 2]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 37)),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trip(bits: int, shape: tuple[int, int, int, int], seed: int) -> None:
    levels = np.random.default_rng(seed).choice([-1, 1] if bits == 1 else [-1, 0, 1], shape).astype(np.int8)
    packed = pack_weights(levels, bits)
    assert packed.shape == (shape[0], packed_row_bytes(int(np.prod(shape[1:])), bits))
    np.testing.assert_array_equal(unpack_weights(packed, bits, shape), levels)


def test_rows_of_whole_bytes_are_exactly_one_bit_a_weight() -> None:
    assert pack_weights(np.ones((3, 3, 3, 128), np.int8), 1).nbytes * 8 == 3 * 9 * 128


def test_levels_without_a_code_are_refused() -> None:
    with pytest.raises(UsageError, match=r"1-bit weights are \(-1, 1\), got \[0\]"):
        pack_weights(np.zeros((1, 1, 1, 1), np.int8), 1)
    with pytest.raises(UsageError, match="2-bit"):
        pack_weights(np.full((1, 1, 1, 1), 2, np.int8), 2)
    with pytest.raises(UsageError, match="1 or 2 bits"):
        packed_row_bytes(8, 4)


def test_damaged_weights_are_refused() -> None:
    with pytest.raises(ModelFileError, match="code 3"):
        unpack_weights(np.array([[0b11]], np.uint8), 2, (1, 1, 1, 1))
    with pytest.raises(ModelFileError, match="export it again"):
        unpack_weights(np.zeros((1, 3), np.uint8), 1, (1, 1, 1, 1))
