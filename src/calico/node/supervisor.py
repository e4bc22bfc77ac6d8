"""The process that `calicoctl node` starts.

It keeps two processes alive, the agent and BIRD, each with a back-off of its
own, so that neither waits for the other. Signals are taken one at a time and
never interrupt anything: SIGTERM and its like end both processes and then us,
and leave routes as they are; SIGUSR2 does the same, but lets BIRD withdraw from
its peers. SIGCHLD says that a process has ended, and SIGIO that something has
changed in the run directory, where the agent writes BIRD's configuration.
"""

import argparse
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from calico.control.protocol import SOCKET_NAME
from calico.linux.nft_socket import NftSocket
from calico.model.errors import CalicoError
from calico.node.bird import BirdProcess, bird_signal
from calico.node.child import Child
from calico.node.pidfile import hold_pidfile
from calico.node.signals import WITHDRAW
from calico.node.state import STATE_NAME, Backend, NodeState, write_state
from calico.settings import Settings

OWNERSHIP = "CALICO_TABLE_OWNERSHIP"
"""Set to `off`, the table is created without an owner even where it could be."""

STOP_WITHIN_S = 5.0

_LOG = logging.getLogger("calico.node")
_STOPS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, WITHDRAW})
_AWAITED = _STOPS | {signal.SIGCHLD, signal.SIGIO}
_HOUSEKEEPING_S = 60.0


@dataclass(frozen=True, slots=True)
class _Table:
    """The socket of our table, and whether the table is ours alone."""

    nft: NftSocket
    is_owned: bool


@dataclass(frozen=True, slots=True)
class _Family:
    """The processes, and where what is to be read of them goes.

    Attributes:
        agent: The agent.
        bird: BIRD; absent when routes are not our business.
        process: BIRD's files, and how it is ended.
        run_dir: The run directory.
    """

    agent: Child
    bird: Child | None
    process: BirdProcess
    run_dir: Path

    @property
    def children(self) -> tuple[Child, ...]:
        return (self.agent,) if self.bird is None else (self.agent, self.bird)

    def state(self) -> NodeState:
        if self.bird is None:
            return NodeState(Backend.NONE)
        bird = self.bird
        return NodeState(Backend.BIRD, bird.pid, bird.problem, bird.n_ends)


def main() -> int:
    """Supervise until told to stop.

    Returns:
        The exit code: 1 when it could not begin.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level="INFO")
    words = argparse.ArgumentParser(prog="calico.node")
    words.add_argument("--backend", type=Backend, default=Backend.BIRD)
    backend: Backend = words.parse_args().backend
    # Blocked before anything is started, so that none is lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    try:
        settings = Settings.from_environment(os.environ)
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        with hold_pidfile(settings.run_dir):
            try:
                _supervise(_make_family(settings, backend, _open_table()))
            finally:
                # Also of an agent that was killed; one that runs replaces it.
                for name in (SOCKET_NAME, STATE_NAME):
                    Path(settings.run_dir, name).unlink(missing_ok=True)
    except (CalicoError, OSError) as error:
        _LOG.critical("%s", error)
        return 1
    return 0


def _open_table() -> _Table:
    nft = NftSocket.open()
    is_owned = nft.create_table(owned=os.environ.get(OWNERSHIP) != "off")
    return _Table(nft, is_owned)


def _make_family(settings: Settings, backend: Backend, table: _Table) -> _Family:
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    process = BirdProcess(settings.run_dir, settings.log_dir)
    agent = Child("agent", partial(_start_agent, table, backend))
    if backend is Backend.NONE:
        process.retire()
        return _Family(agent, None, process, settings.run_dir)
    bird = process.make_child()
    process.adopt(bird, time.monotonic())
    _tell_of_changes(settings.run_dir)
    return _Family(agent, bird, process, settings.run_dir)


def _tell_of_changes(directory: Path) -> None:
    """Let the kernel send SIGIO when a file comes; without, we look every second."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):
        wanted = fcntl.DN_CREATE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT
        fcntl.fcntl(fd, fcntl.F_NOTIFY, wanted)


def _supervise(family: _Family) -> None:
    written: NodeState | None = None
    while True:
        now = time.monotonic()
        for child in family.children:
            child.tend(now)
        family.process.limit_log()
        if (state := family.state()) != written:
            _tell_state(family.run_dir, state)
            written = state
        came = _next_signal(family.children, now)
        if came is not None and came in _STOPS:
            _stop(family, came)
            return


def _tell_state(run_dir: Path, state: NodeState) -> None:
    try:
        write_state(run_dir, state)
    except OSError as error:
        _LOG.error("%s cannot be written: %s", STATE_NAME, error.strerror)


def _next_signal(children: Sequence[Child], now: float) -> int | None:
    """Wait for a signal; `None` when it is time to look without one."""
    moments = [now + _HOUSEKEEPING_S]
    moments += [at for child in children if (at := child.wakes_at(now)) is not None]
    left = max(0.0, min(moments) - time.monotonic())
    came = signal.sigtimedwait(_AWAITED, left)
    return None if came is None else came.si_signo


def _start_agent(table: _Table, backend: Backend) -> "subprocess.Popen[bytes]":
    fd = table.nft.fileno()
    words = [f"--nft-fd={fd}", f"--supervisor={os.getpid()}"]
    if table.is_owned:
        words.append("--table-owned")
    if backend is Backend.NONE:
        words.append("--backend=none")
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "calico.agent", *words], pass_fds=(fd,)
    )


def _stop(family: _Family, came: int) -> None:
    # The agent first: it would tell a BIRD that has ended what to do.
    _end(family.agent, signal.SIGTERM)
    if family.bird is not None:
        _end(family.bird, bird_signal(came))
        family.process.remove()


def _end(child: Child, number: int) -> None:
    child.signal(number)
    deadline = time.monotonic() + STOP_WITHIN_S
    while not child.has_ended():
        left = deadline - time.monotonic()
        if left <= 0:
            _LOG.warning("%s does not stop, killing it", child.name)
            child.signal(signal.SIGKILL)
            deadline = time.monotonic() + STOP_WITHIN_S
            continue
        # One that is adopted sends no signal.
        signal.sigtimedwait({signal.SIGCHLD}, min(left, 0.05))


if __name__ == "__main__":
    sys.exit(main())
