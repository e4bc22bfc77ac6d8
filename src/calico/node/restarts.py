"""When to start the agent again after it has ended."""

from dataclasses import dataclass

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 10.0
HEALTHY_S = 20.0


@dataclass(frozen=True, slots=True)
class Restarts:
    """How it has gone so far.

    Attributes:
        n_early: How often in a row it ended soon after its start.
    """

    n_early: int = 0

    def after(self, lived_s: float) -> "Restarts":
        """Take down that it ended after so many seconds."""
        return Restarts(0 if lived_s >= HEALTHY_S else self.n_early + 1)

    @property
    def pause_s(self) -> float:
        """How long to wait before the next start."""
        doublings = max(0, min(self.n_early, 16) - 1)
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**doublings)
