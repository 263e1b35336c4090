"""The known formats by name, and which of them a path holds."""

from pathlib import Path

from edgelm.errors import UsageError
from edgelm.models.data import Sample
from edgelm.models.datasets.base import Format, Request, check_split
from edgelm.models.faults import Faults
from edgelm.spec import LandmarkScheme

__all__ = ["Format", "format_names", "get_format", "open_data", "register_format"]

_FORMATS: dict[str, Format] = {}
_SUFFIXES = (".json", ".mat", ".txt")
_MAX_ANNOTATIONS = 64


def register_format(made: Format) -> Format:
    """Make a format known under its name.

    Raises:
        UsageError: the name is taken.
    """
    if made.name in _FORMATS:
        raise UsageError(f"format {made.name!r} exists already; choose another name")
    _FORMATS[made.name] = made
    return made


def get_format(name: str) -> Format:
    """The format called `name`, for example "pts".

    Raises:
        UsageError: no format has that name.
    """
    if name not in _FORMATS:
        raise UsageError(f"unknown format {name!r}; known are {', '.join(_FORMATS)}")
    return _FORMATS[name]


def format_names() -> tuple[str, ...]:
    """The names of all known formats."""
    return tuple(_FORMATS)


def open_data(
    path: Path,
    scheme: LandmarkScheme,
    format: str | None = None,
    *,
    split: str | None = None,
    images: Path | None = None,
    faults: Faults | None = None,
) -> tuple[Format, list[Sample]]:
    """Read the annotation of a data set.

    Args:
        path: an annotation file, or a folder: of .pts files, or with one annotation file in it.
        scheme: of the network that is to be measured.
        format: by name; by default what the file holds.
        split: part of the data, by the format's names.
        images: folder of the images where they do not lie where the format expects them.
        faults: takes samples that cannot be used; by default the first one is fatal.

    Returns:
        the format and the samples, at least one.

    Raises:
        UsageError: no known format, or several; another scheme; an unknown split; no sample.
    """
    if not path.exists():
        raise UsageError(f"there is no {path}; expected an annotation file or a folder")
    if images is not None and not images.is_dir():
        raise UsageError(f"{images} is not a folder; expected the one with the images")
    known = list(_FORMATS.values()) if format is None else [get_format(format)]
    matches = [(f, p) for p in _candidates(path) for f in known if f.claims(p)]
    if not matches:
        named = ", ".join(_FORMATS) if format is None else f"it was to be {format}"
        raise UsageError(f"{path} holds no annotation of a known format; known are {named}")
    if len(matches) > 1:
        held = ", ".join(f"{p.name} ({f.name})" for f, p in matches)
        raise UsageError(f"{path} holds several annotations: {held}; name one file, or a format")
    chosen, place = matches[0]
    request = Request(place, scheme, split, images, faults or Faults())
    check_split(request, chosen.splits)
    samples = chosen.load(request)
    if not samples:
        part = "" if split is None else f" in its split {split}"
        raise UsageError(f"{place} holds no sample that can be used{part}")
    return chosen, samples


def _candidates(path: Path) -> list[Path]:
    """The path itself, or, of a folder, also the annotation files that lie in it."""
    if not path.is_dir():
        return [path]
    inside = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES and p.is_file())
    return [path, *inside[:_MAX_ANNOTATIONS]]
