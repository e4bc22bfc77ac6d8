"""The few system calls for namespaces and mounts that Python 3.11 lacks.

Each raises `OSError` with the kernel's number. Flags are the kernel's own
(include/uapi/linux/sched.h, mount.h, prctl.h).
"""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MACHINE = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC
"""The namespaces that together look like a machine of its own."""

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

MNT_DETACH = 0x2

_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Move this process into new namespaces of the given kinds."""
    _call(_libc.unshare(ctypes.c_int(flags)))


def setns(fd: int, flags: int) -> None:
    """Move this process into namespaces that exist.

    Args:
        fd: A namespace file, or a pidfd of a process whose namespaces to join
            (Linux 5.8); then all of them are joined, or none.
        flags: The kinds to join.
    """
    _call(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)))


def mount(
    source: str, target: str, kind: str = "", flags: int = 0, options: str = ""
) -> None:
    """Mount a file system."""
    _call(
        _libc.mount(
            source.encode(),
            os.fsencode(target),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            options.encode() or None,
        )
    )


def unmount(target: str) -> None:
    """Take a mount away; it is gone when its last user is."""
    _call(_libc.umount2(os.fsencode(target), ctypes.c_int(MNT_DETACH)))


def set_hostname(name: str) -> None:
    """Name the machine that this UTS namespace shows."""
    encoded = name.encode()
    _call(_libc.sethostname(encoded, ctypes.c_size_t(len(encoded))))


def die_with_parent(signal_number: int) -> None:
    """Ask for a signal when the parent dies.

    The kernel forgets it when credentials change, so this comes after `setns`.
    """
    zero = ctypes.c_ulong(0)
    wanted = ctypes.c_ulong(signal_number)
    _call(_libc.prctl(ctypes.c_int(_PR_SET_PDEATHSIG), wanted, zero, zero, zero))


def _call(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
