"""Run things inside a lab.

A process enters by `setns` on the holder's pidfd, all kinds at once, and then
forks, because a PID namespace is entered by children only. So there are two
processes: the porter, which enters and waits, and its child, which is inside
and does the work. Each dies with its parent: ending the command from outside
ends what it runs inside.
"""

import errno
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from calico.lab.errors import LabError, NoSuchLab, NoSuchPlace
from calico.lab.network import enter_namespace
from calico.lab.plan import name_option, namespace_path
from calico.lab.register import Lab
from calico.linux import syscalls

T = TypeVar("T")

_CANNOT_RUN = 126
_NOT_FOUND = 127
_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class Output:
    """What a program left behind.

    Attributes:
        code: Its exit code; 128 and the signal's number when one ended it.
        stdout: What it printed.
        stderr: What it complained about; empty when it went to `stdout`.
    """

    code: int
    stdout: str
    stderr: str


class Running:
    """A program that runs inside a lab, its output kept.

    Attributes:
        porter: The process outside that waits for it.
    """

    def __init__(self, porter: int, files: tuple[int, int]) -> None:
        self.porter = porter
        self._files = files

    def wait(self) -> Output:
        """Wait for its end."""
        code = _wait(self.porter)
        stdout, stderr = (_read_back(number) for number in self._files)
        return Output(code, stdout, stderr)


def call(lab: Lab, place: str | None, action: Callable[[], T]) -> T:
    """Run a function inside a lab and hand back what it returns or raises.

    Args:
        lab: The lab.
        place: The host or workload in whose network it runs; without it the
            holder's own, which is empty.
        action: Runs in a process of its own; its result is pickled.

    Raises:
        NoSuchLab: The holder is gone.
        NoSuchPlace: There is no such host or workload.
    """
    read_end, write_end = os.pipe()

    def report() -> int:
        os.close(read_end)
        answer: tuple[bool, object]
        try:
            answer = (True, action())
        except Exception as error:  # noqa: BLE001 -- raised again by the caller
            answer = (False, error)
        with os.fdopen(write_end, "wb") as stream:
            stream.write(pickle.dumps(answer))
        return 0

    porter = _send_porter(lab, place, report, signal.SIGKILL)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        written = stream.read()
    code = _wait(porter)
    if not written:
        _complain(lab, place, code)
    worked, value = pickle.loads(written)  # noqa: S301 -- our own child wrote it
    if not worked:
        raise value
    result: T = value
    return result


def execute(
    lab: Lab, place: str, argv: Sequence[str], environ: Mapping[str, str]
) -> int:
    """Run a program on the caller's terminal and streams.

    Args:
        lab: The lab.
        place: The host or workload in whose network it runs.
        argv: The program, looked for in `environ`'s PATH, and its arguments.
        environ: Its whole environment, with a PATH.

    Returns:
        Its exit code; 128 and the signal's number when one ended it, 127 when
        there is no such program.

    Raises:
        NoSuchLab: The holder is gone.
        NoSuchPlace: There is no such host or workload.
    """
    look_up(lab, place)
    kept = [
        (number, signal.signal(number, signal.SIG_IGN))
        for number in (signal.SIGINT, signal.SIGQUIT)
    ]
    try:
        porter = _send_porter(
            lab, place, lambda: _become(argv, environ), signal.SIGTERM
        )
        return _wait(porter)
    finally:
        for number, disposition in kept:
            signal.signal(number, disposition)


def start(
    lab: Lab,
    place: str,
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    stdin: bytes = b"",
) -> Running:
    """Start a program inside a lab and keep its output.

    The output is kept in memory files, so that a daemon which it leaves
    behind, and which still has them open, does not keep anybody waiting.
    """
    source, stdout, stderr = (os.memfd_create(name) for name in ("in", "out", "err"))
    os.write(source, stdin)
    os.lseek(source, 0, os.SEEK_SET)

    def go() -> int:
        for target, number in enumerate((source, stdout, stderr)):
            os.dup2(number, target)
        _become(argv, environ)

    try:
        porter = _send_porter(lab, place, go, signal.SIGTERM)
    finally:
        os.close(source)
    return Running(porter, (stdout, stderr))


def look_up(lab: Lab, place: str) -> None:
    """Make sure that a lab runs and has a host or workload.

    Raises:
        NoSuchLab: The holder is gone.
        NoSuchPlace: There is no such host or workload.
    """
    path = namespace_path(place)
    if not call(lab, None, path.exists):
        raise _no_such_place(lab, place)


def _send_porter(
    lab: Lab, place: str | None, work: Callable[[], int], parting: signal.Signals
) -> int:
    """Fork the porter, which forks the process inside that does the work."""
    directory = Path.cwd()
    sys.stdout.flush()
    sys.stderr.flush()
    porter = os.fork()
    if porter:
        return porter
    code = _CANNOT_RUN
    try:
        _enter(lab)
        syscalls.die_with_parent(signal.SIGKILL)
        inside = os.fork()
        if inside:
            code = _wait(inside)
        else:
            syscalls.die_with_parent(parting)
            _settle(place, directory)
            code = work()
    except OSError:
        # The caller sees that nothing came back, and finds out why.
        code = _CANNOT_RUN
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _enter(lab: Lab) -> None:
    if lab.is_inside:
        return
    holder = os.pidfd_open(lab.pid)
    # Only now the number can no longer pass to another process unnoticed.
    if not lab.is_running():
        raise ProcessLookupError
    flags = syscalls.MACHINE
    if not Path(f"/proc/{lab.pid}/ns/user").samefile("/proc/self/ns/user"):
        flags |= syscalls.CLONE_NEWUSER
    syscalls.setns(holder, flags)
    os.close(holder)


def _settle(place: str | None, directory: Path) -> None:
    """Take a place inside: network, machine name, working directory."""
    if place is not None:
        enter_namespace(place)
        syscalls.unshare(syscalls.CLONE_NEWUTS)
        syscalls.set_hostname(place)
    try:
        os.chdir(directory)
    except OSError:
        os.chdir("/")
        print_error(f"{directory} cannot be seen inside the lab; working in /")


def _become(argv: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    program = argv[0] if "/" in argv[0] else shutil.which(argv[0], path=environ["PATH"])
    try:
        if program is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        os.execve(program, list(argv), dict(environ))  # noqa: S606 -- what the user typed
    except OSError as error:
        print_error(f"{argv[0]}: {error.strerror}")
        missing = isinstance(error, FileNotFoundError)
        os._exit(_NOT_FOUND if missing else _CANNOT_RUN)


def print_error(text: str) -> None:
    """Say something on standard error."""
    sys.stderr.write(f"calicoctl: {text}\n")


def _wait(pid: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else _SIGNALLED - code


def _read_back(number: int) -> str:
    with os.fdopen(number, "rb") as stream:
        stream.seek(0)
        return stream.read().decode("utf-8", "replace")


def _complain(lab: Lab, place: str | None, code: int) -> NoReturn:
    """Find out why nothing came back from inside."""
    if not lab.is_running():
        raise NoSuchLab(f"lab `{lab.name}`", "is not running")
    if place is not None:
        look_up(lab, place)
    raise LabError(f"lab `{lab.name}`", f"the process inside ended with code {code}")


def _no_such_place(lab: Lab, place: str) -> NoSuchPlace:
    option = "" if lab.is_inside else name_option(lab.name)
    return NoSuchPlace(
        f"`{place}`",
        f"lab `{lab.name}` has no host and no workload of this name",
        (f"see `calicoctl lab list{option}`", f"`calicoctl lab add {place}` makes one"),
    )
