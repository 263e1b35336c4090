"""The description inside a model file: it comes back as it went in, and no damaged one gets through."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples

from edgelm.crops import crop_names, get_crop
from edgelm.errors import ModelFileError
from edgelm.schemes import get_scheme, scheme_names
from edgelm.spec import ExportOptions, InputSpec, ModelSpec, TestVector
from edgelm.testvector import make_vector


def make_spec(scheme: str = "300w68", **changes: Any) -> ModelSpec:
    K = len(get_scheme(scheme).names)
    spec = ModelSpec(
        name="cunet2-bwa",
        task="face",
        scheme=get_scheme(scheme),
        input=InputSpec(128, 96, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        crop=get_crop("hrnet_face"),
        heatmap_height=32,
        heatmap_width=24,
        score="softmax_near",
        options=ExportOptions("graph", "int8", "int13"),
        versions={"torch": "2.7"},
        test_vector=TestVector(7, ((1.5, 2.25),) * K, (0.1,) * K, (True,) * K, 0.01, 0.02),
    )
    return dataclasses.replace(spec, **changes)


@pytest.mark.parametrize("scheme", scheme_names())
@pytest.mark.parametrize("crop", crop_names())
def test_json_round_trip(scheme: str, crop: str) -> None:
    spec = make_spec(scheme, crop=get_crop(crop))
    text = spec.to_json()
    assert ModelSpec.from_json(text) == spec
    assert ModelSpec.from_json(text.encode()) == spec
    assert text.isascii()
    assert "\n" not in text


def test_optional_parts_may_be_missing() -> None:
    spec = make_spec(test_vector=None)
    data = json.loads(spec.to_json())
    for key in ("test_vector", "versions", "weights_sha256", "flip_test", "options"):
        del data[key]
    assert ModelSpec.from_json(json.dumps(data)) == dataclasses.replace(spec, versions={}, options=ExportOptions())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not edgelm's"),
        ("null", "not edgelm's"),
        ("{}", "not edgelm's"),
        ('{"format":2}', "upgrade edgelm"),
        ('{"format":[1]}', "upgrade edgelm"),
        ('{"format":1}', "damaged"),
        ('{"format":true}', "damaged"),
    ],
)
def test_foreign_text(text: str | bytes, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        ModelSpec.from_json(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", 5),
        ("name", None),
        ("task", "hand"),
        ("task", ["face"]),
        ("scheme", None),
        ("scheme.names", []),
        ("scheme.names", ["a"] * 2000),
        ("scheme.names", [1] * 68),
        ("scheme.names", "abc"),
        ("scheme.flip_pairs", [[0, 68]]),
        ("scheme.flip_pairs", [[-1, 0]]),
        ("scheme.flip_pairs", [[0]]),
        ("scheme.flip_pairs", [0, 1]),
        ("scheme.contours", [[0, 1.5]]),
        ("scheme.contours", [[0, 99]]),
        ("scheme.sigmas", [0.1]),
        ("scheme.extra", 1),
        ("input.height", 0),
        ("input.height", -1),
        ("input.height", 10**9),
        ("input.height", 128.5),
        ("input.height", True),
        ("input.width", "128"),
        ("input.channels", "GBR"),
        ("input.mean", [0, 0]),
        ("input.mean", [0, 0, "0"]),
        ("input.mean", [0, 0, float("nan")]),
        ("input.mean", [0, 0, float("inf")]),
        ("input.mean", [0, 0, 10**400]),
        ("input.std", [1, 1, 0]),
        ("input.std", [1, 1, -1]),
        ("input.std", 1),
        ("crop.factor", 0),
        ("crop.factor", 1e300),
        ("crop.factor", float("nan")),
        ("crop.aspect", -1),
        ("crop.shift", [0]),
        ("crop.shift", [0, 1e9]),
        ("crop.side", "short"),
        ("heatmap_height", 0),
        ("heatmap_width", 1 << 40),
        ("decode", "argmax"),
        ("score", "mean"),
        ("flip_test", True),
        ("opset", 2),
        ("activation_bits", 1.5),
        ("portable", 1),
        ("versions", ["torch"]),
        ("versions", {"torch": 2}),
        ("test_vector", []),
        ("test_vector.seed", -1),
        ("test_vector.seed", 1 << 32),
        ("test_vector.xy", [[0, 0]]),
        ("test_vector.xy", [[0, 0, 0]] * 68),
        ("test_vector.score", [None] * 68),
        ("test_vector.decidable", [1] * 68),
        ("test_vector.tolerance_px", float("inf")),
        ("unknown", 1),
        ("options", None),
        ("options", "graph"),
        ("options.ops", "node"),
        ("options.real", 8),
        ("options.activations", "int4"),
        ("options.threads", 2),
    ],
)
def test_damaged_value(path: str, value: Any) -> None:
    data = json.loads(make_spec().to_json())
    *parents, last = path.split(".")
    record = data
    for parent in parents:
        record = record[parent]
    record[last] = value
    with pytest.raises(ModelFileError, match="export the model again"):
        ModelSpec.from_json(json.dumps(data))


@pytest.mark.parametrize("key", ["name", "task", "scheme", "input", "crop", "heatmap_height", "heatmap_width"])
def test_missing_value(key: str) -> None:
    data = json.loads(make_spec().to_json())
    del data[key]
    with pytest.raises(ModelFileError, match="damaged"):
        ModelSpec.from_json(json.dumps(data))


@given(data=st.data())
@settings(deadline=None, max_examples=examples(100))
def test_no_mutation_escapes_as_another_error(data: st.DataObject) -> None:
    """Any JSON value anywhere gives a spec or a ModelFileError, never a crash."""
    junk = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )
    record = json.loads(make_spec("lsp14").to_json())
    target = record
    while True:
        key = data.draw(st.sampled_from(sorted(target)))
        if not isinstance(target[key], dict) or not target[key] or data.draw(st.booleans()):
            break
        target = target[key]
    target[key] = data.draw(junk)
    try:
        spec = ModelSpec.from_json(json.dumps(record))
    except ModelFileError:
        return
    assert ModelSpec.from_json(spec.to_json()) == spec


@given(cut=st.integers(0, 2000))
@settings(deadline=None)
def test_truncation(cut: int) -> None:
    with pytest.raises(ModelFileError):
        ModelSpec.from_json(make_spec("lsp14").to_json()[: -cut - 1])


def test_no_test_vector_where_nothing_is_decidable() -> None:
    """It would accept a device that answers NaN, whose score is 0 too."""
    spec = make_spec(score="max")
    assert make_vector(lambda _: np.zeros((1, 68, 32, 24), np.float32), spec) is None
