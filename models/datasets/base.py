"""What every format offers, and what it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgelm.errors import UsageError
from edgelm.models.data import Sample
from edgelm.models.faults import Faults
from edgelm.spec import LandmarkScheme

__all__ = ["Format", "Request", "check_landmarks", "check_split"]


@dataclass(frozen=True)
class Request:
    """What is to be read.

    Attributes:
        path: the annotation file, or the folder of a format that has none.
        scheme: of the network.
        split: part of the data, by the format's names; None for all of it.
        images: folder of the images where they do not lie where the format expects them.
        faults: takes samples that cannot be used.
    """

    path: Path
    scheme: LandmarkScheme
    split: str | None
    images: Path | None
    faults: Faults


@dataclass(frozen=True)
class Format:
    """One form of annotation.

    Attributes:
        name: of the format.
        claims: whether a path holds it, judged by what the file holds; never raises for a file of another kind.
        load: all samples of a request, in the file's order.
        splits: names of parts that it can tell apart.
    """

    name: str
    claims: Callable[[Path], bool]
    load: Callable[[Request], list[Sample]]
    splits: tuple[str, ...] = ()


def check_landmarks(path: Path, found: int, scheme: LandmarkScheme, name: str | None = None) -> None:
    """Refuse data of another scheme than the network's.

    Raises:
        UsageError: another number of landmarks, or `name`, the scheme of the data, is another.
    """
    K = len(scheme.names)
    if found != K or (name is not None and name != scheme.name):
        told = f" ({name})" if name is not None else ""
        raise UsageError(
            f"{path} has {found} landmarks{told}, the network {K} ({scheme.name}); take a network of that scheme"
        )


def check_split(request: Request, splits: tuple[str, ...]) -> None:
    """Refuse a split that a format does not know.

    Raises:
        UsageError: naming those that it knows.
    """
    if request.split is not None and request.split not in splits:
        known = f"known are {', '.join(splits)}" if splits else "it has none; leave --split out"
        raise UsageError(f"{request.path} has no split {request.split!r}; {known}")
