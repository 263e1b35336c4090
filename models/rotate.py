"""A spatial transformer (Jaderberg et al., 2015) that may turn its image: a small network finds the angle.

Stacked dense U-Nets may begin with one ("STN", Guo et al., section 3.2). Turning is a deformable convolution with one
tap whose weights leave the channels alone, so that engines need no operator more.
"""

import torch
from torch import Tensor, nn

from edgelm.errors import UsageError
from edgelm.models.deform_conv import deform_conv2d

__all__ = ["Rotate"]


class Rotate(nn.Module):
    """Turn square images about their middle; what comes in from outside is zero.

    Args:
        side: of the images in px, a multiple of 4. The fully connected layers are convolutions as large as their maps.
        epsilon: of BatchNorm.
    """

    turn: Tensor
    keep: Tensor
    identity: Tensor
    zero: Tensor

    def __init__(self, side: int, epsilon: float = 2e-5) -> None:
        super().__init__()
        self.side = side
        self.last = nn.Conv2d(128, 1, 1)
        self.find = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64, eps=epsilon), nn.ReLU(),
            nn.Conv2d(64, 128, 3, padding=1, bias=False), nn.BatchNorm2d(128, eps=epsilon), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(128, 128, side // 4), nn.Tanh(),
        )  # fmt: skip
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)  # a new network leaves its images as they are
        from_middle = torch.arange(side) - (side - 1) / 2
        y, x = torch.meshgrid(from_middle, from_middle, indexing="ij")
        for name, value in (
            ("keep", torch.stack([y, x])[None]), ("turn", torch.stack([-x, y])[None]),
            ("identity", torch.eye(3)[:, :, None, None]), ("zero", torch.zeros(3)),
        ):  # fmt: skip
            self.register_buffer(name, value, persistent=False)

    def angle(self, x: Tensor) -> Tensor:
        """Images (N, 3, side, side) -> radians (N, 1, 1, 1), within 0.5 of zero."""
        if x.shape[2:] != (self.side, self.side):
            raise UsageError(
                f"this network turns images of {self.side}x{self.side} px, got {tuple(x.shape[2:])}; its fully "
                "connected layer has that size"
            )
        found: Tensor = self.last(self.find(x)).tanh() * 0.5
        return found

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, side, side) -> the same; a pixel at (x, y) from the middle is read at that place turned."""
        angle = self.angle(x)
        offset = angle.cos() * self.keep + angle.sin() * self.turn - self.keep
        return deform_conv2d(x, offset, self.identity, self.zero, 0)
