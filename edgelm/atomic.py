"""Files that appear whole or not at all: written beside their final place and renamed onto it.

Every file that edgelm writes for a user goes through here, so that neither an error nor Ctrl-C nor a full disk leaves
half a model behind, or destroys the older one.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from edgelm.errors import EdgelmError, UsageError

__all__ = ["atomic_path", "check_output", "kept_text", "write_atomic"]


def check_output(path: str | os.PathLike[str]) -> Path:
    """Refuse an output path that cannot be written, before any work is done for it.

    Raises:
        UsageError: its folder does not exist or is a file, it is a folder itself, or the folder is read-only.
    """
    path = Path(os.path.realpath(path))  # a link is written through, not replaced
    if not path.parent.is_dir():
        problem = "is not a folder" if path.parent.exists() else "does not exist; create it first"
        raise UsageError(f"cannot write {path}: {path.parent} {problem}")
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder, name a file in it")
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot write {path}: it is a device or a pipe, not a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {path}: no permission to write in {path.parent}")
    return path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path with the same suffix in the same folder; rename it onto `path` when the block succeeds.

    Raises:
        UsageError: see `check_output`.
        EdgelmError: the disk is full, or the system refuses for another reason.
    """
    path = check_output(path)
    # The suffix is kept: several writers choose their format by it. Dot files stay out of people's globs. Not mkstemp:
    # the file would keep its private mode.
    temporary = path.with_name(f".edgelm-{secrets.token_hex(8)}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise EdgelmError(f"cannot write {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, whole or not at all; errors as in `atomic_path`."""
    with atomic_path(path) as temporary, temporary.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def kept_text(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """A text file that comes bit by bit, such as a video's points: however the block ends, what was written is kept.

    It is in its place after the block; where nothing was written there is none, and an older one stays.

    Raises:
        UsageError, EdgelmError: see `atomic_path`.
    """
    failed: BaseException | None = None
    nothing = False
    with atomic_path(path) as temporary:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            try:
                yield file
            except BaseException as error:
                failed = error
            nothing = file.tell() == 0
            file.flush()
            os.fsync(file.fileno())
        if nothing and failed is not None:
            raise failed
    if failed is not None:
        raise failed
