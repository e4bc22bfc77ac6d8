"""What can go wrong with a lab."""

from collections.abc import Sequence

from calico.model.errors import CalicoError


class LabError(CalicoError):
    """A lab cannot do what was asked.

    Attributes:
        where: The lab, or the thing in it.
        reason: What was found.
        next_steps: What the user can do, most likely first; may be empty.
    """

    def __init__(self, where: str, reason: str, next_steps: Sequence[str] = ()) -> None:
        super().__init__(where, reason, tuple(next_steps))
        self.where = where
        self.reason = reason
        self.next_steps = tuple(next_steps)

    def __str__(self) -> str:
        text = f"{self.where}: {self.reason}"
        if self.next_steps:
            text += "; " + ", or ".join(self.next_steps)
        return text


class NoSuchLab(LabError):  # noqa: N818 -- says what happened, as the model's errors do
    """No lab of this name is running."""


class NoSuchPlace(LabError):  # noqa: N818 -- as above
    """A lab has no host and no workload of this name."""
