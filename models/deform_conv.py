"""Deformable convolution (Dai et al., 2017; ONNX's DeformConv, op set 19): taps that lie where the image says.

The definition is plain torch, slow and differentiable; in an export it is one node, which `edgelm.export.passes` and
the engines know. One group of channels, one group of offsets, no mask.
N = batch, I = input channels, O = output channels, k = side of the kernel, H, W = input size, OH, OW = output size.
"""

import torch
from torch import Tensor, nn

__all__ = ["CANONICAL_DEFORM", "DeformConv2d", "deform_conv2d"]

CANONICAL_DEFORM = "edgelm.canonical::DeformConv"
"""The node in the canonical graph: inputs x, weight, offset, bias; attribute `padding`."""


def deform_conv2d(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """Convolve with every tap moved by its own offset, at stride 1.

    y[n, o, r, c] = bias[o] + sum over i, a, b of weight[o, i, a, b] * x[n, i] at row r - padding + a + dy and column
    c - padding + b + dx. Between pixels x is bilinear, and zero outside the image: of the four pixels around a place
    those that lie inside count. A place at or beyond one pixel outside, or NaN, gives 0.

    Args:
        x: (N, I, H, W) float.
        offset: (N, 2 k k, OH, OW) float, px; dy and dx of the taps, row by row.
        weight: (O, I, k, k).
        bias: (O,).
        padding: rows and columns of zeros on every side.

    Returns:
        (N, O, OH, OW) with OH = H + 2 padding - k + 1 and OW likewise.
    """
    N, _, H, W = x.shape
    O, _, k, _ = weight.shape
    OH, OW = H + 2 * padding - k + 1, W + 2 * padding - k + 1
    if torch.onnx.is_in_onnx_export():
        made: Tensor = torch.onnx.ops.symbolic(
            CANONICAL_DEFORM,
            (x, weight, offset, bias),
            attrs={"padding": padding},
            dtype=x.dtype,
            shape=(N, O, OH, OW),
            version=1,
        )
        return made
    # Whole numbers first: only the offset is added in floating point, as the engines do.
    rows = torch.arange(OH, device=x.device)[:, None] - padding
    columns = torch.arange(OW, device=x.device) - padding
    y = bias[:, None].expand(N, O, OH * OW)
    for tap in range(k * k):
        place = rows + tap // k + offset[:, 2 * tap], columns + tap % k + offset[:, 2 * tap + 1]
        y = y + weight[:, :, tap // k, tap % k] @ _bilinear(x, *place)
    return y.reshape(N, O, OH, OW)


def _bilinear(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Values of x (N, I, H, W) at places (N, OH, OW) each -> (N, I, OH OW)."""
    N, I, H, W = x.shape
    near = (rows > -1) & (rows < H) & (columns > -1) & (columns < W)  # false for NaN
    # Before rounding: a number that no integer holds has no defined conversion.
    rows, columns = torch.where(near, rows, 0), torch.where(near, columns, 0)
    top, left = rows.floor(), columns.floor()
    total = x.new_zeros(())
    for row, row_share in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for column, column_share in ((left, 1 - (columns - left)), (left + 1, columns - left)):
            inside = near & (row >= 0) & (row < H) & (column >= 0) & (column < W)
            index = torch.where(inside, row * W + column, 0).long().reshape(N, 1, -1).expand(N, I, -1)
            found = x.flatten(2).gather(2, index) * (row_share * column_share).reshape(N, 1, -1)
            total = total + torch.where(inside.reshape(N, 1, -1), found, 0)
    return total


class DeformConv2d(nn.Module):
    """A deformable convolution with the ordinary one, zero at first, that finds the offsets from the same input.

    Args:
        in_channels: I.
        out_channels: O.
        kernel_size: k, odd; "same" zero padding.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.padding = kernel_size // 2
        self.offset = nn.Conv2d(in_channels, 2 * kernel_size**2, kernel_size, padding=self.padding)
        for parameter in self.offset.parameters():
            nn.init.zeros_(parameter)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H, W)."""
        return deform_conv2d(x, self.offset(x), self.weight, self.bias, self.padding)
