"""Keep BIRD at what this host's routing is.

Runs in a thread of its own, for BIRD may not be there yet, or take its time,
and policy does not wait for it. Only the newest state counts.

Without an address or an AS of its own the host has nothing to say; then BIRD
keeps what it has, as it does when the datastore is silent.
"""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Condition

from calico.agent.journal import Journal
from calico.ir.routing import RoutingState
from calico.linux.bird import BirdFiles, Outcome, put_config
from calico.linux.bird_control import NoBird
from calico.model.errors import RouterRejected, Unavailable
from calico.render.bird import render_bird
from calico.store.following import pause_after

CHECK_EVERY_S = 5.0
"""How often BIRD is asked whether it still has what it was told."""

_GRACE_S = 3.0


class Router:
    """Keeps BIRD's configuration and lets it take it.

    Args:
        run_dir: Where BIRD's files are.
        journal: Where lines go.
        tell: Called with what is wrong, and with `None` when it no longer is.
    """

    def __init__(
        self, run_dir: Path, journal: Journal, tell: Callable[[str | None], None]
    ) -> None:
        self._files = BirdFiles(run_dir)
        self._journal = journal
        self._tell = tell
        self._changed = Condition()
        self._state: RoutingState | None = None
        self._told: str | None = None
        self._absent_since: float | None = None
        self._rendered: tuple[RoutingState, str] | None = None

    def route(self, state: RoutingState) -> None:
        """Hand over what is to be; called by the loop, never waits."""
        with self._changed:
            self._state = state
            self._changed.notify()

    def run(self) -> None:
        """Work for ever; for a thread of its own."""
        state: RoutingState | None = None
        n_failures = 0
        pause_s: float | None = None
        while True:
            newest = self._next(state, pause_s)
            n_failures = 0 if newest is not state else n_failures
            state = newest
            if self._apply(state):
                n_failures, pause_s = 0, CHECK_EVERY_S
            else:
                n_failures += 1
                pause_s = pause_after(n_failures)

    def _next(self, state: RoutingState | None, pause_s: float | None) -> RoutingState:
        """Wait for another state, or until the pause is over."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._state is not None and self._state is not state, pause_s
            )
            # The first wait has no end but a state.
            assert self._state is not None  # noqa: S101 -- for the type checker
            return self._state

    def _apply(self, state: RoutingState) -> bool:
        """Make BIRD agree, and report whether it does."""
        if state.router_id is None or state.as_number is None:
            self._say(None)
            return True
        try:
            outcome = put_config(self._files, self._text_of(state))
        except NoBird as error:
            self._say(self._absence(state, str(error)))
            return False
        except (RouterRejected, Unavailable) as error:
            self._absent_since = None
            self._say(str(error))
            return False
        self._absent_since = None
        self._say(None)
        if outcome is Outcome.TAKEN:
            self._journal.info("BIRD", "BIRD has taken a new configuration")
        return True

    def _text_of(self, state: RoutingState) -> str:
        """Render a state once; a mesh of a thousand takes 20 ms each time."""
        if self._rendered is None or self._rendered[0] is not state:
            self._rendered = state, render_bird(state)
        return self._rendered[1]

    def _absence(self, state: RoutingState, reason: str) -> str | None:
        """Say that BIRD is not there once it is more than a start or a restart.

        A host without peers has nobody to tell anything.
        """
        now = time.monotonic()
        if self._absent_since is None:
            self._absent_since = now
        is_missed = state.peerings and now - self._absent_since >= _GRACE_S
        return reason if is_missed else None

    def _say(self, reason: str | None) -> None:
        if reason != self._told:
            self._told = reason
            self._tell(reason)
