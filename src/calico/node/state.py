"""What the supervisor leaves to be read: what it runs, and why not.

A file in the run directory, replaced as a whole whenever something changes. It
is worth reading while the supervisor runs; one that was killed leaves it.
"""

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import cast

STATE_NAME = "node.state"


class Backend(Enum):
    """What carries routes between hosts; the value is the word of `--backend`.

    Attributes:
        BIRD: BIRD, a process on each host.
        NONE: Nothing of ours: policy only.
    """

    BIRD = "bird"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class NodeState:
    """How the supervisor's processes are.

    Attributes:
        backend: What carries routes.
        bird_pid: The process of BIRD; absent while it does not run.
        bird_problem: Why it does not run; empty while it does, or while there
            is no configuration for it yet.
        n_bird_ends: How often it has ended by itself.
    """

    backend: Backend
    bird_pid: int | None = None
    bird_problem: str = ""
    n_bird_ends: int = 0


def write_state(run_dir: Path, state: NodeState) -> None:
    """Replace what is left to be read.

    Raises:
        OSError: It cannot be written; then nothing is there that is torn.
    """
    text = json.dumps(
        {
            "backend": state.backend.value,
            "bird_pid": state.bird_pid,
            "bird_problem": state.bird_problem,
            "n_bird_ends": state.n_bird_ends,
        }
    )
    new = run_dir / f"{STATE_NAME}.new"
    new.write_text(text + "\n", "utf-8")
    new.replace(run_dir / STATE_NAME)


def read_state(run_dir: Path) -> NodeState | None:
    """Read it; `None` when there is none, or none that can be understood."""
    try:
        found = json.loads((run_dir / STATE_NAME).read_text("utf-8"))
        return _decode(cast("dict[str, object]", found))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _decode(found: dict[str, object]) -> NodeState:
    pid, problem, n_ends = (
        found[name] for name in ("bird_pid", "bird_problem", "n_bird_ends")
    )
    if not isinstance(pid, int | None) or not isinstance(n_ends, int):
        raise TypeError(pid, n_ends)
    return NodeState(Backend(found["backend"]), pid, str(problem), n_ends)
