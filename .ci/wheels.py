"""Builds edgelm's wheels for every platform from one machine, with zig as the compiler, and checks each.

The C library is the one that CMakeLists.txt describes; here stands only for whom it is built and how that is asked of
the build backend. `wheel_check.py` says what a wheel must be. A second run builds only what has changed.
"""

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import wheel_check

ROOT = Path(__file__).parents[1]
BUILD = ROOT / ".build" / "wheels"


@dataclass(frozen=True)
class Target:
    """A platform to build for. The CPU is always given: zig would take that of the building machine."""

    triple: str
    cpu: str
    processor: str  # what CMake calls it
    platforms: tuple[str, ...]  # of the wheel's tag

    @property
    def name(self) -> str:
        """The name that the command line and folders use: the first platform tag."""
        return self.platforms[0]


# NEON is not part of every ARMv7: only the files that are chosen at run time may use it, or the upper 16 registers.
GLIBC = (
    Target("x86_64-linux-gnu.2.17", "x86_64", "x86_64", ("manylinux_2_17_x86_64", "manylinux2014_x86_64")),
    Target("aarch64-linux-gnu.2.17", "generic", "aarch64", ("manylinux_2_17_aarch64", "manylinux2014_aarch64")),
    Target(
        "arm-linux-gnueabihf.2.17", "baseline-neon-d32", "armv7l", ("manylinux_2_17_armv7l", "manylinux2014_armv7l")
    ),
)
MUSL = (
    Target("x86_64-linux-musl", "x86_64", "x86_64", ("musllinux_1_2_x86_64",)),
    Target("aarch64-linux-musl", "generic", "aarch64", ("musllinux_1_2_aarch64",)),
)


class BuildError(Exception):
    """A command failed; the message holds what it wrote."""


def zig() -> Path:
    """Zig's program, from the package ziglang."""
    spec = find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        raise BuildError('wheels: the package ziglang is missing; pip install -e ".[wheels]", as `make wheels` does')
    return Path(spec.submodule_search_locations[0]) / "zig"


def compiler(target: Target) -> Path:
    """A program that compiles for the target, for CMake, which takes no arguments with a compiler's name."""
    path = BUILD / f"{target.name}.cc"
    # Without optimisation, as when CMake tries the compiler, zig sanitizes, and builds a library for that in a minute.
    options = ["-target", target.triple, f"-mcpu={target.cpu}", "-fno-sanitize=undefined"]
    command = shlex.join([str(zig()), "cc", *options])
    text = f'#!/bin/sh\nexec {command} "$@"\n'
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        shutil.rmtree(BUILD / target.name, ignore_errors=True)  # what another compiler made
    return path


def run(*command: str) -> None:
    """Runs a command, and shows what it wrote only where it fails; raises BuildError then."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise BuildError(f"{done.stdout}\nwheels: failed: {shlex.join(command)}")


def build(target: Target, output: Path) -> Path:
    """Builds the wheel of a target into a folder and returns its path."""
    settings = {
        "build-dir": str(BUILD / target.name),
        "wheel.tags": f"py3-none-{'.'.join(target.platforms)}",
        "install.strip": "false",  # the machine's own strip knows no foreign files; the linker does it
        "cmake.define.CMAKE_C_COMPILER": str(compiler(target)),
        "cmake.define.CMAKE_SYSTEM_NAME": "Linux",
        "cmake.define.CMAKE_SYSTEM_PROCESSOR": target.processor,
        "cmake.define.CMAKE_SHARED_LINKER_FLAGS": "-Wl,-s",
    }
    fresh = BUILD / f"{target.name}.wheel"
    shutil.rmtree(fresh, ignore_errors=True)
    options = [f"-C{key}={value}" for key, value in settings.items()]
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(fresh), *options, str(ROOT))
    (wheel,) = fresh.glob("*.whl")
    for old in output.glob(f"edgelm-*-{'.'.join(sorted(target.platforms))}.whl"):
        old.unlink()
    return wheel.replace(output / wheel.name)


def fingerprint(target: Target) -> str:
    """Of all that a wheel is made from: the sources, the scripts here and the compiler."""
    hashed = hashlib.sha256(f"{target} {zig()}".encode())
    paths = [Path(__file__), *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE"))]
    for folder, _, names in os.walk(ROOT / "edgelm", followlinks=True):
        paths += [Path(folder, name) for name in names if not name.endswith(".pyc")]
    for path in sorted(paths):
        hashed.update(f"{path.relative_to(ROOT)} {path.stat().st_size} ".encode() + path.read_bytes())
    return hashed.hexdigest()


def build_selftest(target: Target) -> Path:
    """Builds the library's own test beside the library that went into the wheel, and returns its path."""
    run("cmake", "--build", str(BUILD / target.name), "--target", "edgelm_selftest")
    return BUILD / target.name / "edgelm_selftest"


def make(target: Target, output: Path, selftest: bool) -> int:
    """Builds and checks the wheel of a target, says what came of it, and returns how many faults were found."""
    start = time.monotonic()
    mark = BUILD / f"{target.name}.made"
    found = list(output.glob(f"edgelm-*-{'.'.join(sorted(target.platforms))}.whl"))
    current = f"{fingerprint(target)} {selftest}"
    if len(found) == 1 and mark.is_file() and mark.read_text() == f"{current} {found[0].stat().st_mtime_ns}":
        print(f"{found[0].name}: nothing has changed", flush=True)
        return 0
    mark.unlink(missing_ok=True)
    wheel = build(target, output)
    if selftest:
        build_selftest(target)
    audited = wheel_check.audit(wheel)
    faults = wheel_check.wheel_faults(wheel, audited)
    seconds = time.monotonic() - start
    print(f"{wheel.name}: {wheel.stat().st_size} bytes, auditwheel: {audited}, {seconds:.0f} s", flush=True)
    for fault in faults:
        print(f"wheels: {wheel.name}: {fault}", file=sys.stderr)
    if not faults:
        mark.write_text(f"{current} {wheel.stat().st_mtime_ns}")
    return len(faults)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the wheels (default: dist)")
    parser.add_argument(
        "--only", action="append", metavar="PLATFORM", help="manylinux_2_17_aarch64 or such; repeatable"
    )
    parser.add_argument("--musl", action="store_true", help="the wheels for musl too (Alpine)")
    parser.add_argument("--selftest", action="store_true", help="also build edgelm_selftest for each, in .build/wheels")
    asked = parser.parse_args()
    known = {target.name: target for target in GLIBC + MUSL}
    if unknown := [name for name in asked.only or () if name not in known]:
        parser.error(f"unknown platform {', '.join(unknown)}; known are {', '.join(known)}")
    targets = [known[name] for name in asked.only] if asked.only else [*GLIBC, *(MUSL if asked.musl else ())]
    asked.output.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = [pool.submit(make, target, asked.output, asked.selftest) for target in targets]
    try:
        if sum(each.result() for each in made):
            sys.exit(1)
    except (BuildError, wheel_check.AuditError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
