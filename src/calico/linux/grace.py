"""Wait until no packet is in the middle of the previous ruleset.

A packet sees the ruleset's sets as they are at each look-up, so one that is
under way may look before a commit at one set and after it at the next. Between
a widening and a tightening commit the packets under way have to be waited for:
they are processed in sections that hold back an RCU grace period, and
membarrier(2) waits for one.
"""

import ctypes
import os
import time

_NUMBERS = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "s390x": 356}
_GLOBAL = 1
_FALLBACK_S = 0.02


def membarrier() -> bool:
    """Wait for a grace period; some milliseconds.

    Returns:
        Whether the kernel waited; otherwise we slept for longer than a packet
        is under way.
    """
    number = _NUMBERS.get(os.uname().machine)
    if number is not None and _syscall(number) == 0:
        return True
    time.sleep(_FALLBACK_S)
    return False


def _syscall(number: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(number, _GLOBAL, 0, 0))
