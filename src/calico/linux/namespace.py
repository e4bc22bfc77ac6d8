"""Open a network namespace by its path, and act inside it.

A path is opened only if it leads to a regular file, so neither a device nor a
pipe is touched, and is taken for a namespace only if the kernel says that it
is one. To act inside, a thread enters the namespace and ends there: the rest
of the process stays where it is, and no second process is needed. A socket
made inside keeps talking to that namespace wherever it is used.

Source:
    man 2 setns, man 2 ioctl_ns.
"""

import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from threading import Thread
from typing import TypeVar

from calico.linux import syscalls
from calico.linux.rtnetlink import NetlinkRefused
from calico.model.errors import CalicoError

_NS_GET_NSTYPE = 0xB703

T = TypeVar("T")


class NamespaceMissing(CalicoError):  # noqa: N818 -- says what happened
    """There is no network namespace at a path.

    Attributes:
        path: The path as the user gave it.
        reason: What is there instead.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.reason}; give the path of a network namespace, "
            "such as one below /run/netns that `ip netns add` has made"
        )


def canonical_path(path: str) -> str:
    """Return the one spelling of a path by which a namespace is known.

    Links are followed in the directories only for `/proc/<pid>/ns/net`, whose
    own target is no path.
    """
    resolved = os.path.realpath(path)
    if resolved.startswith("/proc/") and resolved.endswith("]"):
        parent, name = os.path.split(path)
        return os.path.join(os.path.realpath(parent), name)  # noqa: PTH118 -- text in, text out
    return resolved


@contextmanager
def open_namespace(path: str) -> Generator[int]:
    """Open a network namespace for as long as the block lasts.

    Yields:
        A descriptor of it.

    Raises:
        NamespaceMissing: The path leads to none, or may not be opened.
    """
    fd = _open(path)
    try:
        yield fd
    finally:
        os.close(fd)


def _open(path: str) -> int:
    try:
        # Looked at before it is opened: opening a device can have an effect.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise NamespaceMissing(path, "is no network namespace")
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NamespaceMissing(path, "does not exist") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NamespaceMissing(path, f"cannot be opened ({reason})") from None
    try:
        kind = ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != syscalls.CLONE_NEWNET:
        os.close(fd)
        raise NamespaceMissing(path, "is no network namespace")
    return fd


def is_same_namespace(fd: int, other: str | int) -> bool:
    """Report whether a path or descriptor is the namespace that `fd` is.

    A path that cannot be looked at is another one.
    """
    try:
        theirs = os.stat(other)  # noqa: PTH116 -- may be a descriptor
    except (OSError, ValueError):
        return False
    ours = os.fstat(fd)
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def is_own_namespace(fd: int) -> bool:
    """Report whether a namespace is the one that this process is in."""
    return is_same_namespace(fd, "/proc/self/ns/net")


def call_inside(fd: int, act: Callable[[], T]) -> T:
    """Call a function inside a network namespace.

    Args:
        fd: The namespace.
        act: Runs in a thread of its own. Its error is raised here.

    Raises:
        NetlinkRefused: The kernel does not let us in.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _enter(fd)
            results.append(act())
        except BaseException as error:  # noqa: BLE001 -- raised in the caller's thread
            errors.append(error)

    thread = Thread(target=run, name="inside-namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _enter(fd: int) -> None:
    try:
        syscalls.setns(fd, syscalls.CLONE_NEWNET)
    except OSError as error:
        raise NetlinkRefused(error.errno or 0, f"setns: {error.strerror}") from None
