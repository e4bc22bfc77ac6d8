"""What commands that ask this host's agent share."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from calico.cli.exit_codes import NOT_IN_FORCE
from calico.cli.refusal import Refused
from calico.control.client import NoAgent
from calico.control.protocol import BadMessage

_T = TypeVar("_T")


def ask_agent(ask: Callable[[Path], _T], run_dir: Path) -> _T:
    """Ask this host's agent.

    Args:
        ask: Asks, given the directory of the agent's socket.
        run_dir: That directory.

    Raises:
        Refused: None answers, or it refuses us.
    """
    try:
        return ask(run_dir)
    except NoAgent as error:
        raise Refused(
            "calico-node not running", str(error), exit_code=NOT_IN_FORCE
        ) from None
    except BadMessage as error:
        raise Refused(f"calico-node is running, but: {error}") from None
