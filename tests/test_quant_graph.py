"""QuantGraph: words and back, the definition against a graph of single ops, and what is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples
from programs import Floats, conv, programs

from edgelm.errors import ModelFileError, UsageError
from edgelm.export.ops import quant_conv_reference
from edgelm.export.quant_decode import decode
from edgelm.export.quant_graph import (
    Add,
    Conv,
    MaxPool,
    Program,
    Step,
    Upsample,
    attribute_names,
    encode,
    quant_graph_reference,
)

RANDOM = np.random.default_rng(0)


def same(a: Step, b: Step) -> None:
    if not isinstance(a, Conv) or not isinstance(b, Conv):
        assert a == b
        return
    assert (a.attributes, a.parts, a.residual, a.floats.keys()) == (b.attributes, b.parts, b.residual, b.floats.keys())
    np.testing.assert_array_equal(a.weight, b.weight)
    for name, values in a.floats.items():
        np.testing.assert_array_equal(values, b.floats[name])


@given(programs())
@settings(deadline=None, max_examples=examples(60))
def test_round_trip(made: tuple[Program, list[Floats]]) -> None:
    program, x = made
    words, data = encode(program)
    found = decode(words, data)
    assert (found.inputs, found.outputs) == (program.inputs, program.outputs)
    assert len(found.nodes) == len(program.nodes)
    for a, b in zip(found.nodes, program.nodes, strict=True):
        same(a, b)
    for y, z in zip(quant_graph_reference(found, x), quant_graph_reference(program, x), strict=True):
        np.testing.assert_array_equal(y, z)


@given(made=programs(), place=st.integers(0), value=st.integers(-(2**31), 2**31 - 1))
@settings(deadline=None, max_examples=examples(200))
def test_a_changed_word_is_refused_or_still_a_program(
    made: tuple[Program, list[Floats]], place: int, value: int
) -> None:
    """No other exception, and what is accepted has as many words as it was read from."""
    words, data = encode(made[0])
    words[place % len(words)] = value
    try:
        found = decode(words, data)
    except ModelFileError:
        return
    again, _ = encode(found)
    assert again[0] <= words[0]
    if again[0] == words[0]:  # what a changed version says may be what version 1 says in fewer words
        assert len(again) == len(words)


@given(words=st.lists(st.integers(-2, 40), max_size=60), data=st.binary(max_size=64))
@settings(deadline=None, max_examples=examples(200))
def test_garbage_is_refused(words: list[int], data: bytes) -> None:
    with pytest.raises(ModelFileError, match="damaged"):
        decode(np.array(words, np.int32), np.frombuffer(data, np.uint8))


@given(programs())
@settings(deadline=None, max_examples=examples(20))
def test_every_cut_is_refused(made: tuple[Program, list[Floats]]) -> None:
    words, data = encode(made[0])
    for count in range(len(words)):
        with pytest.raises(ModelFileError):
            decode(words[:count], data)
    if len(data):
        with pytest.raises(ModelFileError):
            decode(words, data[:-1])


def test_words() -> None:
    """The layout, word by word: other languages read it."""
    node = conv(RANDOM, (0, 1), 5, 2, absent=("in_scale", "in_bias", "out_bias"), kernel_h=3, kernel_w=3)
    words, data = encode(Program((2, -1), (node, MaxPool(2), Upsample(3), Add(2, 4)), (5, 2)))
    attributes = [node.attributes[name] for name in attribute_names(1)]
    assert words.tolist() == [
        1, 2, 4, 2, 2, -1,
        1, 29, -1, 0, 12, -1, -1, 12, -1, *attributes, 0, 1,
        2, 3, 2,
        3, 3, 3,
        4, 4, 2, 4,
        5, 2,
    ]  # fmt: skip
    assert (words.dtype.name, data.dtype.name) == ("int32", "uint8")
    assert data.tobytes() == node.weight.tobytes() + node.floats["out_scale"].astype("<f4").tobytes()


def test_a_padding_of_signs_takes_version_2() -> None:
    plain = conv(RANDOM, (0,), 8, 8, act_bits=1, kernel_h=3, kernel_w=3, pad_top=1)
    padded = conv(RANDOM, (0,), 8, 8, act_bits=1, kernel_h=3, kernel_w=3, pad_top=1, pad_value=-1)
    for nodes, version in (((plain, plain), 1), ((plain, padded), 2)):
        words, data = encode(Program((8,), nodes, (2,)))
        assert words[0] == version
        for found, node in zip(decode(words, data).nodes, nodes, strict=True):
            assert isinstance(found, Conv)
            assert found.attributes == node.attributes


def test_equal_constants_are_stored_once() -> None:
    node = conv(RANDOM, (0,), 8, 8, absent=("in_scale", "in_bias", "out_scale"))
    assert len(encode(Program((8,), (node, node), (2,)))[1]) == 8 + 32


def test_reference_is_the_single_ops() -> None:
    x: Floats = RANDOM.standard_normal((2, 3, 5, 7)).astype(np.float32)
    z: Floats = RANDOM.standard_normal((2, 2, 5, 7)).astype(np.float32)
    a = conv(RANDOM, (0, 1), 5, 4, act_bits=1)
    b = conv(RANDOM, (2,), 4, 4, residual=2, act_bits=8)
    program = Program((3, 2), (a, b, MaxPool(3), Upsample(4), Add(5, 5)), (6, 4, 3))
    y0 = quant_conv_reference([x, z], a.weight, a.attributes, **a.floats)
    y1 = quant_conv_reference([y0], b.weight, b.attributes, residual=y0, **b.floats)
    pooled = y1[:, :, :4, :6].reshape(2, 4, 2, 2, 3, 2).max(axis=(3, 5))
    twice = np.kron(pooled, np.ones((2, 2), np.float32)) * 2
    for found, expected in zip(quant_graph_reference(program, [x, z]), (twice, pooled, y1), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_reference_refuses_wrong_inputs() -> None:
    program = Program((3, -1), (Add(0, 1), MaxPool(2)), (3,))
    x = np.zeros((1, 3, 4, 4), np.float32)
    for inputs, match in (
        ([x], "2 inputs, got 1"),
        ([x[:, :2], x], "input 0 has 3 channels"),
        ([x, x[..., :2]], "terms of a sum differ"),
        ([x[..., :1], x[..., :1]], "4x1 px cannot be pooled"),
    ):
        with pytest.raises(UsageError, match=match):
            quant_graph_reference(program, inputs)
    parts = Program((1, 1), (conv(RANDOM, (0, 1), 2, 1),), (2,))
    with pytest.raises(UsageError, match="parts of a convolution differ"):
        quant_graph_reference(parts, [x[:, :1], x[:, :1, :2]])


CONV = 6  # where the first node starts, behind two inputs
RESIDUAL, WEIGHT, SIZE, IN_SCALE, IN_BIAS, OUT_SCALE = range(CONV + 2, CONV + 8)
FIRST_ATTRIBUTE = CONV + 9
PART = FIRST_ATTRIBUTE + len(attribute_names(1))


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        (0, 3, "version 3"),
        (1, 0, "0 inputs"),
        (2, 0, "0 nodes"),
        (3, -1, "-1 outputs"),
        (2, 2**31 - 1, "damaged"),
        (4, 0, "inputs of"),
        (4, 65537, "inputs of"),
        (4, 4, "parts of .4, 2. channels where 5"),
        (CONV, 9, "opcode 9"),
        (CONV + 1, 1, "ends inside a node"),
        (CONV + 1, 2**31 - 1, "ends inside a node"),
        (RESIDUAL, 2, "node 2 reads value 2"),
        (RESIDUAL, -2, "reads value -2"),
        (RESIDUAL, 0, "a residual of 3 channels where 2"),
        (WEIGHT, -1, "the weight at -1"),
        (WEIGHT, 10**6, "the weight at 1000000"),
        (SIZE, 1, "packed weights of 1 bytes, expected 2"),
        (IN_SCALE, -1, "come together"),
        (OUT_SCALE, 6, "out_scale at 6"),
        (OUT_SCALE, 2**31 - 4, "out_scale at"),
        (FIRST_ATTRIBUTE, 2, "version is 1..1, got 2"),
        (PART, 3, "reads value 3"),
        (PART, -1, "reads value -1"),
        (-1, 0, "outputs .0. of the values 2..2"),
        (-1, 3, "outputs .3."),
    ],
)
def test_refused(place: int, value: int, match: str) -> None:
    node = conv(RANDOM, (0, 1), 5, 2)
    words, data = encode(Program((3, 2), (node,), (2,)))
    decode(words, data)
    words[place] = value
    with pytest.raises(ModelFileError, match=match):
        decode(words, data)


def test_other_forms_are_refused() -> None:
    words, data = encode(Program((3, 2), (conv(RANDOM, (0, 1), 5, 2),), (2,)))
    forms: list[tuple[Any, Any]] = [(words.astype(np.int64), data), (words, data.view(np.int8)), (words[None], data)]
    for other, bytes_ in forms:
        with pytest.raises(ModelFileError, match="operands"):
            decode(other, bytes_)
    with pytest.raises(ModelFileError, match="1 words too many"):
        decode(np.append(words, np.int32(0)), data)
    ternary = conv(RANDOM, (0,), 4, 1, weight_bits=2)
    words, data = encode(Program((4,), (ternary,), (1,)))
    with pytest.raises(ModelFileError, match="code 3"):
        decode(words, np.concatenate([np.array([3], np.uint8), data[1:]]))
    words, data = encode(Program((4, 5), (Add(0, 0),), (2,)))
    words[-2] = 1
    with pytest.raises(ModelFileError, match=r"a sum of \[4, 5\] channels"):
        decode(words, data)
