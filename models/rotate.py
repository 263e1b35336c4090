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
        # Not buffers: a network that is read from a file gets no values for what is not in it.
        from_middle = torch.arange(self.side, dtype=x.dtype, device=x.device) - (self.side - 1) / 2
        down, right = torch.meshgrid(from_middle, from_middle, indexing="ij")
        keep, turn = torch.stack([down, right])[None], torch.stack([-right, down])[None]
        offset = angle.cos() * keep + angle.sin() * turn - keep
        identity = torch.eye(3, dtype=x.dtype, device=x.device)[:, :, None, None]
        return deform_conv2d(x, offset, identity, x.new_zeros(3), 0)
