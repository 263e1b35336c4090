"""ModelSpec: everything a device needs to turn a photo into landmarks, written INTO every model file as JSON.

This module defines the record and its JSON form; what the rules mean is computed in `edgelm.geometry` (crops) and
`edgelm.decode` (heatmaps), and the landmark schemes live in `edgelm.schemes`.
K = landmarks, H, W = height and width in px.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import field
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from edgelm.errors import ModelFileError
from edgelm.record import record

__all__ = ["METADATA_KEY", "CropSpec", "ExportOptions", "InputSpec", "LandmarkScheme", "ModelSpec", "TestVector"]

METADATA_KEY = "edgelm.spec"
"""Name of the metadata entry in ONNX `metadata_props` and in TFLite `Model.metadata`."""

Decode = Literal["center", "index", "resize_argmax"]
Score = Literal["max", "sigmoid_max", "softmax_near"]
Side = Literal["long", "mean"]
_MAX_SIDE = 4096
_MAX_LANDMARKS = 1024


@record(frozen=True)
class LandmarkScheme:
    """Names and relations of K landmarks; all indices are 0-based.

    Attributes:
        name: for example "300w68".
        names: K names.
        flip_pairs: index pairs that swap in a mirrored image.
        contours: polylines to draw, each a tuple of indices (closed ones repeat their first index).
        sigmas: K per-landmark OKS constants, or empty where the field defines none.
    """

    name: str
    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    contours: tuple[tuple[int, ...], ...]
    sigmas: tuple[float, ...] = ()


@record(frozen=True)
class InputSpec:
    """The network's input image: H x W px, channel order, and (value / 255 - mean) / std per channel."""

    height: int
    width: int
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@record(frozen=True)
class CropSpec:
    """How a box (x1, y1, x2, y2) px becomes the crop that the network sees.

    The box is shifted by `shift` (fractions of its width and height), enlarged on its short side to `aspect`
    (width / height), and scaled by `factor`. Scales are counted in units of `reference` px, the field's convention.
    With `side` "mean" the crop's width is the mean of the box's sides instead, before `factor`.
    """

    preset: str
    factor: float
    aspect: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    reference: float = 200.0
    side: Side = "long"


@record(frozen=True)
class TestVector:
    """A seeded input and what the network answered at export, replayed by `edgelm selftest`.

    Attributes:
        seed: of the synthetic input, see `edgelm.testvector`.
        xy: K points in crop px, (x, y).
        score: K scores.
        decidable: K flags; False where the network's answer is a near tie that rounding may turn.
        tolerance_px: allowed distance in crop px.
        tolerance_score: allowed |difference| of a score.
    """

    seed: int
    xy: tuple[tuple[float, float], ...]
    score: tuple[float, ...]
    decidable: tuple[bool, ...]
    tolerance_px: float
    tolerance_score: float

    __test__ = False  # its name makes pytest try to collect it


@record(frozen=True)
class ExportOptions:
    """How the network was turned into operators; the defaults describe a file that says nothing about it.

    Attributes:
        ops: "graph": a piece of the network is one operator; "layers": a convolution is.
        real: who computes convolutions with real weights: the engine, or edgelm with float or int8 weights; the latter
            on 8-bit inputs, and the last head stays float. "fastest": edgelm in float but for `engine_layers`.
        activations: what quantized convolutions see in a network trained with float activations: these, or 8 or 13
            bits of them.
        weights: of a float network: as they are, or made smaller after training: float16, or int8 with 8-bit maps in
            between; the last head stays float.
        engine_layers: convolutions with real weights that the engine computed faster when the file was made, on the
            machine that made it.
    """

    ops: Literal["graph", "layers"] = "layers"
    real: Literal["float", "int8", "engine", "fastest"] = "engine"
    activations: Literal["float", "int8", "int13"] = "float"
    weights: Literal["float", "fp16", "int8"] = "float"
    engine_layers: tuple[str, ...] = ()

    @property
    def lossy(self) -> bool:
        """Whether the file computes less exactly than the network it was made of."""
        return self.rounds or self.weights != "float"

    @property
    def rounds(self) -> bool:
        """Whether it counts maps in steps that the network was not trained with."""
        return self.real == "int8" or self.activations != "float" or self.weights == "int8"


