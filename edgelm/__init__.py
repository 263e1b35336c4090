"""edgelm: landmark networks trained in PyTorch with 1-bit weights, as one small fast file on a phone, a Pi or a PC.

    runtime = edgelm.Runtime("face.tflite", threads=1)
    xy, score = runtime(image_bgr, boxes)

This package loads neither torch, onnx nor typer; `edgelm.models` and `edgelm.export` do, when imported.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgelm.landmarks import Landmarks
    from edgelm.runtimes.runtime import Runtime

__all__ = ["Landmarks", "Runtime", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load the public classes on first use: `import edgelm` alone costs next to nothing."""
    if name == "Runtime":
        from edgelm.runtimes.runtime import Runtime

        return Runtime
    if name == "Landmarks":
        from edgelm.landmarks import Landmarks

        return Landmarks
    raise AttributeError(f"module 'edgelm' has no attribute {name!r}; it has {', '.join(__all__)}")
