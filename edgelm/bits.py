"""THE definition of edgelm's packed weights: bit order, codes and row padding. C and the file formats follow it.

A packed weight tensor has one row per output channel. A row holds the K = kernel_h * kernel_w * in_channels weights of
that filter in (kernel_h, kernel_w, in_channels) order, so that channels are innermost, least significant bits first,
padded with zero bits to a whole byte. It is the same in ONNX and TFLite files; kernels repack it once at load.

    1 bit   (binary):   bit 0 is +1, bit 1 is -1                    ceil(K / 8) bytes a row
    2 bits  (ternary):  code 0 is 0, 1 is +1, 2 is -1, 3 is refused  ceil(K / 4) bytes a row
    8 bits  (int8):     two's complement                            K bytes a row
    32 bits (float):    IEEE 754 single, lowest byte first          4 K bytes a row

O = output channels, I = input channels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm.errors import ModelFileError, UsageError

__all__ = ["WEIGHT_BITS", "pack_weights", "packed_row_bytes", "unpack_weights"]

WEIGHT_BITS = (1, 2, 8, 32)
_WHOLE: dict[int, np.dtype[Any]] = {8: np.dtype("i1"), 32: np.dtype("<f4")}
"""Weights that fill whole bytes are stored as they are."""


def packed_row_bytes(count: int, bits: int) -> int:
    """Bytes of one packed row of `count` weights of `bits` (1, 2, 8 or 32) bits each."""
    if bits not in WEIGHT_BITS:
        raise UsageError(f"weights are packed with 1, 2, 8 or 32 bits each, got {bits}")
    return -(-count * bits // 8)


def pack_weights(levels: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Pack weights.

    Args:
        levels: (O, kernel_h, kernel_w, I); int8 levels -1 and +1 for 1 bit, -1, 0 and +1 for 2 bits, any for 8 bits;
            float32 for 32 bits.
        bits: 1, 2, 8 or 32.

    Returns:
        (O, packed_row_bytes(kernel_h * kernel_w * I, bits)) uint8.

    Raises:
        UsageError: a level has no code, for example a 0 among binary weights; an array of another type.
    """
    rows = levels.reshape(levels.shape[0], -1)
    width = packed_row_bytes(rows.shape[1], bits)
    wanted = np.float32 if bits == 32 else np.int8
    if rows.dtype != wanted:
        raise UsageError(f"{bits}-bit weights are given as {wanted.__name__}, got {rows.dtype}")
    if bits in _WHOLE:
        return np.ascontiguousarray(rows, _WHOLE[bits]).view(np.uint8)
    allowed = (-1, 1) if bits == 1 else (-1, 0, 1)
    if not np.isin(rows, allowed).all():
        raise UsageError(f"{bits}-bit weights are {allowed}, got {np.setdiff1d(rows, allowed)[:4].tolist()} among them")
    codes = (rows < 0).astype(np.uint8) if bits == 1 else np.where(rows < 0, 2, rows).astype(np.uint8)
    plane = np.unpackbits(codes[..., None], axis=-1, count=bits, bitorder="little").reshape(rows.shape[0], -1)
    packed = np.packbits(plane, axis=1, bitorder="little")
    assert packed.shape[1] == width
    return packed


def unpack_weights(packed: NDArray[np.uint8], bits: int, shape: tuple[int, int, int, int]) -> NDArray[Any]:
    """Undo `pack_weights`: (O, row bytes) uint8 -> weights of `shape` (O, kernel_h, kernel_w, I), int8 or float32.

    Raises:
        ModelFileError: the array has another size than `shape` needs, or holds the code 3.
    """
    count = int(np.prod(shape[1:]))
    expected = (shape[0], packed_row_bytes(count, bits))
    if packed.shape != expected or packed.dtype != np.uint8:
        raise ModelFileError(
            f"packed weights of shape {shape} are {expected} uint8, got {packed.shape} {packed.dtype}; "
            "the file is damaged, export it again"
        )
    if bits in _WHOLE:
        stored: NDArray[Any] = np.frombuffer(packed.tobytes(), _WHOLE[bits]).reshape(shape)
        return stored.astype(np.int8 if bits == 8 else np.float32)
    plane = np.unpackbits(packed, axis=1, count=count * bits, bitorder="little")
    levels: NDArray[Any]
    if bits == 1:
        levels = 1 - 2 * plane.astype(np.int8)
    else:
        plus, minus = plane[:, 0::2].astype(np.int8), plane[:, 1::2].astype(np.int8)
        if (plus & minus).any():
            raise ModelFileError("packed ternary weights hold the unused code 3; the file is damaged, export it again")
        levels = plus - minus
    return levels.reshape(shape)