@record(frozen=True)
class ModelSpec:
    """The self-description of one landmark model."""

    name: str
    task: Literal["face", "pose"]
    scheme: LandmarkScheme
    input: InputSpec
    crop: CropSpec
    heatmap_height: int
    heatmap_width: int
    decode: Decode = "center"
    score: Score = "max"
    flip_test: Literal["none", "average", "average_shift"] = "none"
    opset: int = 1
    weights: str = "float"
    activation_bits: int = 32
    portable: bool = False
    options: ExportOptions = ExportOptions()
    weights_sha256: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    test_vector: TestVector | None = None
    format: int = 1

    def to_json(self) -> str:
        """The record as one line of JSON (ASCII, keys in a fixed order)."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> "ModelSpec":
        """Read and check a record.

        Raises:
            ModelFileError: not JSON, not an edgelm record, made by a newer edgelm, or with impossible values.
        """
        try:
            data = json.loads(text)
        # UnicodeDecodeError and JSONDecodeError are both ValueErrors; deep nesting is a RecursionError.
        except (ValueError, RecursionError) as error:
            raise ModelFileError(f"the model's description is not JSON ({error}); export the model again") from error
        if not isinstance(data, dict) or "format" not in data:
            raise ModelFileError("the model's description is not edgelm's; export the model with `edgelm export`")
        if data["format"] != 1:
            raise ModelFileError(
                f"the model's description has format {data['format']!r}, this edgelm reads 1; upgrade edgelm"
            )
        try:
            spec: ModelSpec = _build(cls, data)
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise ModelFileError(f"the model's description is damaged ({error}); export the model again") from error
        spec._check()
        return spec

    def _check(self) -> None:
        """Refuse values that would crash or exhaust a device later."""
        K, crop = len(self.scheme.names), self.crop
        flat = [v for c in self.scheme.contours for v in c] + [v for p in self.scheme.flip_pairs for v in p]
        problems = [
            (0 < K <= _MAX_LANDMARKS, f"{K} landmarks"),
            (all(0 <= v < K for v in flat), "a landmark index out of range"),
            (len(self.scheme.sigmas) in (0, K), f"{len(self.scheme.sigmas)} sigmas for {K} landmarks"),
            (all(0 < s <= _MAX_SIDE for s in (self.input.height, self.input.width)), "an impossible input size"),
            (all(0 < s <= _MAX_SIDE for s in (self.heatmap_height, self.heatmap_width)), "an impossible heatmap size"),
            (all(1e-6 < s < 1e6 for s in self.input.std), "an impossible standard deviation"),
            (all(abs(m) < 1e6 for m in self.input.mean), "an impossible mean"),
            (all(1e-3 < v < 1e3 for v in (crop.factor, crop.aspect, crop.reference)), "an impossible crop"),
            (all(abs(s) < 10 for s in crop.shift), "an impossible crop shift"),
            (self.opset == 1, f"op set version {self.opset}, this edgelm knows 1; upgrade edgelm"),
        ]
        if (vector := self.test_vector) is not None:
            lengths = {len(vector.xy), len(vector.score), len(vector.decidable)}
            problems.append((lengths == {K}, f"a test vector of {lengths} points for {K} landmarks"))
            problems.append((0 <= vector.seed < 1 << 32, f"a test vector of seed {vector.seed}"))
        for fine, problem in problems:
            if not fine:
                raise ModelFileError(f"the model's description has {problem}; export the model again")


def _build(kind: Any, data: Any) -> Any:
    """Rebuild a dataclass from what `dataclasses.asdict` and JSON made of it; unknown keys are errors."""
    if not isinstance(data, dict):
        raise TypeError(f"expected a record for {kind.__name__}, got {type(data).__name__}")
    hints = {f.name: f.type for f in dataclasses.fields(kind)}
    if unknown := data.keys() - hints.keys():
        raise ValueError(f"unknown fields {sorted(unknown)} in {kind.__name__}")
    return kind(**{key: _coerce(hints[key], key, value) for key, value in data.items()})


def _coerce(hint: Any, key: str, value: Any) -> Any:
    """Check a JSON value against the field's declared type, all the way down, and turn lists into tuples."""
    if type(value) is hint and (hint is not float or math.isfinite(value)):
        return value  # nearly all of a description's values are names and indices
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:  # the only unions here are `X | None`
        return None if value is None else _coerce(inner[0], key, value)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value)
    if origin is Literal and value in inner:
        return value
    if origin is tuple and isinstance(value, list):
        hints = inner[:1] * len(value) if inner[-1] is ... else inner
        if len(hints) == len(value):
            return tuple(_coerce(h, key, v) for h, v in zip(hints, value, strict=True))
    if origin is Mapping and isinstance(value, dict):
        return {name: _coerce(inner[1], key, v) for name, v in value.items()}
    accepted = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}.get(hint, ())
    if isinstance(value, accepted) and (not isinstance(value, bool) or hint is bool):
        plain = hint(value)
        if hint is not float or math.isfinite(plain):
            return plain
    known = f", known are {inner}" if origin is Literal else ""
    raise ValueError(f"{key} is {str(value)[:80]!r}, expected {getattr(hint, '__name__', hint)}{known}")
