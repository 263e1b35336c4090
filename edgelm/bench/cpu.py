"""The processor's name and board, and whether it is a real one. How it is set right now is left to `device`."""

import os
import platform
import re
from collections import Counter
from pathlib import Path

__all__ = ["ROOT", "board", "cpu_model", "emulator", "text"]

ROOT = Path("/")

_IMPLEMENTERS = {0x41: "ARM", 0x42: "Broadcom", 0x48: "HiSilicon", 0x51: "Qualcomm", 0x53: "Samsung", 0x61: "Apple"}
_PARTS = {
    0xB76: "ARM1176",
    0xC05: "Cortex-A5",
    0xC07: "Cortex-A7",
    0xC08: "Cortex-A8",
    0xC09: "Cortex-A9",
    0xC0D: "Cortex-A17",
    0xC0E: "Cortex-A17",
    0xC0F: "Cortex-A15",
    0xD01: "Cortex-A32",
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD0E: "Cortex-A76AE",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD49: "Neoverse-N2",
    0xD4B: "Cortex-A78C",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
    0xD82: "Cortex-X4",
}
"""Parts of implementer 0x41."""
_EMULATORS = re.compile(r"qemu-|box64|box86|FEX|rosetta", re.IGNORECASE)


def cpu_model() -> str:
    """The CPU's name, for example "4x Cortex-A72"; ARM kernels tell numbers, which become names here."""
    info = text("proc/cpuinfo")
    if _foreign(info):
        return platform.machine()
    pairs = re.findall(r"^CPU implementer\s*:\s*(0x\w+)\n(?:.+\n)*?CPU part\s*:\s*(0x\w+)$", info, re.MULTILINE)
    cores = Counter(_part(int(implementer, 16), int(part, 16)) for implementer, part in pairs)
    if cores:
        return ", ".join(name if count == 1 else f"{count}x {name}" for name, count in cores.items())
    named = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return named.group(1).strip() if named else platform.processor() or platform.machine()


def _part(implementer: int, part: int) -> str:
    known = _PARTS.get(part) if implementer == 0x41 else None
    return known or f"{_IMPLEMENTERS.get(implementer, f'implementer {implementer:#x}')} part {part:#x}"


def _foreign(info: str) -> bool:
    """Whether /proc/cpuinfo is of another kind of machine: that of the host, which some emulators let through."""
    arm = platform.machine().lower().startswith(("arm", "aarch64"))
    return ("vendor_id" if arm else "CPU implementer") in info


def board() -> str | None:
    """For example "Raspberry Pi 4 Model B Rev 1.4"; None where the kernel has no device tree."""
    return text("proc/device-tree/model").strip("\0\n ") or None


def emulator() -> str | None:
    """The program that emulates this CPU, for example "qemu-aarch64"; None on a real one.

    It is looked for where emulators do not reach: they put the guest in place of themselves at /proc/self/exe, but not
    in the name of the process or at /proc/thread-self/exe. Whole machines in an emulator are not noticed.
    """
    name = text("proc/self/comm").strip()
    if _EMULATORS.match(name):
        return name
    own, real = _link("proc/self/exe"), _link("proc/thread-self/exe")
    if real and _EMULATORS.match(Path(real).name):
        return Path(real).name
    info = text("proc/cpuinfo")
    if "VirtualApple" in info:
        return "rosetta"
    if "QEMU TCG" in info:
        return "qemu"
    return "an emulator" if _foreign(info) or (own and real and own != real) else None


def text(path: str) -> str:
    """What a file below the root holds, "" where it cannot be read."""
    try:
        return (ROOT / path).read_text(errors="replace")
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(ROOT / path)
    except OSError:
        return ""
