"""The packed form of a model's weights: levels as bits, BatchNorms folded to a scale and a shift, the rest as it is.

Three flat arrays in the order of the model's modules, each compressed: one file entry per tensor would cost more than
the tensors. BatchNorm's scale and shift, and the scales and biases of quantized filters, are rounded to 24-bit floats
(relative error 2^-17, about the noise of a float sum of a hundred terms); levels are exact, and so are the float
layers.
O = output channels, I = input channels.
"""

import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgelm.bits import pack_weights, packed_row_bytes, unpack_weights
from edgelm.errors import ModelFileError
from edgelm.models.quant_conv import QuantConv2d

__all__ = ["pack_state", "unpack_state"]

Bytes = NDArray[np.uint8]


def _float24(values: NDArray[np.float32]) -> Bytes:
    """The upper 3 bytes of float32 values, rounded to nearest: (n,) float32 -> (3, n) uint8, low bytes first."""
    bits = values.view(np.uint32)
    rounded = np.where(np.isfinite(values), bits + np.uint32(0x80), bits)
    return rounded.view(np.uint8).reshape(-1, 4).T[1:]


def _from_float24(planes: Bytes) -> NDArray[np.float32]:
    full = np.zeros((planes.shape[1], 4), np.uint8)
    full[:, 1:] = planes.T
    return full.view(np.float32).ravel()


def _compressed(planes: Bytes) -> Tensor:
    # Bytes of like weight lie together, so that the nearly constant exponents compress.
    return torch.from_numpy(np.frombuffer(zlib.compress(planes.tobytes(), 9), np.uint8).copy())


def _expanded(blob: Tensor, size: int, what: str) -> Bytes:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(blob.numpy().tobytes(), size + 1)  # never more than the network can hold
    except zlib.error as error:
        raise ModelFileError(f"the packed {what} cannot be unpacked ({error})") from error
    if len(data) != size or not unpacker.eof:
        raise ModelFileError(f"the packed {what} have another size than the network's {size} bytes")
    return np.frombuffer(data, np.uint8)


def _folded(norm: nn.BatchNorm2d) -> list[Tensor]:
    """BatchNorm in eval mode as x * scale + shift."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return [scale.float(), (norm.bias.double() - norm.running_mean.double() * scale).float()]


def _exact(model: nn.Module) -> list[nn.Parameter]:
    """What is stored as it is: the parameters of all layers but quantized ones and BatchNorms."""
    others = (m for m in model.modules() if not isinstance(m, QuantConv2d | nn.BatchNorm2d))
    return [parameter for module in others for parameter in module.parameters(recurse=False)]


def pack_state(model: nn.Module) -> dict[str, Tensor]:
    """The packed weights of a model, see the module's text."""
    rows, small = [], []
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, QuantConv2d):
                levels, scale = module.quantized()
                ohwi = levels.permute(0, 2, 3, 1).to(torch.int8).contiguous().numpy()
                rows.append(pack_weights(ohwi, module.quantizer.bits).ravel())
                small.append(scale)
                if module.bias is not None:
                    small.append(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                small.extend(_folded(module))
        exact = [parameter.flatten() for parameter in _exact(model)]
        return {
            "levels": _compressed(np.concatenate(rows)),
            "small": _compressed(_float24(torch.cat(small).float().numpy())),
            "exact": _compressed(torch.cat(exact).float().numpy().view(np.uint8).reshape(-1, 4).T),
        }


def unpack_state(model: nn.Module, state: dict[str, Tensor] | object) -> None:
    """Fill a model, whose tensors are uninitialised, from its packed weights and freeze its quantized layers.

    Raises:
        ModelFileError: the arrays do not have the sizes that the model needs.
    """
    if not isinstance(state, dict) or set(state) != {"levels", "small", "exact"}:
        raise ModelFileError("expected the packed arrays levels, small and exact")
    quantized = [m for m in model.modules() if isinstance(m, QuantConv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    counts = {m: packed_row_bytes(m.weight[0].numel(), m.quantizer.bits) * m.weight.shape[0] for m in quantized}
    levels = _expanded(state["levels"], sum(counts.values()), "levels")
    small_count = sum(m.weight.shape[0] * (1 + (m.bias is not None)) for m in quantized)
    small_count += 2 * sum(m.num_features for m in norms)
    small = _from_float24(_expanded(state["small"], 3 * small_count, "scales").reshape(3, -1))
    exact_count = sum(parameter.numel() for parameter in _exact(model))
    planes = _expanded(state["exact"], 4 * exact_count, "float weights").reshape(4, -1)
    exact = torch.from_numpy(np.ascontiguousarray(planes.T).view(np.float32).ravel())
    with torch.no_grad():
        for parameter, values in zip(_exact(model), exact.split([p.numel() for p in _exact(model)]), strict=True):
            parameter.copy_(values.reshape(parameter.shape))
    at_level = at_small = 0

    def take(count: int) -> Tensor:
        nonlocal at_small
        at_small += count
        return torch.from_numpy(small[at_small - count : at_small].copy())

    for module in model.modules():
        if isinstance(module, QuantConv2d):
            O, I, kh, kw = module.weight.shape
            rows = levels[at_level : at_level + counts[module]].reshape(O, -1)
            at_level += counts[module]
            ohwi = torch.from_numpy(unpack_weights(rows, module.quantizer.bits, (O, kh, kw, I)))
            module.freeze(ohwi.permute(0, 3, 1, 2).float().contiguous(), take(O))
            if module.bias is not None:
                module.bias = nn.Parameter(take(O), requires_grad=False)
        elif isinstance(module, nn.BatchNorm2d):
            _set_folded(module, take(module.num_features), take(module.num_features))


def _set_folded(norm: nn.BatchNorm2d, scale: Tensor, shift: Tensor) -> None:
    """A BatchNorm that computes x * scale + shift: zero mean, and a variance that with eps makes one exactly."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    assert norm.num_batches_tracked is not None
    norm.eps = 1e-30  # not 0, at which torch stops before a quantized layer can say why it cannot be trained
    with torch.no_grad():
        norm.weight.copy_(scale)
        norm.bias.copy_(shift)
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0)
        norm.num_batches_tracked.zero_()
