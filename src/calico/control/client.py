"""The other end of the control socket: ask the agent of this host."""

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from calico.control.drops import Drops, decode_drops
from calico.control.protocol import (
    SOCKET_NAME,
    AgentStatus,
    Counter,
    Method,
    Request,
    decode_counters,
    decode_map,
    decode_reached,
    decode_status,
    encode_request,
)
from calico.model.errors import Unavailable
from calico.model.names import Revision
from calico.settings import how_to_join

ANSWER_TIMEOUT_S = 10.0

_CHUNK = 1 << 16


class NoAgent(Unavailable):
    """No agent answers on this host."""


class MayNotAsk(NoAgent):
    """This user may not ask the agent, and cannot see whether there is one."""


def ask_status(run_dir: Path) -> AgentStatus:
    """Ask the agent how it is.

    Raises:
        NoAgent: None answers.
        BadMessage: It refuses us, or answers something else.
    """
    return decode_status(_ask(run_dir, Request(Method.STATUS), ANSWER_TIMEOUT_S))


def ask_problems(run_dir: Path) -> Mapping[str, str]:
    """Ask the agent which objects it cannot use, and why.

    Raises:
        NoAgent: None answers.
        BadMessage: It refuses us, or answers something else.
    """
    return decode_map(_ask(run_dir, Request(Method.PROBLEMS), ANSWER_TIMEOUT_S))


def ask_counters(run_dir: Path) -> tuple[Counter, ...]:
    """Ask the agent for the counter of every rule and of every named drop.

    Raises:
        NoAgent: None answers.
        BadMessage: It refuses us, or answers something else.
    """
    return decode_counters(_ask(run_dir, Request(Method.COUNTERS), ANSWER_TIMEOUT_S))


def ask_drops(run_dir: Path, since: int, timeout_s: float) -> Drops:
    """Ask the agent which packets were dropped.

    Args:
        run_dir: Where the agent's socket is.
        since: The number of the last one that is known; 0 for none.
        timeout_s: How long to wait for one, if there is none yet.

    Raises:
        NoAgent: None answers, or it ended meanwhile.
        BadMessage: It refuses us, or answers something else.
    """
    request = Request(Method.DROPS, since=since, timeout_s=timeout_s)
    return decode_drops(_ask(run_dir, request, timeout_s + ANSWER_TIMEOUT_S))


def wait_for_revision(run_dir: Path, revision: Revision, timeout_s: float) -> Revision:
    """Wait until the agent has committed a policy revision to the kernel.

    Args:
        run_dir: Where the agent's socket is.
        revision: Or any later one.
        timeout_s: How long to wait.

    Returns:
        The revision in force; less than asked for when the time ran out.

    Raises:
        NoAgent: None answers, or it ended meanwhile.
        BadMessage: It refuses us, or answers something else.
    """
    request = Request(Method.WAIT, revision, timeout_s)
    line = _ask(run_dir, request, timeout_s + ANSWER_TIMEOUT_S)
    _, in_force = decode_reached(line)
    return in_force


def _ask(run_dir: Path, request: Request, timeout_s: float) -> bytes:
    path = run_dir / SOCKET_NAME
    deadline = time.monotonic() + timeout_s
    received = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            # One that hangs up on us has said why before.
            with suppress(BrokenPipeError):
                connection.sendall(encode_request(request))
            while not received.endswith(b"\n"):
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                chunk = connection.recv(_CHUNK)
                if not chunk:
                    raise NoAgent(str(path), "the agent ended without an answer")
                received += chunk
    except TimeoutError:
        reason = f"the agent did not answer within {timeout_s:g} s"
        raise NoAgent(str(path), reason) from None
    except FileNotFoundError:
        raise _no_agent(path, "there is no agent") from None
    except ConnectionError:
        raise _no_agent(path, "the agent is not running") from None
    except PermissionError as error:
        steps = ("use sudo", how_to_join("start the agent anew"))
        reason = f"{error.strerror}: this user may not ask the agent"
        raise MayNotAsk(str(path), reason, steps) from None
    except OSError as error:
        raise NoAgent(str(path), error.strerror or str(error)) from None
    return bytes(received)


def _no_agent(path: Path, reason: str) -> NoAgent:
    return NoAgent(str(path), reason, ("start one with `calicoctl node`",))
