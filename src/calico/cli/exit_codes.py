"""What the exit codes of `calicoctl` mean; scripts depend on them."""

DONE = 0
"""Done, or what was asked for is so already."""

FAILED = 1
"""Refused, failed, not found, not permitted, or the answer is no."""

USAGE = 2
"""The words form no command."""

DISAGREES = 3
"""The explainer and the kernel disagree."""

NOT_IN_FORCE = 4
"""Not in force within the time given, or there is no agent."""

UNAVAILABLE = 5
"""The datastore cannot be reached, or refuses us."""

UNKNOWN_OUTCOME = 6
"""The datastore did not say whether the change was made."""

INTERRUPTED = 130
"""Ended by the user."""
