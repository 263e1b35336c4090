"""Files appear whole or not at all."""

import os
from pathlib import Path

import pytest

from edgelm.atomic import atomic_path, kept_text, write_atomic
from edgelm.errors import UsageError


def test_writes_with_an_ordinary_mode(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.bin", b"new")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            assert temporary.suffix == ".png"
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert target.read_bytes() == b"old"


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_refuses_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"")
    for path, words in [
        (tmp_path, "it is a folder"),
        (tmp_path / "none" / "a", "does not exist; create it"),
        (tmp_path / "file" / "a", "is not a folder"),
        (tmp_path / "pipe", "a device or a pipe"),
        (Path(os.devnull), "a device or a pipe"),
    ]:
        with pytest.raises(UsageError, match=words):
            write_atomic(path, b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_refuses_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="no permission"):
        write_atomic(tmp_path / "a", b"x")


def test_text_is_kept_however_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted(text: str) -> None:
        with kept_text(path) as file:
            file.write(text)
            raise KeyError

    for text, left in (("", "old"), ("one\n", "one\n")):
        with pytest.raises(KeyError):
            interrupted(text)
        assert path.read_text() == left
    with kept_text(path) as file:
        file.write("two\n")
    assert path.read_text() == "two\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
