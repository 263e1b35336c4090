"""Packed weights: golden bytes, round trips, refusals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgelm.bits import pack_weights, packed_row_bytes, unpack_weights
from edgelm.errors import ModelFileError, UsageError


def test_golden_binary() -> None:
    levels = np.array([-1, 1, 1, 1, 1, 1, 1, -1, -1, 1], np.int8).reshape(1, 1, 5, 2)
    assert pack_weights(levels, 1).tolist() == [[0b1000_0001, 0b01]]


def test_golden_whole_bytes() -> None:
    levels = np.array([-128, -1, 0, 127], np.int8).reshape(2, 1, 1, 2)
    assert pack_weights(levels, 8).tolist() == [[0x80, 0xFF], [0, 0x7F]]
    floats = np.array([1, -2.5], np.float32).reshape(1, 1, 1, 2)
    assert pack_weights(floats, 32).tolist() == [[0, 0, 0x80, 0x3F, 0, 0, 0x20, 0xC0]]


def test_golden_ternary() -> None:
    levels = np.array([0, 1, -1, 0, 1], np.int8).reshape(1, 5, 1, 1)
    assert pack_weights(levels, 2).tolist() == [[0b00_10_01_00, 0b01]]


@given(
    bits=st.sampled_from([1, 2, 8, 32]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 37)),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trip(bits: int, shape: tuple[int, int, int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    levels: NDArray[Any] = random.choice({1: [-1, 1], 2: [-1, 0, 1]}.get(bits, range(-128, 128)), shape).astype(np.int8)
    if bits == 32:
        levels = random.standard_normal(shape).astype(np.float32)
    packed = pack_weights(levels, bits)
    assert packed.shape == (shape[0], packed_row_bytes(int(np.prod(shape[1:])), bits))
    found = unpack_weights(packed, bits, shape)
    assert found.dtype == levels.dtype
    np.testing.assert_array_equal(found, levels)


def test_rows_of_whole_bytes_are_exactly_one_bit_a_weight() -> None:
    assert pack_weights(np.ones((3, 3, 3, 128), np.int8), 1).nbytes * 8 == 3 * 9 * 128


def test_levels_without_a_code_are_refused() -> None:
    with pytest.raises(UsageError, match=r"1-bit weights are \(-1, 1\), got \[0\]"):
        pack_weights(np.zeros((1, 1, 1, 1), np.int8), 1)
    with pytest.raises(UsageError, match="2-bit"):
        pack_weights(np.full((1, 1, 1, 1), 2, np.int8), 2)
    for bits, wrong in ((1, np.float32), (8, np.int16), (32, np.int8), (32, np.float64)):
        with pytest.raises(UsageError, match=f"{bits}-bit weights are given as"):
            pack_weights(np.ones((1, 1, 1, 1), wrong), bits)
    with pytest.raises(UsageError, match="1, 2, 8 or 32 bits"):
        packed_row_bytes(8, 4)


def test_damaged_weights_are_refused() -> None:
    with pytest.raises(ModelFileError, match="code 3"):
        unpack_weights(np.array([[0b11]], np.uint8), 2, (1, 1, 1, 1))
    with pytest.raises(ModelFileError, match="export it again"):
        unpack_weights(np.zeros((1, 3), np.uint8), 1, (1, 1, 1, 1))
