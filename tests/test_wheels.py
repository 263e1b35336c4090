"""Wheels for other machines: what is checked of them, and that those in dist/ are right and offered where they run."""

import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("elftools", reason="wheels are looked into with the extra [wheels]")
if not (Path(__file__).parents[1] / ".ci" / "wheel_check.py").is_file():
    pytest.skip("the scripts that make wheels are not beside these tests", allow_module_level=True)

from wheel_check import (
    LIBRARY,
    Library,
    Platform,
    audit,
    library_faults,
    platform_of,
    read_library,
    wheel_faults,
)

from edgelm.runtimes.native import library_path

DIST = Path(__file__).parents[1] / "dist"
ARCHS = ("x86_64", "aarch64", "armv7l")
ARM = Platform("manylinux", (2, 17), "aarch64")
GOOD = Library(
    size=200_000,
    machine="EM_AARCH64",
    page=16384,
    needed=("libm.so.6", "libpthread.so.0", "libc.so.6", "ld-linux-aarch64.so.1"),
    glibc=(2, 17),
    cpp=(),
    stripped=True,
)


def test_a_good_library_has_no_faults() -> None:
    assert library_faults(GOOD, ARM) == []
    assert library_faults(replace(GOOD, machine="EM_X86_64", page=4096), Platform("manylinux", (2, 17), "x86_64")) == []
    musl = replace(GOOD, needed=("libc.so",), glibc=(0, 0))
    assert library_faults(musl, Platform("musllinux", (1, 2), "aarch64")) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"size": 1 << 20}, "1048576 bytes"),
        ({"machine": "EM_X86_64"}, "for EM_X86_64"),
        ({"page": 4096}, "aligned to 4096"),
        ({"glibc": (2, 34)}, "needs glibc 2.34, and the tag promises 2.17"),
        ({"needed": ("libc.so.6", "libstdc++.so.6")}, r"needs libstdc\+\+"),
        ({"needed": ()}, "names no library"),
        ({"cpp": ("_ZSt9terminatev",)}, "C\\+\\+ runtime travels along: _ZSt9terminatev"),
        ({"stripped": False}, "not stripped"),
    ],
)
def test_each_fault_is_named(fault: dict[str, object], words: str) -> None:
    (sentence,) = library_faults(replace(GOOD, **fault), ARM)  # type: ignore[arg-type]
    assert re.search(words, sentence)


def test_facts_of_a_real_library() -> None:
    found = read_library(Path(library_path()).read_bytes())
    assert found.size == Path(library_path()).stat().st_size
    assert "libc.so.6" in found.needed
    assert (2, 2) < found.glibc < (3, 0)
    assert found.cpp == ()


def test_tags() -> None:
    assert platform_of("musllinux_1_2_aarch64") == Platform("musllinux", (1, 2), "aarch64")
    with pytest.raises(ValueError, match="linux_x86_64"):
        platform_of("linux_x86_64")


def wheel_of(folder: Path, tag: str, *names: str) -> Path:
    path = folder / f"edgelm-0.0.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, Path(library_path()).read_bytes())
    return path


def test_wheels_that_are_wrong_as_a_whole(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, "py3-none-manylinux_2_17_aarch64", LIBRARY)
    assert "auditwheel finds it consistent with manylinux_2_34_aarch64" in " ".join(
        wheel_faults(wheel, "manylinux_2_34_aarch64")
    )
    assert not any("auditwheel" in fault for fault in wheel_faults(wheel, "manylinux_2_17_aarch64"))
    (fault,) = wheel_faults(wheel_of(tmp_path, "cp311-cp311-manylinux_2_17_aarch64", LIBRARY), "manylinux_2_17_aarch64")
    assert "should be for py3-none" in fault
    two = wheel_of(tmp_path, "py3-none-manylinux_2_17_x86_64", LIBRARY, "edgelm.libs/libgomp.so.1")
    assert "edgelm.libs/libgomp.so.1" in wheel_faults(two, "manylinux_2_17_x86_64")[-1]


def made(arch: str) -> Path:
    """The wheel in dist/ for an architecture; skips the test where `make wheels` was not run."""
    found = list(DIST.glob(f"edgelm-*manylinux_2_17_{arch}*.whl"))
    if not found:
        pytest.skip("dist/ has no wheel for this platform: `make wheels` makes it")
    assert len(found) == 1, f"dist/ has several wheels for {arch}: {found}"
    return found[0]


@pytest.mark.parametrize("arch", ARCHS)
def test_wheels_in_dist_are_right(arch: str) -> None:
    wheel = made(arch)
    assert wheel_faults(wheel, audit(wheel)) == []


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("glibc", "offered"), [("2_34", True), ("2_17", True), ("2_16", False)])
def test_wheels_are_offered_where_glibc_is_new_enough(arch: str, glibc: str, offered: bool, tmp_path: Path) -> None:
    made(arch)
    # pip takes each --platform literally; a system with glibc 2.34 accepts the tags of all older ones, too.
    newest = int(glibc.partition("_")[2])
    platforms = [f"--platform=manylinux_2_{minor}_{arch}" for minor in range(5, newest + 1)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--no-index", "--no-deps", "--only-binary=:all:"),
            *("--implementation=cp", "--python-version=3.11", *platforms),
            *("--find-links", str(DIST), "--dest", str(tmp_path), "edgelm"),
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode == 0) == offered, done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ([made(arch).name] if offered else [])
    if not offered:
        assert "No matching distribution found for edgelm" in done.stderr
