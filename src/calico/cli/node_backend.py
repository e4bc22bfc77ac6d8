"""What carries routes from this host: chosen, and found to be there."""

from calico.cli import output
from calico.cli.call import Call
from calico.cli.refusal import Refused
from calico.linux.bird_process import find_usable_bird
from calico.model.errors import Unavailable
from calico.node.state import Backend, read_state

_NETWORKING = "CALICO_NETWORKING"


def choose_backend(call: Call) -> Backend | None:
    """Return the backend that is asked for, or `None` to leave it to us.

    Raises:
        Refused: There is none of that name.
    """
    word = call.option("--backend")
    if word == "gobgp":
        raise Refused(
            "--backend: there is no GoBGP here; BIRD carries the routes, which is the"
            " default, or nothing does with --backend=none."
        )
    if word is not None:
        try:
            return Backend(word)
        except ValueError:
            raise Refused("Backend must be 'bird' or 'none'.") from None
    networking = call.environ.get(_NETWORKING)
    if not networking:
        return None
    output.complain(
        f"WARNING: {_NETWORKING} is deprecated; use --backend=bird or --backend=none."
    )
    if networking not in {"true", "false"}:
        raise Refused(f"Valid values for {_NETWORKING} are 'true' and 'false'")
    return Backend.BIRD if networking == "true" else Backend.NONE


def require_backend(call: Call, wanted: Backend | None, running: int | None) -> Backend:
    """Make sure that a backend can be used.

    Args:
        call: The command.
        wanted: The one that is asked for, if one is.
        running: The process id of this host's supervisor, if it runs.

    Raises:
        Refused: It is not installed or too old, or the supervisor has another one.
    """
    state = read_state(call.settings.run_dir) if running is not None else None
    if state is not None:
        if wanted is not None and wanted is not state.backend:
            raise Refused(
                f"The Calico node is running with --backend={state.backend.value}.",
                "`calicoctl node stop` stops it; start it again with"
                f" --backend={wanted.value} then.",
            )
        return state.backend
    backend = wanted or Backend.BIRD
    if backend is Backend.BIRD:
        try:
            find_usable_bird()
        except Unavailable as error:
            raise Refused(str(error)) from None
    return backend
