"""Resident memory of this process as the Linux kernel counts it; all values in bytes, None where it does not tell."""

import re
from pathlib import Path

__all__ = ["peak_rss", "reset_peak", "rss"]


def rss() -> int | None:
    """Resident set size now."""
    return _status("VmRSS")


def peak_rss() -> int | None:
    """Highest resident set size since `reset_peak`, or since the process began."""
    return _status("VmHWM")


def reset_peak() -> bool:
    """Forget the peak so far (writing 5 to clear_refs); False where the kernel or the sandbox does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(field: str) -> int | None:
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) * 1024 if found else None
