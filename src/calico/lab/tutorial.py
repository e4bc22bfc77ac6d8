"""What a tutorial consists of: steps, commands, promises, as values.

A promise is written down from what the words of a policy mean; nothing of the
product works it out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from calico.lab.plan import Layout
from calico.netset import Family

PING = "ping"
IPV4 = frozenset({Family.V4})
BOTH = frozenset({Family.V4, Family.V6})

Reach = Mapping[str, frozenset[Family]]
"""What of a destination can be reached, in which families; else nothing."""

Promise = Mapping[str, Mapping[str, Reach]]
"""By destination, then source; a source that is not there reaches nothing."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line and what it prints.

    Attributes:
        line: As typed.
        output: Exactly what it prints, trailing blanks aside; `None` when the
            tutorial does not say.
        host: Where it is typed; `None` means the first host.
    """

    line: str
    output: str | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a tutorial, or of what it takes for granted.

    Attributes:
        title: What it does.
        commands: Typed in order.
        files: Written before, by name.
        meaning: What the policy says from then on; empty when it says what it
            said before.
        promise: The same as a table, for every destination that exists.
    """

    title: str
    commands: tuple[Command, ...]
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    meaning: str = ""
    promise: Promise = field(default_factory=dict[str, Mapping[str, Reach]])


@dataclass(frozen=True, slots=True)
class Tutorial:
    """A tutorial.

    Attributes:
        title: What it shows.
        setting: What it is typed in, in words.
        layout: The lab that this is.
        columns: What is tried on each destination.
        sources: Who tries it.
        homes: The host of each workload that is not on the first.
        steps: In order.
    """

    title: str
    setting: str
    layout: Layout
    columns: Mapping[str, tuple[str, ...]]
    sources: Mapping[str, tuple[str, ...]]
    homes: Mapping[str, str]
    steps: tuple[Step, ...]
