"""Makes the room in which edgelm is tested on emulated Raspberry Pis, and brings it up to date: `make arm`.

A room is a folder (.arm) with pi3, pi4, pi5 (64 bit) and pi32 (32 bit), each with a program `python` that runs Python
there with edgelm's wheel and the engines installed, and `python-tflite-runtime` with that engine instead of its
successor. What is there and current stays. Nothing of the machine changes, except that qemu-user is installed by a root
who lacks it.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from boards import BOARDS, lay_out

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"
PYTHON = "3.11"  # of that suite
PACKAGES = {
    "arm64": ("python3", "libstdc++6", "libgomp1"),
    "armhf": ("python3", "python3-numpy", "python3-opencv", "opencv-data", "libstdc++6", "libgomp1", "libatomic1"),
}
TESTS = ("pytest>=9", "hypothesis", "typer", "rich")
ENGINES = ("onnxruntime>=1.17,!=1.21.0", "ai-edge-litert>=1.4", "numpy", "opencv-python-headless>=4.5,<5")
# The last release of tflite-runtime was built for NumPy 1, and the last OpenCV for that is 4.11.
OLD_ENGINE = ("tflite-runtime==2.14.0", "numpy<2", "opencv-python-headless>=4.5,<4.12")
SITES = {
    "site64": ("aarch64", (*ENGINES, *TESTS)),
    "site64-tflite-runtime": ("aarch64", (*OLD_ENGINE, *TESTS)),
    "site32": ("armv7l", TESTS),
    "site32-tflite-runtime": ("armv7l", ("tflite-runtime==2.14.0",)),  # NumPy and OpenCV are Debian's
}
GLIBCS = (17, 27, 28, 34)  # 2.x, up to the suite's: those that wheels are named after


class MakeError(Exception):
    """The room cannot be made; the message says what to do."""


def run(*command: str | Path) -> None:
    """Runs a command, and shows what it wrote only where it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise MakeError(f"{done.stdout}\nmake arm: failed: {' '.join(map(str, command))}")


def once(path: Path, recipe: str, what: str, make: Callable[[], None]) -> None:
    """Makes a folder unless it was made by this recipe; a mark beside it is written when it is complete."""
    mark = path.with_name(f"{path.name}.made")
    if path.is_dir() and mark.is_file() and mark.read_text() == recipe:
        return
    start = time.monotonic()
    print(f"make arm: {what} ...", end=" ", flush=True)
    mark.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    make()
    mark.write_text(recipe)
    print(f"{time.monotonic() - start:.0f} s", flush=True)


def need_qemu() -> None:
    """Installs qemu-user where it is missing and this is root; MakeError where it stays missing."""
    if all(map(shutil.which, ("qemu-aarch64", "qemu-arm", "qemu-x86_64"))):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("make arm: installing qemu-user", flush=True)
        run("apt-get", "-qq", "update")
        run("apt-get", "-qq", "-y", "--no-install-recommends", "install", "qemu-user")
    else:
        raise MakeError("make arm: qemu-aarch64 is missing; on Debian and Ubuntu: sudo apt install qemu-user")


def pip(target: Path, arch: str, *arguments: str) -> None:
    """Installs packages for the emulated Python into a folder, without running it."""
    names = [f"manylinux2014_{arch}", *(f"manylinux_2_{minor}_{arch}" for minor in GLIBCS)]
    platforms = [f"--platform={name}" for name in names]
    kind = ("--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", target, *kind, *platforms, *arguments)


def need_site(room: Path, name: str) -> None:
    """The folder of packages of that name."""
    arch, packages = SITES[name]
    options = ["--no-deps"] if packages == SITES["site32-tflite-runtime"][1] else []
    once(room / name, repr(SITES[name]), f"packages for {arch}: {', '.join(packages)}",
         lambda: pip(room / name, arch, *options, *packages))  # fmt: skip


def need_edgelm(room: Path, bits: int, arch: str, dist: Path) -> None:
    """Our own wheel, from `make wheels`, as pip installs it."""
    wheels = list(dist.glob(f"edgelm-*manylinux_2_17_{arch}*.whl"))
    if len(wheels) != 1:
        raise MakeError(f"make arm: {dist} has {len(wheels)} wheels for {arch}, and one is needed; run make wheels")
    folder = room / f"edgelm{bits}"
    once(folder, hashlib.sha256(wheels[0].read_bytes()).hexdigest(), wheels[0].name,
         lambda: pip(folder, arch, "--no-deps", "--no-index", str(wheels[0])))  # fmt: skip


def make(room: Path, dist: Path) -> None:
    """Makes the room or brings it up to date."""
    need_qemu()
    room.mkdir(parents=True, exist_ok=True)
    for arch, packages in PACKAGES.items():
        once(room / arch, repr((SUITE, packages)), f"Debian {SUITE} for {arch}: {', '.join(packages)}",
             lambda arch=arch, packages=packages: run(  # type: ignore[misc]
                 Path(__file__).with_name("root.sh"), arch, SUITE, room / arch, *packages))  # fmt: skip
    for name in SITES:
        need_site(room, name)
    need_edgelm(room, 64, "aarch64", dist)
    need_edgelm(room, 32, "armv7l", dist)
    for board in BOARDS:
        ours, site = f"edgelm{board.bits}", f"site{board.bits}"
        old = (f"{site}-tflite-runtime", site) if board.bits == 32 else (f"{site}-tflite-runtime",)
        pythons = {"python-tflite-runtime": (ours, *old), "python": (ours, *(old if board.bits == 32 else (site,)))}
        lay_out(board, room, pythons)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("room", type=Path, nargs="?", default=ROOT / ".arm", help="folder of the room (default: .arm)")
    parser.add_argument(
        "--wheels", type=Path, default=ROOT / "dist", help="folder with edgelm's wheels (default: dist)"
    )
    asked = parser.parse_args()
    try:
        make(asked.room.resolve(), asked.wheels.resolve())
    except MakeError as error:
        sys.exit(str(error))
    print(f"make arm: {', '.join(f'{asked.room}/{board.name}/python' for board in BOARDS)} are ready")


if __name__ == "__main__":
    main()
