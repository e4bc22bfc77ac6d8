"""`calicoctl version`."""

from calico import __version__
from calico.cli import output
from calico.cli.call import Call


def show(call: Call) -> int:
    """Print the version."""
    return call.show(
        {"version": __version__}, [__version__], lambda: output.line(__version__)
    )
