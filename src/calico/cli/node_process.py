"""The supervisor as the command line sees it: start it, wait for it, stop it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from calico.cli.exit_codes import NOT_IN_FORCE
from calico.cli.refusal import Refused
from calico.control.client import NoAgent, ask_status, wait_for_revision
from calico.control.protocol import BadMessage
from calico.linux.bird import BirdFiles
from calico.linux.bird_control import BirdControl
from calico.model.errors import RouterRejected, Unavailable
from calico.model.names import Revision
from calico.node.pidfile import running_pid
from calico.node.removal import remove_leftovers
from calico.node.state import Backend, read_state
from calico.settings import Settings

LOG_NAME = "node.log"
START_WITHIN_S = 30.0
STOP_WITHIN_S = 15.0

_PAUSE_S = 0.02
_N_LOG_LINES = 12
_ARGV = (sys.executable, "-I", "-m", "calico.node.supervisor")

Supervisor = subprocess.Popen[bytes]


def start_detached(settings: Settings, backend: Backend) -> Supervisor:
    """Start the supervisor so that it outlives this process."""
    with (settings.log_dir / LOG_NAME).open("ab") as log:
        return subprocess.Popen(
            _argv(backend),
            env=_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )


def start_attached(settings: Settings, backend: Backend) -> Supervisor:
    """Start the supervisor as a child that writes where we write."""
    # A session of its own keeps Ctrl-C from reaching it before we have.
    return subprocess.Popen(
        _argv(backend), env=_environment(settings), start_new_session=True, cwd="/"
    )


def _argv(backend: Backend) -> list[str]:
    return [*_ARGV, f"--backend={backend.value}"]


def wait_enforcing(
    settings: Settings, revision: Revision, started: Supervisor | None
) -> None:
    """Wait until the agent has a policy revision in force.

    Args:
        settings: Where things are.
        revision: The revision.
        started: The supervisor, if we have started it.

    Raises:
        Refused: It ended, or the time ran out.
    """
    deadline = time.monotonic() + START_WITHIN_S
    reason = ""
    while (left := deadline - time.monotonic()) > 0:
        if started is not None and started.poll() is not None:
            raise Refused("The Calico node ended at once.", *_last_lines(settings))
        if started is not None and running_pid(settings.run_dir) != started.pid:
            # Another one may answer, which is not what was asked for.
            reason = "the supervisor has not begun"
            time.sleep(_PAUSE_S)
            continue
        try:
            in_force = wait_for_revision(settings.run_dir, revision, left)
        except NoAgent as error:
            reason = str(error)
            time.sleep(_PAUSE_S)
            continue
        except BadMessage as error:
            raise Refused(str(error)) from None
        if in_force >= revision:
            return
        reason = _lag(settings.run_dir, in_force, revision)
    raise Refused(
        f"Policy is not in force after {START_WITHIN_S:g} s: {reason}",
        *_last_lines(settings),
        exit_code=NOT_IN_FORCE,
    )


def wait_routing(settings: Settings) -> None:
    """Wait until BIRD answers, if the supervisor runs it.

    Whether its peers do is not waited for.

    Raises:
        Refused: The time ran out.
    """
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        state = read_state(settings.run_dir)
        if state is None or state.backend is Backend.NONE:
            return
        reason = state.bird_problem
        try:
            with BirdControl(BirdFiles(settings.run_dir).socket) as bird:
                bird.read_status()
        except (Unavailable, RouterRejected) as error:
            reason = reason or str(error)
        else:
            return
        if time.monotonic() > deadline:
            raise Refused(
                f"Policy is in force, but BIRD does not run after {START_WITHIN_S:g} s:"
                f" {reason}",
                "Workloads are not reached from other hosts until it does; it is tried"
                " again and again. `calicoctl status` shows how it is.",
                exit_code=NOT_IN_FORCE,
            )
        time.sleep(_PAUSE_S)


def stop_supervisor(
    settings: Settings, number: signal.Signals = signal.SIGTERM
) -> bool:
    """Stop the supervisor with its agent and BIRD, and wait until all have ended.

    Args:
        settings: Where things are.
        number: The signal: `WITHDRAW` to take routes back from peers.

    Returns:
        Whether there was one.

    Raises:
        Refused: It does not end.
    """
    pid = running_pid(settings.run_dir)
    if pid is None:
        remove_leftovers(settings.run_dir, number)
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        # Somebody else has stopped it since we looked.
        return True
    deadline = time.monotonic() + STOP_WITHIN_S
    # One that has begun meanwhile is not the one that was to stop.
    while running_pid(settings.run_dir) == pid:
        if time.monotonic() > deadline:
            raise Refused(f"The Calico node, process {pid}, does not stop.")
        time.sleep(_PAUSE_S)
    return True


def _lag(run_dir: Path, in_force: Revision, revision: Revision) -> str:
    try:
        status = ask_status(run_dir)
    except (NoAgent, BadMessage) as error:
        return str(error)
    if status.degraded:
        return status.degraded
    if not status.is_ready:
        return "`Ready` is not true in the datastore"
    return f"revision {in_force} is in force, {revision} is wanted"


def _environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "HOSTNAME": settings.hostname,
        "CALICO_DATA_DIR": str(settings.data_dir),
        "CALICO_RUN_DIR": str(settings.run_dir),
        "CALICO_LOG_DIR": str(settings.log_dir),
    }


def _last_lines(settings: Settings) -> list[str]:
    path = settings.log_dir / LOG_NAME
    try:
        lines = path.read_text(errors="replace").splitlines()[-_N_LOG_LINES:]
    except OSError:
        return []
    return [f"The end of {path}:", *(f"  {each}" for each in lines)]
