"""What a wheel must be to be handed out: sizes, tags, oldest glibc, page alignment, and what its library needs.

Reads files of any platform and runs none of them. `wheels.py` builds them.
"""

import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

MAX_BYTES = 1_000_000  # of a wheel, and of the library in it
PAGE = 16384  # of the Raspberry Pi 5's kernel and of Android 15
GLIBC = (2, 17)
NEEDED = re.compile(r"libc\.so.*|libm\.so.*|libpthread\.so.*|ld-[\w-]+\.so.*")
CPP = re.compile(r"_Z|__gxx_|__cxa_(?!finalize$|atexit$)")
LIBRARY = "edgelm/runtimes/native/libedgelm.so"
_MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64", "armv7l": "EM_ARM"}
_TAG = re.compile(r"(?P<policy>manylinux|musllinux)_(?P<major>\d+)_(?P<minor>\d+)_(?P<arch>\w+)")


class AuditError(Exception):
    """auditwheel knows no platform for a wheel."""


@dataclass(frozen=True)
class Platform:
    """What a platform tag says: the C library, its oldest version and the architecture."""

    policy: str
    version: tuple[int, int]
    arch: str

    def __str__(self) -> str:
        return "_".join((self.policy, *map(str, self.version), self.arch))


def platform_of(tag: str) -> Platform:
    """The platform of a tag such as manylinux_2_17_aarch64; ValueError for any other."""
    if not (found := _TAG.fullmatch(tag)):
        raise ValueError(f"expected a tag such as manylinux_2_17_aarch64, got {tag!r}")
    return Platform(found["policy"], (int(found["major"]), int(found["minor"])), found["arch"])


@dataclass(frozen=True)
class Library:
    """What the checks ask of a shared library."""

    size: int  # bytes
    machine: str
    page: int  # bytes, the least alignment of a loaded segment
    needed: tuple[str, ...]
    glibc: tuple[int, int]  # the newest version that a symbol asks for; (0, 0) where none does
    cpp: tuple[str, ...]  # symbols of a C++ runtime
    stripped: bool


def read_library(content: bytes) -> Library:
    """The facts about an ELF file."""
    elf = ELFFile(BytesIO(content))
    needed: list[str] = []
    names: list[str] = []
    versions = [(0, 0)]
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            needed = [vars(tag)["needed"] for tag in section.iter_tags("DT_NEEDED")]
        elif isinstance(section, SymbolTableSection):
            names += [symbol.name for symbol in section.iter_symbols()]
        elif isinstance(section, GNUVerNeedSection):
            for _, wanted in section.iter_versions():
                versions += [_glibc(version.name) for version in wanted]
    return Library(
        size=len(content),
        machine=elf["e_machine"],
        page=min(segment["p_align"] for segment in elf.iter_segments("PT_LOAD")),
        needed=tuple(needed),
        glibc=max(versions),
        cpp=tuple(sorted({name for name in names if CPP.match(name)})),
        stripped=elf.get_section_by_name(".symtab") is None,
    )


def _glibc(name: str) -> tuple[int, int]:
    found = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(\.\d+)?", name)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def library_faults(library: Library, platform: Platform) -> list[str]:
    """What is wrong with a library for a platform, a sentence each; empty if nothing is."""
    faults = []
    if library.machine != _MACHINES[platform.arch]:
        faults.append(f"the library is for {library.machine}, and the wheel for {platform.arch}")
    if library.size >= MAX_BYTES:
        faults.append(f"the library has {library.size} bytes, and {MAX_BYTES} are the limit")
    if platform.arch != "x86_64" and library.page < PAGE:
        faults.append(f"segments are aligned to {library.page} bytes: a kernel with pages of {PAGE} cannot load them")
    if platform.policy == "manylinux" and library.glibc > min(GLIBC, platform.version):
        wanted, limit = (".".join(map(str, v)) for v in (library.glibc, min(GLIBC, platform.version)))
        faults.append(f"a symbol needs glibc {wanted}, and the tag promises {limit}")
    if strangers := [name for name in library.needed if not NEEDED.fullmatch(name)]:
        faults.append(f"the library needs {', '.join(strangers)}, and should need libc, libm and libpthread alone")
    if not library.needed:
        faults.append("the library names no library that it needs, not even libc: it was linked in another way")
    if library.cpp:
        faults.append(f"a C++ runtime travels along: {', '.join(library.cpp[:3])}")
    if not library.stripped:
        faults.append("the library is not stripped: link it with -Wl,-s")
    return faults


def wheel_faults(wheel: Path, audited: str) -> list[str]:
    """What is wrong with a wheel, a sentence each; `audited` is the tag that auditwheel finds it consistent with."""
    tags = wheel.stem.split("-")
    if tags[-3:-1] != ["py3", "none"]:
        return [f"the wheel is for {'-'.join(tags[-3:-1])}, and should be for py3-none: every Python, one C library"]
    platform = platform_of(tags[-1].split(".")[0])
    faults = []
    found = platform_of(audited)
    if (found.policy, found.arch) != (platform.policy, platform.arch) or found.version > platform.version:
        faults.append(f"auditwheel finds it consistent with {audited} only, and its tag says {platform}")
    if (size := wheel.stat().st_size) >= MAX_BYTES:
        faults.append(f"the wheel has {size} bytes, and {MAX_BYTES} are the limit")
    with zipfile.ZipFile(wheel) as archive:
        libraries = [name for name in archive.namelist() if ".so" in Path(name).name]
        if libraries != [LIBRARY]:
            return [*faults, f"the wheel holds the libraries {libraries}, and should hold {LIBRARY} alone"]
        library = read_library(archive.read(LIBRARY))
    return faults + library_faults(library, platform)


def audit(wheel: Path) -> str:
    """The platform tag that auditwheel finds a wheel consistent with; AuditError where it finds none."""
    done = subprocess.run([sys.executable, "-m", "auditwheel", "show", str(wheel)], capture_output=True, text=True)
    text = " ".join((done.stdout + done.stderr).split())
    if done.returncode or not (found := re.search(r'consistent with the following platform tag: "(\w+)"', text)):
        raise AuditError(f"auditwheel gives no platform tag for {wheel.name}: {text}")
    return found[1]
