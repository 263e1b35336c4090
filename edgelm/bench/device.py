"""What the machine is and how it is set right now: the half of a timing that figures alone do not tell.

Nothing here names the machine's owner: no host name, no user, no path, no serial number.
"""

import os
import platform
import struct
import subprocess
import time
from typing import Any

from edgelm.bench import cpu
from edgelm.bench.cpu import cpu_model, emulator
from edgelm.errors import EdgelmError

__all__ = [
    "calmest_cpu",
    "cpu_model",
    "device_info",
    "emulator",
    "governor",
    "libc",
    "native_info",
    "setting",
    "system_name",
    "userland_bits",
]

_CPUFREQ = "sys/devices/system/cpu/cpu{}/cpufreq/"
_THROTTLED = {
    0: "undervoltage now",
    1: "clock capped now",
    2: "throttled now",
    3: "soft temperature limit now",
    16: "undervoltage since boot",
    17: "clock capped since boot",
    18: "throttled since boot",
    19: "soft temperature limit since boot",
}
"""Bits of what a Raspberry Pi's firmware tells."""


def device_info() -> dict[str, Any]:
    """The machine and what computes on it, as JSON-ready fields; None where the system does not tell."""
    from edgelm.runtimes.engines import engines

    emulated_by = emulator()
    return {
        "cpu": cpu_model(),
        "board": cpu.board(),
        "emulated": emulated_by is not None,
        "emulator": emulated_by,
        "arch": platform.machine(),
        "userland_bits": userland_bits(),
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "distribution": system_name(),
        "libc": libc(),
        "python": platform.python_version(),
        **setting(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "engines": {engine.name: engine.version() for engine in engines()},
        "native": native_info(),
    }


def native_info() -> dict[str, Any]:
    """The native library: {"version", "isa": {kind: the instruction set taken}, "slow": sentence or None}.

    Where it cannot be loaded all three are None.
    """
    from edgelm.runtimes.native import chosen_kernels, library_version, slow_kernels

    try:
        return {"version": library_version(), "isa": chosen_kernels(), "slow": slow_kernels()}
    except EdgelmError:
        return {"version": None, "isa": None, "slow": None}


def setting(index: int = 0) -> dict[str, Any]:
    """What may change while a benchmark runs: governor and clock of one CPU, temperature, throttling."""
    return {
        "governor": governor(index),
        "clock_mhz": _mhz(index, "scaling_cur_freq"),
        "clock_max_mhz": _mhz(index, "cpuinfo_max_freq"),
        "temperature_c": _temperature(),
        "throttled": _throttled(),
    }


def userland_bits() -> int:
    """32 or 64: of this Python. A 64-bit kernel may carry a 32-bit system, so the machine's name does not tell."""
    return 8 * struct.calcsize("P")


def system_name() -> str | None:
    """For example "Debian GNU/Linux 12 (bookworm)"."""
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def libc() -> str:
    """For example "glibc 2.36"; "musl or unknown" where Python cannot tell."""
    return " ".join(platform.libc_ver()).strip() or "musl or unknown"


def governor(index: int = 0) -> str | None:
    """The frequency governor of one CPU, or None where the system shows none (virtual machines do not)."""
    return cpu.text(_CPUFREQ.format(index) + "scaling_governor").strip() or None


def calmest_cpu(sample_s: float = 0.1) -> int:
    """The CPU to pin a single-threaded measurement to: of the fastest kind (big.LITTLE), the least busy one now."""
    allowed = os.sched_getaffinity(0)
    before = _busy()
    time.sleep(sample_s)
    after = _busy()

    def merit(index: int) -> tuple[int, int, int]:
        return _mhz(index, "cpuinfo_max_freq") or 0, before.get(index, 0) - after.get(index, 0), index

    return max(allowed, key=merit)


def _busy() -> dict[int, int]:
    """Clock ticks that each CPU has worked so far: all columns but idle and iowait."""
    busy = {}
    for line in cpu.text("proc/stat").splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            busy[int(name[3:])] = sum(int(t) for i, t in enumerate(ticks[:8]) if i not in (3, 4))
    return busy


def _mhz(index: int, name: str) -> int | None:
    khz = cpu.text(_CPUFREQ.format(index) + name).strip()
    return int(khz) // 1000 if khz.isdigit() else None


def _temperature() -> float | None:
    """Degrees of the hottest sensor that names the processor, or of the hottest one."""
    degrees: dict[bool, list[float]] = {True: [], False: []}
    for zone in (cpu.ROOT / "sys/class/thermal").glob("thermal_zone*"):
        value = cpu.text(f"sys/class/thermal/{zone.name}/temp").strip()
        kind = cpu.text(f"sys/class/thermal/{zone.name}/type").strip()
        if value.lstrip("-").isdigit():
            degrees[any(word in kind for word in ("cpu", "soc", "pkg"))].append(int(value) / 1000)
    return max(degrees[True] or degrees[False], default=None)


def _throttled() -> list[str] | None:
    """What a Raspberry Pi's firmware has to complain about; None on other boards."""
    try:
        told = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=2, check=True)
        bits = int(told.stdout.strip().removeprefix("throttled="), 16)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return [words for bit, words in _THROTTLED.items() if bits >> bit & 1]
