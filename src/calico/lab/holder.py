"""The process that a lab lives in.

`python -I -m calico.lab.holder NAME` makes the namespaces and then does
nothing but exist: it is the first process of the lab's PID namespace, so the
kernel ends everything in the lab when it dies, by SIGTERM too; mounts and network
namespaces go with the last process that uses them. Nothing outside has to be
cleaned up, whatever happens.

Its standard output gets lines of JSON: `{"pid": …}` and `{"ready": 1}` in any
order, or `{"step": …, "errno": …}` when the kernel refused something. Its
standard input is the life line: the lab is kept when a byte arrives, and given
up when the other end closes before that. So a `lab up` that fails or is killed
leaves nothing.

Without the privilege for the other namespaces a user namespace comes first,
in which the caller is root and nobody else exists: a map of one user and one
group, the only one that needs no set-user-ID program (user_namespaces(7)).
"""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from calico.linux import syscalls

_CAP_NET_ADMIN = 12
_CAP_SYS_ADMIN = 21


class _StepError(Exception):
    """The kernel refused a step of the set-up."""

    def __init__(self, step: str, number: int) -> None:
        super().__init__(step, number)
        self.step = step
        self.number = number


def main() -> int:
    """Make the namespaces and hold them."""
    try:
        if not _is_privileged():
            _become_root()
        _step("namespaces", lambda: syscalls.unshare(syscalls.MACHINE))
        pid = os.fork()
        if pid == 0:
            return _hold()
        _tell({"pid": pid})
    except _StepError as failure:
        _tell({"step": failure.step, "errno": failure.number})
        return 1
    return 0


def _hold() -> int:
    """Be the first process of the lab: mount what it needs, then wait."""
    # The kernel keeps from the first process every signal but SIGKILL that it
    # does not ask for (pid_namespaces(7)).
    signal.signal(signal.SIGTERM, _end)
    _step("private mounts", _make_mounts_private)
    _step("proc", _mount_proc)
    _step("run", _mount_run)
    # Children are reaped by the kernel, those of dead parents included.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.chdir("/")
    _tell({"ready": 1})
    if not os.read(0, 1):
        return 1
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    while True:
        signal.pause()


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit


def _is_privileged() -> bool:
    """Tell whether this process may make all namespaces as it is."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return bool(held >> _CAP_SYS_ADMIN & held >> _CAP_NET_ADMIN & 1)
    return False


def _become_root() -> None:
    """Make a user namespace in which the caller is root."""
    uid, gid = os.geteuid(), os.getegid()
    _step("user namespace", lambda: syscalls.unshare(syscalls.CLONE_NEWUSER))
    _step("map of users", lambda: _write_maps(uid, gid))


def _write_maps(uid: int, gid: int) -> None:
    # Without this the kernel lets nobody unprivileged map a group (Linux 3.19).
    Path("/proc/self/setgroups").write_text("deny", "ascii")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1", "ascii")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1", "ascii")


def _make_mounts_private() -> None:
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)


def _mount_proc() -> None:
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", "/proc", "proc", flags)


def _mount_run() -> None:
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("lab", "/run", "tmpfs", flags, "mode=0755")
    for name in ("netns", "lab", "lock"):
        (Path("/run") / name).mkdir(mode=0o755)


def _step(name: str, call: Callable[[], None]) -> None:
    try:
        call()
    except OSError as error:
        raise _StepError(name, error.errno or 0) from error


def _tell(facts: dict[str, int | str]) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    raise SystemExit(main())
