"""Limits of networks' hyper-parameters."""

from collections.abc import Mapping

from edgelm.errors import UsageError

__all__ = ["check_limits"]


def check_limits(network: str, limits: Mapping[str, tuple[int, int, int]]) -> None:
    """Refuse hyper-parameters out of range.

    Args:
        network: what they are of, for the message.
        limits: by name the value, the smallest and the largest allowed.

    Raises:
        UsageError: one that is not a whole number within its limits.
    """
    for name, (value, low, high) in limits.items():
        if not isinstance(value, int) or not low <= value <= high:
            raise UsageError(f"{network}: {name} is {low}..{high}, got {value!r}")
