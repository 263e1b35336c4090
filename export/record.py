"""What the record of a custom op is made of, and what derives from one: checks, TFLite's options, documentation.

The records themselves are in `edgelm.export.ops`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgelm.errors import UsageError

__all__ = ["CONVOLUTION", "DOMAIN", "SIDE", "Attribute", "Input", "OpRecord", "Rule"]

DOMAIN = "edgelm"
SIDE = 1 << 16
"""Paddings are below it, and channels at most it."""


@dataclass(frozen=True)
class Attribute:
    """One integer attribute: an ONNX INT of this name, and one little-endian int32 at its place in TFLite's options.

    One with a `default` was added after files had been written: it is left out where it has that value, so that such
    files stay what they were. In options it comes last.
    """

    name: str
    allowed: tuple[int, int]
    meaning: str
    default: int | None = None


CONVOLUTION = (
    Attribute("version", (1, 1), "format of this record"),
    Attribute("kernel_h", (1, 255), "kernel height"),
    Attribute("kernel_w", (1, 255), "kernel width"),
    Attribute("stride_h", (1, 255), "vertical stride"),
    Attribute("stride_w", (1, 255), "horizontal stride"),
    Attribute("dilation_h", (1, 255), "rows from one tap to the next"),
    Attribute("dilation_w", (1, 255), "columns from one tap to the next"),
    Attribute("pad_top", (0, SIDE - 1), "rows of padding above the input"),
    Attribute("pad_left", (0, SIDE - 1), "columns of padding on its left"),
    Attribute("pad_bottom", (0, SIDE - 1), "rows of padding below it"),
    Attribute("pad_right", (0, SIDE - 1), "columns of padding on its right"),
    Attribute("in_channels", (1, SIDE), "C, the channels of all inputs together"),
    Attribute("out_channels", (1, SIDE), "O"),
)
"""What every record of a convolution begins with."""


@dataclass(frozen=True)
class Input:
    """One operand, in ONNX's and TFLite's order; optional ones are '' in ONNX and -1 in TFLite."""

    name: str
    dtype: str
    shape: str
    meaning: str
    optional: bool = False
    constant: bool = True


@dataclass(frozen=True)
class Rule:
    """What attributes must fulfil together: a sentence about the attribute `of`, and the test of it."""

    of: str
    text: str
    holds: Callable[[Mapping[str, int]], bool]


@dataclass(frozen=True)
class OpRecord:
    """A custom op: its name, attributes in file order and operands in file order (the last may repeat)."""

    name: str
    summary: str
    attributes: tuple[Attribute, ...]
    inputs: tuple[Input, ...]
    output: str
    rules: tuple[Rule, ...] = ()

    def options(self, attributes: Mapping[str, int]) -> bytes:
        """TFLite custom options: the attributes as little-endian int32, in the record's order.

        Raises:
            UsageError: an attribute is missing, unknown or out of range.
        """
        return np.array(list(self.stored(attributes).values()), "<i4").tobytes()

    def stored(self, attributes: Mapping[str, int]) -> dict[str, int]:
        """What of the attributes a file holds, in the record's order: all but trailing ones that have their default.

        Raises:
            UsageError: an attribute is missing, unknown or out of range.
        """
        self.check(attributes)
        names = [a.name for a in self.attributes]
        while names and attributes[names[-1]] == self.attributes[len(names) - 1].default:
            names.pop()
        return {name: attributes[name] for name in names}

    def complete(self, stored: Mapping[str, int]) -> dict[str, int]:
        """The attributes of a file with the defaults of those it leaves out; `check` says what is missing else."""
        return {**{a.name: a.default for a in self.attributes if a.default is not None}, **stored}

    def check(self, attributes: Mapping[str, int]) -> None:
        """Raise UsageError unless exactly the record's attributes are given, each in its range and all by the rules."""
        known = [a.name for a in self.attributes]
        if set(attributes) != set(known):
            missing, unknown = sorted(set(known) - set(attributes)), sorted(set(attributes) - set(known))
            raise UsageError(f"{self.name}: missing attributes {missing}, unknown {unknown}")
        for a in self.attributes:
            low, high = a.allowed
            if not low <= attributes[a.name] <= high:
                raise UsageError(f"{self.name}: {a.name} is {low}..{high}, got {attributes[a.name]}")
        for rule in self.rules:
            if not rule.holds(attributes):
                raise UsageError(f"{self.name}: {rule.text}, got {attributes[rule.of]}")

    def markdown(self) -> str:
        """The record as a section of documentation."""
        lines = [f"## {DOMAIN}::{self.name}", "", self.summary]
        lines += ["", "| operand | type | shape | |", "|---|---|---|---|"]
        for i in self.inputs:
            kind = ("optional" if i.optional else "required") + (", constant" if i.constant else "")
            lines.append(f"| `{i.name}` | {i.dtype} | {i.shape} | {kind}; {i.meaning} |")
        lines += ["", f"Output: {self.output}."]
        if self.attributes:
            lines += ["", "| attribute | range | |", "|---|---|---|"]
            for a in self.attributes:
                absent = "" if a.default is None else f"; {a.default} where a file leaves it out"
                lines.append(f"| `{a.name}` | {a.allowed[0]}..{a.allowed[1]} | {a.meaning}{absent} |")
        if self.rules:
            lines += ["", "Together they must fulfil:", "", *(f"* {rule.text}" for rule in self.rules)]
        return "\n".join(lines) + "\n"
