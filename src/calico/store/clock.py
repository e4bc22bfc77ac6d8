"""The time that leases and notes are kept by.

Leases end by `CLOCK_BOOTTIME`, which no clock step moves and which counts
while the machine sleeps, together with the kernel's boot identifier. The
embedded datastore belongs to one machine, so a lease of an earlier boot has
lost its holder and is over. The wall clock is kept with notes, for people, and
decides nothing but how long history is remembered.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time on this machine.

    Attributes:
        boot: The kernel's identifier of the boot; empty where /proc is absent.
        uptime_ms: Milliseconds since that boot, sleep included.
        wall_ms: Milliseconds since the epoch, as far as the clock is right.
    """

    boot: str
    uptime_ms: int
    wall_ms: int

    def is_past(self, boot: str, uptime_ms: int) -> bool:
        """Report whether a deadline set in `boot` for `uptime_ms` has passed."""
        return boot != self.boot or uptime_ms <= self.uptime_ms


Clock = Callable[[], Instant]


@cache
def _read_boot() -> str:
    """Return this boot's identifier, which cannot change under a process."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def read_instant() -> Instant:
    """Read the clocks of this machine."""
    uptime_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return Instant(_read_boot(), uptime_ms, time.time_ns() // 1_000_000)
