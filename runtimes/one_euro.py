"""The One Euro filter: a low-pass whose cutoff rises with speed: calm where nothing moves, hardly late where it does.

    fc = min_cutoff + beta |speed|,   x' += (x - x') / (1 + 1 / (2 pi fc dt))

G. Casiez, N. Roussel, D. Vogel: 1 Euro Filter, CHI 2012, algorithm 1. The speed is (x - x') / dt, x' being the value
smoothed before, and is itself smoothed with the fixed cutoff `d_cutoff`. Each value is filtered for itself, and has a
clock of its own: one that is absent for some frames goes on from where it was, with the time that passed.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import UsageError

__all__ = ["OneEuro", "OneEuroOptions"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class OneEuroOptions:
    """The three parameters; the defaults are the ones the paper smooths a pointer with.

    Attributes:
        min_cutoff: Hz, of what does not move: lower is calmer.
        beta: Hz per (unit of the values / s): higher follows movement closer. At a constant speed the filter is behind
            by less than 1 / (2 pi beta) units, however fast.
        d_cutoff: Hz, of the speed.
    """

    min_cutoff: float = 1.0
    beta: float = 0.007
    d_cutoff: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("min_cutoff", 1e-9), ("beta", 0.0), ("d_cutoff", 1e-9)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
                raise UsageError(f"{name} of the One Euro filter is a finite number from {least:g} on, got {value!r}")


class OneEuro:
    """The state of one filter, for an array of values that keeps its shape."""

    def __init__(self, options: OneEuroOptions | None = None) -> None:
        self.options = options or OneEuroOptions()
        self._value: Array | None = None

    def __call__(self, value: Array, time: float, *, unit: float = 1.0, seen: Array | bool = True) -> Array:
        """Smooth the values of one moment.

        Args:
            value: any shape, the same in every call.
            time: s. A value whose time does not rise starts anew.
            unit: how much of `value` counts as one unit of speed in `beta`; it makes a large person and a small one,
                in px, as calm as each other.
            seen: bool, broadcast to `value`; what is not seen is handed back as it came and not learned from, and
                neither is what is not finite.

        Returns:
            float64 of value's shape.
        """
        new = np.asarray(value, np.float64)
        if self._value is None:
            self._value, self._speed = np.full(new.shape, np.nan), np.zeros(new.shape)
            self._time = np.full(new.shape, np.nan)
        if new.shape != self._value.shape:
            raise UsageError(
                f"expected values of shape {self._value.shape} as before, got {new.shape}; make a new filter"
            )
        seen = np.broadcast_to(seen, new.shape) & np.isfinite(new)
        dt = time - self._time
        goes_on = seen & (dt > 0)  # False too where there was none before: NaN fails the comparison
        dt = np.where(goes_on, dt, 1.0)
        o = self.options
        raw_speed = np.where(goes_on, (new - self._value) / (dt * unit), 0.0)
        speed = np.where(goes_on, self._speed + _share(o.d_cutoff, dt) * (raw_speed - self._speed), 0.0)
        share = _share(o.min_cutoff + o.beta * np.abs(speed), dt)
        smooth = np.where(goes_on, self._value + share * (new - self._value), new)
        self._value = np.where(seen, smooth, self._value)
        self._speed = np.where(seen, speed, self._speed)
        self._time = np.where(seen, time, self._time)
        return smooth


def _share(cutoff: Array | float, dt: Array) -> Array:
    """How much of the new value a first-order low-pass of `cutoff` Hz takes after `dt` s."""
    turns = 2 * math.pi * cutoff * dt
    share: Array = turns / (1 + turns)
    return share
