"""Layers to measure kernels on: those that the papers' networks spend their time in.

C = input channels, O = output channels, K = side of the filter, H, W = output height and width.
"""

from dataclasses import dataclass

__all__ = ["SHAPES", "LayerShape"]


@dataclass(frozen=True)
class LayerShape:
    """A convolution with stride 1 and zero padding that keeps the size.

    Attributes:
        networks: where it is found.
        K: side of the filter in px.
        C: input channels.
        O: output channels.
        H: height of the map in px.
        W: its width.
    """

    networks: str
    K: int
    C: int
    O: int
    H: int
    W: int

    @property
    def name(self) -> str:
        """For example "3x3 128->32 64x64"."""
        return f"{self.K}x{self.K} {self.C}->{self.O} {self.H}x{self.W}"

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return self.K * self.K * self.C * self.O * self.H * self.W


def _square(networks: str, K: int, C: int, O: int, *sides: int) -> list[LayerShape]:
    return [LayerShape(networks, K, C, O, side, side) for side in sides]


SHAPES: tuple[LayerShape, ...] = (
    *_square("CU-Net", 3, 128, 32, 64, 32, 16, 8, 4),
    *_square("CU-Net", 1, 288, 128, 64, 32, 16, 8),
    *_square("CU-Net", 1, 320, 128, 64),
    *_square("CU-Net", 1, 192, 128, 64, 4),
    *_square("CU-Net", 1, 160, 128, 64),
    *_square("CU-Net", 1, 128, 128, 64),
    *_square("BCLL", 3, 256, 128, 64, 32),
    *_square("BCLL", 3, 128, 64, 64),
    *_square("BCLL", 3, 64, 64, 64),
    *_square("BCLL, CU-Net", 1, 256, 128, 64),
    *_square("BCLL", 3, 128, 128, 64),
    *_square("BCLL", 3, 256, 256, 64),
    LayerShape("HRNet", 3, 32, 32, 64, 48),
    LayerShape("HRNet", 3, 64, 64, 32, 24),
    LayerShape("HRNet", 3, 128, 128, 16, 12),
    LayerShape("HRNet", 3, 256, 256, 8, 6),
)
"""All with the same stride: a kernel's inner loop does not know it."""
