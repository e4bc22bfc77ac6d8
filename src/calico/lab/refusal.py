"""Say why the kernel does not let this user have a lab, and what to do."""

import errno
import os
from pathlib import Path

from calico.lab.errors import LabError

_AS_ROOT = "run it as root (`sudo`)"

_SWITCHES = (
    # Debian's own switch, off by default until Debian 11.
    ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    # Ubuntu 24.04: such a namespace can be made, but is worth nothing.
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    ("user/max_net_namespaces", "0", "user.max_net_namespaces=10000"),
)


def explain_refusal(name: str, step: str, number: int) -> LabError:
    """Turn a step that failed into an error with a way out.

    Args:
        name: The lab.
        step: As the holder names it.
        number: The kernel's error number.
    """
    reason = f"the kernel refused {_spell(step)}: {os.strerror(number)}"
    steps = [_allow(change) for change in _switched_off()]
    if number == errno.ENOSPC and not steps:
        steps.append("end other labs or containers: a limit of user.max_*_namespaces")
    if os.geteuid() != 0:
        steps.append(_AS_ROOT)
    elif not steps:
        steps.append("give this container CAP_SYS_ADMIN and an unmasked /proc")
    return LabError(f"lab `{name}`", reason, steps)


def _spell(step: str) -> str:
    if step in {"proc", "run"}:
        return f"to mount /{step} in it"
    return f"its {step}"


def _switched_off() -> list[str]:
    found: list[str] = []
    for path, off, change in _SWITCHES:
        try:
            value = (Path("/proc/sys") / path).read_text("ascii").strip()
        except OSError:
            continue
        if value == off:
            found.append(change)
    return found


def _allow(change: str) -> str:
    setting, _, value = change.partition("=")
    return f"allow it: `sudo sysctl -w {setting}={value}`"
