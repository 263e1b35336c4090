"""Annotated data sets in the forms they are published in: one module per format, found by what a file holds.

`open_data` is the way in; how a single format is laid out is said in its module. What a box is follows each set's
protocol and is said there too.
"""

from edgelm.models.datasets import aflw, coco, cofw, lsp, mpii, pts, wflw
from edgelm.models.datasets.base import Request
from edgelm.models.datasets.formats import Format, format_names, get_format, open_data, register_format

__all__ = ["Format", "Request", "format_names", "get_format", "open_data", "register_format"]

for _format in (pts.PTS, wflw.WFLW, cofw.COFW, aflw.AFLW, mpii.MPII_MAT, mpii.MPII_JSON, lsp.LSP, coco.COCO):
    register_format(_format)
