"""What is wrong with single samples of a data set: the first is fatal, or all are counted and left out.

Faults of a whole file, such as one of another format, are always fatal and raised where they are found.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from edgelm.errors import UsageError

__all__ = ["Bad", "Fault", "Faults"]

Bad = Literal["fail", "skip"]


@dataclass(frozen=True)
class Fault:
    """A sample that cannot be used: the file that it is in, and why."""

    path: Path
    why: str

    def __str__(self) -> str:
        """A line that names the file once."""
        return self.why if str(self.path) in self.why else f"{self.path}: {self.why}"


@dataclass
class Faults:
    """Collects the faults of one data set.

    Attributes:
        bad: "fail" raises at the first, "skip" leaves those samples out.
        found: those left out, in the order they were found.
    """

    bad: Bad = "fail"
    found: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.bad not in get_args(Bad):
            raise UsageError(f"expected bad to be one of {', '.join(get_args(Bad))}, got {self.bad!r}")

    def add(self, path: Path, why: str) -> None:
        """Note a fault.

        Raises:
            UsageError: they are fatal.
        """
        if self.bad == "fail":
            raise UsageError(f"{path}: {why}; mend it, or leave such samples out with --bad skip")
        self.found.append(Fault(path, why))

    @contextmanager
    def guard(self, path: Path) -> Iterator[None]:
        """Within the block a `UsageError` is a fault of the sample in `path`."""
        try:
            yield
        except UsageError as error:
            if self.bad == "fail":
                raise
            self.add(path, str(error))
