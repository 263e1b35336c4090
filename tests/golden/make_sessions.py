"""Writes the .onnx files of this folder anew, so that tests without the onnx package have some: run it from tests/."""

from pathlib import Path

from onnx_cases import session_file

if __name__ == "__main__":
    folder = Path(__file__).parent
    (folder / "two-points.onnx").write_bytes(session_file())
    (folder / "two-points-portable.onnx").write_bytes(session_file(portable=True))
