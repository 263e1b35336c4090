"""`--detector`: who looks for faces where no boxes are given."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgelm.runtimes.detections import Detector

__all__ = ["DetectorName", "open_detector"]

DetectorName = Annotated[
    str, typer.Option("--detector", help="Who looks for faces: haar, or the path of YuNet's .onnx file.")
]


def open_detector(name: str) -> "tuple[Detector, str]":
    """The detector, and what it is called in a sentence.

    Raises:
        ModelFileError: the file is missing or not YuNet's.
        EngineMissingError: this OpenCV cannot run it.
    """
    if name == "haar":
        from edgelm.runtimes.detect import find_faces

        return find_faces, "OpenCV's frontal face cascade"
    from edgelm.runtimes.yunet import YuNet

    return YuNet(name), "YuNet"
