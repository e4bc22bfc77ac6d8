"""The process that `calicoctl node` starts.

Signals are taken one at a time and never interrupt anything: SIGTERM and
SIGINT end the agent and then us, SIGCHLD says that the agent has ended.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from calico.control.protocol import SOCKET_NAME
from calico.linux.nft_socket import NftSocket
from calico.model.errors import CalicoError
from calico.node.pidfile import hold_pidfile
from calico.node.restarts import Restarts
from calico.settings import Settings

OWNERSHIP = "CALICO_TABLE_OWNERSHIP"
"""Set to `off`, the table is created without an owner even where it could be."""

STOP_WITHIN_S = 5.0

_LOG = logging.getLogger("calico.node")
_STOPS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_AWAITED = _STOPS | {signal.SIGCHLD}


@dataclass(frozen=True, slots=True)
class _Table:
    """The socket of our table, and whether the table is ours alone."""

    nft: NftSocket
    is_owned: bool


def main() -> int:
    """Supervise until told to stop.

    Returns:
        The exit code: 1 when it could not begin.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level="INFO")
    # Blocked before anything is started, so that none is lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    try:
        settings = Settings.from_environment(os.environ)
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        with hold_pidfile(settings.run_dir):
            try:
                _supervise(_open_table())
            finally:
                # Also of an agent that was killed; one that runs replaces it.
                Path(settings.run_dir, SOCKET_NAME).unlink(missing_ok=True)
    except (CalicoError, OSError) as error:
        _LOG.critical("%s", error)
        return 1
    return 0


def _open_table() -> _Table:
    nft = NftSocket.open()
    is_owned = nft.create_table(owned=os.environ.get(OWNERSHIP) != "off")
    return _Table(nft, is_owned)


def _supervise(table: _Table) -> None:
    restarts = Restarts()
    while True:
        started = time.monotonic()
        agent = _start_agent(table)
        _LOG.info("agent started, process %d", agent.pid)
        if _wait_for_end(agent):
            return
        restarts = restarts.after(time.monotonic() - started)
        _LOG.error(
            "agent ended with %s, starts again in %g s",
            _describe_end(agent.returncode),
            restarts.pause_s,
        )
        if _is_stopped_within(restarts.pause_s):
            return


def _start_agent(table: _Table) -> "subprocess.Popen[bytes]":
    fd = table.nft.fileno()
    words = [f"--nft-fd={fd}", f"--supervisor={os.getpid()}"]
    if table.is_owned:
        words.append("--table-owned")
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "calico.agent", *words], pass_fds=(fd,)
    )


def _wait_for_end(agent: "subprocess.Popen[bytes]") -> bool:
    """Wait until the agent ends.

    Returns:
        Whether it was told to, because we were.
    """
    while True:
        came = signal.sigwait(_AWAITED)
        if came in _STOPS:
            _stop(agent)
            return True
        if agent.poll() is not None:
            return False


def _stop(agent: "subprocess.Popen[bytes]") -> None:
    agent.terminate()
    try:
        agent.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        _LOG.warning("agent does not stop, killing it")
        agent.kill()
        agent.wait()


def _is_stopped_within(pause_s: float) -> bool:
    deadline = time.monotonic() + pause_s
    while (left := deadline - time.monotonic()) > 0:
        came = signal.sigtimedwait(_AWAITED, left)
        if came is not None and came.si_signo in _STOPS:
            return True
    return False


def _describe_end(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


if __name__ == "__main__":
    sys.exit(main())
