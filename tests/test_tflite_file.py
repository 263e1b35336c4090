"""TFLite files: what is written is what the official schema and the engine read, and hostile files are refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples

from edgelm.errors import ModelFileError, UsageError
from edgelm.export.tflite_file import Model, Operator, Quantization, Tensor, constant, write_model
from edgelm.runtimes.tflite_file import TfliteFile, verify_tflite
from edgelm.runtimes.tflite_schema import BUILTINS, SCHEMA_VERSION, Field

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 6, 8, 4)).astype(np.float32)


def sample() -> bytes:
    """A small file with some of everything: two constants, options, a custom operator, metadata."""
    tensors = [
        Tensor("x", X.shape, shape_signature=(-1, 6, 8, 4)),
        constant("two", np.full((1,), 2, np.float32)),
        constant("bits", np.arange(7, dtype=np.uint8).reshape(1, 7)),
        *(Tensor(name, X.shape) for name in "abc"),
        Tensor("p", (1, 3, 4, 4)),
    ]
    pool: dict[str, int | str] = {
        "padding": "VALID",
        "stride_w": 2,
        "stride_h": 2,
        "filter_width": 2,
        "filter_height": 2,
    }
    operators = [
        Operator("MUL", ("x", "two"), ("a",)),
        Operator("RELU", ("a",), ("b",)),
        Operator("edgelm.QuantConv2d", ("bits", "", "b"), ("c",), custom_options=b"0123"),
        Operator("MAX_POOL_2D", ("c",), ("p",), pool),
    ]
    return write_model(Model(tensors, operators, ("x",), ("p",), {"edgelm.spec": b"{}", "more": b"text"}, "sample"))


def test_reads_what_it_wrote() -> None:
    file = verify_tflite(sample())
    assert [(t.name, t.shape, t.dtype) for t in file.inputs] == [("x", (1, 6, 8, 4), "float32")]
    assert [(t.name, t.shape, t.dtype) for t in file.outputs] == [("p", (1, 3, 4, 4), "float32")]
    assert file.metadata == {"edgelm.spec": b"{}", "more": b"text"}
    assert file.custom_ops == {"edgelm.QuantConv2d"}
    assert file.weights_bytes == 4 + 7


def test_blobs_are_aligned_and_last() -> None:
    values = RNG.integers(0, 255, (3, 41), np.uint8)
    data = write_model(Model([constant("w", values), Tensor("y", values.shape)], [], (), ("w",), {"m": b"tail"}))
    at = data.index(values.tobytes())
    assert at % 16 == 0
    assert data.index(b"tail") % 16 == 0
    assert at > data.index(b"w\0")


def test_equal_constants_are_stored_once() -> None:
    values = RNG.standard_normal(1000).astype(np.float32)
    tensors = [constant("a", values), constant("b", values), Tensor("y", values.shape)]
    data = write_model(Model(tensors, [Operator("ADD", ("a", "b"), ("y",))], (), ("y",)))
    assert len(data) < 1.2 * values.nbytes
    assert verify_tflite(data).weights_bytes == values.nbytes


# ---- against the official schema


@pytest.fixture(scope="module")
def schema() -> Any:
    return pytest.importorskip("ai_edge_litert.schema_py_generated", reason="the official schema comes with LiteRT")


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def _some(kind: Field) -> Any:
    """A value other than the default."""
    if kind.names is not None:
        return list(kind.names)[-1]
    return (3, 4) if kind.kind.startswith("[") else 7


@pytest.mark.parametrize("name", BUILTINS)
def test_builtin_by_the_official_schema(schema: Any, name: str) -> None:
    builtin = BUILTINS[name]
    options = {key: _some(kind) for key, kind in builtin.options.items()}
    inputs = tuple("abcd"[: builtin.arity[0]])
    operator = Operator(name, inputs, ("y",), options, version=2)
    model = schema.ModelT.InitFromPackedBuf(
        write_model(Model([Tensor(t, (1,)) for t in "abcdy"], [operator], inputs, ("y",)))
    )
    assert model.version == SCHEMA_VERSION
    code = model.operatorCodes[0]
    assert code.builtinCode == getattr(schema.BuiltinOperator, name)
    assert (code.deprecatedBuiltinCode, code.version) == (min(code.builtinCode, 127), 2)
    read = model.subgraphs[0].operators[0]
    assert (list(read.inputs), list(read.outputs)) == (list(range(len(inputs))), [4])
    if not builtin.options_type:
        assert read.builtinOptions is None
        return
    assert type(read.builtinOptions).__name__.removesuffix("T") in {
        key for key, number in vars(schema.BuiltinOptions).items() if number == builtin.options_type
    }
    for key, kind in builtin.options.items():
        value = getattr(read.builtinOptions, _camel(key))
        want = options[key] if kind.names is None else kind.names[options[key]]
        assert list(value) == list(want) if isinstance(want, tuple) else value == want


def test_tables_by_the_official_schema(schema: Any) -> None:
    model = schema.ModelT.InitFromPackedBuf(sample())
    graph = model.subgraphs[0]
    assert model.description == b"sample"
    assert [t.name for t in graph.tensors] == [b"x", b"two", b"bits", b"a", b"b", b"c", b"p"]
    assert [list(t.shape) for t in graph.tensors][:3] == [[1, 6, 8, 4], [1], [1, 7]]
    assert [t.type for t in graph.tensors][1:3] == [schema.TensorType.FLOAT32, schema.TensorType.UINT8]
    assert list(graph.tensors[0].shapeSignature) == [-1, 6, 8, 4]
    assert bytes(model.buffers[graph.tensors[2].buffer].data) == bytes(range(7))
    custom = graph.operators[2]
    assert model.operatorCodes[custom.opcodeIndex].customCode == b"edgelm.QuantConv2d"
    assert list(custom.inputs) == [2, -1, 4]
    assert bytes(custom.customOptions) == b"0123"
    assert [(m.name, bytes(model.buffers[m.buffer].data)) for m in model.metadata] == [
        (b"edgelm.spec", b"{}"),
        (b"more", b"text"),
    ]


def test_quantization_by_the_official_schema(schema: Any) -> None:
    tensor = constant("w", np.ones((2, 3), np.int8), Quantization((0.5, 2.0), (1, -1), 0))
    read = schema.ModelT.InitFromPackedBuf(write_model(Model([tensor], [], (), ("w",)))).subgraphs[0].tensors[0]
    assert list(read.quantization.scale) == [0.5, 2.0]
    assert list(read.quantization.zeroPoint) == [1, -1]


def test_reads_what_others_write(schema: Any) -> None:
    """The same model, serialized by the official library."""
    builder = pytest.importorskip("flatbuffers").Builder(0)
    model = schema.ModelT.InitFromPackedBuf(sample())
    builder.Finish(model.Pack(builder), b"TFL3")
    assert verify_tflite(bytes(builder.Output())) == verify_tflite(sample())


# ---- what cannot be written


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (Operator("MATMUL", ("x",), ("y",)), "operator 'MATMUL' is unknown"),
        (Operator("RELU", ("q",), ("y",)), r"names tensors \['q'\]"),
        (Operator("RELU", ("x",), ("y",), {"axis": 1}), r"RELU has no options \['axis'\]"),
        (Operator("RELU", ("x",), ("y",), custom_options=b""), "RELU has custom options"),
        (Operator("ADD", ("x",), ("y",)), "ADD has 2 to 2 inputs"),
        (Operator("CONV_2D", ("x", ""), ("y",)), "CONV_2D has 2 to 3 inputs"),
        (Operator("CONV_2D", ("x", "x"), ("y",), {"padding": "HALF"}), "padding is one of"),
        (Operator("CONV_2D", ("x", "x"), ("y",), {"padding": "VALID"}), "needs the options"),
    ],
)
def test_wrong_operators(operator: Operator, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_model(Model([Tensor("x", (1,)), Tensor("y", (1,))], [operator], ("x",), ("y",)))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (Tensor("x", (1,), "float80"), "type 'float80', known are"),
        (Tensor("x", (2,), data=b"0123"), "has 4 bytes, expected 8"),
        (Tensor("y", (1,)), "two tensors are named 'y'"),
    ],
)
def test_wrong_tensors(tensor: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_model(Model([Tensor("y", (1,)), tensor], [], (), ()))


# ---- hostile files

SAMPLE = sample()


USED = SAMPLE.rindex(b"text") + 4
"""Bytes of the sample that its structure needs; padding follows."""


def read(data: bytes) -> TfliteFile | None:
    """What the file says, None where it is refused; any other exception is a defect and passes through."""
    try:
        return verify_tflite(data)
    except ModelFileError:
        return None


@settings(deadline=None, max_examples=examples(300))
@given(st.integers(0, USED - 1))
def test_truncated(size: int) -> None:
    assert read(SAMPLE[:size]) is None


@settings(deadline=None, max_examples=examples(1500))
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE)
    for at, value in changes:
        data[at] = value
    assert isinstance(read(bytes(data)), TfliteFile | None)


@settings(deadline=None, max_examples=examples(1500))
@given(st.integers(0, len(SAMPLE) // 4 - 1), st.integers(-(2**31), 2**31 - 1) | st.integers(-64, len(SAMPLE)))
def test_replaced_numbers(word: int, value: int) -> None:
    data = np.frombuffer(SAMPLE, "<i4").copy()
    data[word] = value
    assert isinstance(read(data.tobytes()), TfliteFile | None)


@settings(deadline=None, max_examples=examples(200))
@given(st.binary(max_size=400))
def test_noise(data: bytes) -> None:
    assert read(data) is None
    assert isinstance(read(b"\x08\0\0\0TFL3" + data), TfliteFile | None)


def test_long_constants_are_not_spelled_out() -> None:
    tensors = [Tensor("x", X.shape), Tensor("y", X.shape), constant("far", np.zeros(1 << 16, np.int32))]
    for operator in (Operator("SLICE", ("x", "far", "far"), ("y",)), Operator("TRANSPOSE", ("x", "far"), ("y",))):
        with pytest.raises(ModelFileError) as caught:
            verify_tflite(write_model(Model(tensors, [operator], ("x",), ("y",))))
        assert len(str(caught.value)) < 1000


def test_metadata_is_not_copied() -> None:
    """A hostile file may list one buffer a thousand times."""
    assert isinstance(verify_tflite(sample()).metadata["more"], memoryview)


def test_cut_weights_are_noticed() -> None:
    """The engine would read past the end of such a file."""
    with pytest.raises(ModelFileError, match="damaged or not edgelm's"):
        verify_tflite(SAMPLE[:-32])


def test_vector_that_is_pointed_at_often() -> None:
    """A file of a few MB whose tables all share one long vector must not keep a device busy for hours."""
    tensors = [Tensor(f"t{i}", (1,)) for i in range(400)]
    names = tuple(t.name for t in tensors)
    data = np.frombuffer(
        write_model(Model(tensors, [Operator("edgelm.Many", names, names, custom_options=b"")] * 3000, (), ())), "<i4"
    )
    with pytest.raises(ModelFileError, match="items"):
        verify_tflite(data.tobytes())
