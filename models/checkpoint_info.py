"""What is in a checkpoint: its network, layers, bits and sizes, as `edgelm.file_info` tells it of exported files."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn

from edgelm.bits import packed_row_bytes
from edgelm.file_info import FileInfo, LayerInfo
from edgelm.models.checkpoint import Checkpoint, load_checkpoint
from edgelm.models.count import conv_weights, macs
from edgelm.models.quant_conv import QuantConv2d

__all__ = ["read_checkpoint_info"]


def read_checkpoint_info(path: Path) -> FileInfo:
    """Look into a checkpoint.

    Raises:
        ModelFileError: as `edgelm.models.checkpoint.load_checkpoint`.
    """
    it = load_checkpoint(path)
    layers = tuple(_layers(it))
    return FileInfo(
        "checkpoint", path.stat().st_size, it.spec, (), {}, layers, sum(one.bytes for one in layers), _facts(it)
    )


def _facts(it: Checkpoint) -> dict[str, str]:
    size = it.spec.input.height, it.spec.input.width
    config = ", ".join(f"{name}={value}" for name, value in vars(it.entry.config).items())
    stored = "levels as bits, not trainable" if it.packed else "float master weights, trainable"
    parameters = sum(one.numel() for one in it.model.parameters())
    return {
        "family": f"{it.entry.family.name}: {config}",
        "paper": it.entry.family.paper,
        "parameters": f"{parameters:,}, {conv_weights(it.model):,} of them in convolutions",
        "work": f"{macs(it.model, size) / 1e9:.3f} GMAC for an input of {size[1]}x{size[0]} px",
        "stored": stored,
        **it.notes,
    }


def _layers(it: Checkpoint) -> Iterator[LayerInfo]:
    for name, module in it.model.named_modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.dim() < 2:
            continue
        count, O, I = weight.numel(), weight.shape[0], weight.shape[1]
        bits, activations, size = 32, 0, 4 * count
        if isinstance(module, QuantConv2d):
            activations = module.scheme.act_bits
            if it.packed:
                bits = module.quantizer.bits
                size = O * packed_row_bytes(count // O, bits)
        if isinstance(module, nn.ConvTranspose2d):
            O, I = I, O
        kernel = "x".join(map(str, weight.shape[2:]))
        yield LayerInfo(name, type(module).__name__, kernel, I, O, bits, activations, count, size)
