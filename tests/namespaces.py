"""Run a piece of a test in a network namespace of its own.

The body runs in a child process, so that the namespace and everything in it
goes when it ends; its result or its failure comes back through a pipe.
"""

import ctypes
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_NOBODY = 65534
_DEADLINE_S = 600

T = TypeVar("T")


def in_new_netns(body: Callable[[], T], *, rootless: bool = False) -> T:
    """Call `body` in a fresh network namespace and return what it returns.

    Args:
        body: May be a closure; only its result must be picklable.
        rootless: Be an ordinary user who is root in a user namespace only.

    Raises:
        AssertionError: The body raised; the text is its traceback.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run_child(body, writing, rootless=rootless)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    assert answer, f"the child ended with {os.waitstatus_to_exitcode(status)}"
    outcome: tuple[T, str] = pickle.loads(answer)  # noqa: S301 -- our own child's
    result, failure = outcome
    assert not failure, failure
    return result


def _run_child(body: Callable[[], T], writing: int, *, rootless: bool) -> None:
    try:
        signal.alarm(_DEADLINE_S)
        # Nobody would wait for this process when its parent is killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if rootless:
            _become_nobody()
        _unshare(_CLONE_NEWNET | (_CLONE_NEWUSER if rootless else 0))
        if rootless:
            _map_to_root()
        raw = pickle.dumps((body(), ""))
    except BaseException:  # noqa: BLE001 -- told to the parent, which raises
        raw = pickle.dumps((None, traceback.format_exc()))
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(raw)
    # Neither atexit nor pytest's own clean-up belongs to this process.
    os._exit(0)


def _unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")


def _become_nobody() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        # The change of user made /proc/self root's own.
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)


def _map_to_root() -> None:
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {_NOBODY} 1")
    Path("/proc/self/gid_map").write_text(f"0 {_NOBODY} 1")
