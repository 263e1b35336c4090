"""CU-Net's balance index: one figure for error, training memory and model size (Tang et al., section 5.4).

BI = E^2 TM MS: E is the error in percent (NME, or 100 - PCKh), TM the share of float32's memory that the maps kept for
the backward pass take, MS the share of float32's bytes that the weights take. Smaller is better.
"""

from edgelm.errors import UsageError

__all__ = ["MEMORY_SHARE", "SIZE_SHARE", "balance_index"]

MEMORY_SHARE = {32: 1.0, 8: 0.25, 6: 0.17, 1: 0.03}
"""By bits of activations, rounded as the paper prints them; its 6 bits are 0.17, not 6/32, and it has no 1 bit."""

SIZE_SHARE = {32: 1.0, 2: 0.06, 1: 0.03}
"""By bits of weights, rounded as the paper prints them."""


def balance_index(error: float, activation_bits: int, weight_bits: int) -> float:
    """The index of a network.

    Args:
        error: percent.
        activation_bits: 32 for float ones.
        weight_bits: 32 for float ones.

    Raises:
        UsageError: bits that have no share.
    """
    for what, bits, shares in (("activations", activation_bits, MEMORY_SHARE), ("weights", weight_bits, SIZE_SHARE)):
        if bits not in shares:
            raise UsageError(f"no share for {what} of {bits} bits; known are {', '.join(map(str, shares))}")
    return error**2 * MEMORY_SHARE[activation_bits] * SIZE_SHARE[weight_bits]
