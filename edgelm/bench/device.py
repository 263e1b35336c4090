"""What the machine is and how it is set right now: the half of a timing that figures alone do not tell."""

import os
import platform
import time
from pathlib import Path
from typing import Any

__all__ = ["calmest_cpu", "cpu_model", "device_info", "governor", "libc"]

_CPUS = Path("/sys/devices/system/cpu")


def device_info() -> dict[str, Any]:
    """The machine as JSON-ready fields; None where the system does not tell."""
    return {
        "cpu": cpu_model(),
        "arch": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "libc": libc(),
        "python": platform.python_version(),
        "governor": governor(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def cpu_model() -> str:
    """The CPU's name, for example "Cortex-A72"-like part numbers where a kernel gives no name."""
    fields: dict[str, str] = {}
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    board = _text(Path("/proc/device-tree/model")).rstrip("\0\n")
    part = f"ARM implementer {fields['CPU implementer']} part {fields['CPU part']}" if "CPU part" in fields else ""
    name = fields.get("model name") or part or platform.processor() or platform.machine()
    return f"{name} ({board})" if board else name


def libc() -> str:
    """For example "glibc 2.36"; "musl or unknown" where Python cannot tell."""
    return " ".join(platform.libc_ver()).strip() or "musl or unknown"


def governor(cpu: int = 0) -> str | None:
    """The frequency governor of one CPU, or None where the system shows none (virtual machines do not)."""
    return _text(_CPUS / f"cpu{cpu}/cpufreq/scaling_governor").strip() or None


def calmest_cpu(sample_s: float = 0.1) -> int:
    """The CPU to pin a single-threaded measurement to: of the fastest kind (big.LITTLE), the least busy one now."""
    allowed = os.sched_getaffinity(0)
    before = _busy()
    time.sleep(sample_s)
    after = _busy()

    def merit(cpu: int) -> tuple[int, int, int]:
        fastest = int(_text(_CPUS / f"cpu{cpu}/cpufreq/cpuinfo_max_freq").strip() or 0)
        return fastest, before.get(cpu, 0) - after.get(cpu, 0), cpu

    return max(allowed, key=merit)


def _busy() -> dict[int, int]:
    """Clock ticks that each CPU has worked so far: all columns but idle and iowait."""
    busy = {}
    for line in _text(Path("/proc/stat")).splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            busy[int(name[3:])] = sum(int(t) for i, t in enumerate(ticks[:8]) if i not in (3, 4))
    return busy


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
