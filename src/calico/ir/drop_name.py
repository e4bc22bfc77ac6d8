"""How a drop is called in the kernel's packet log, and what is called so.

A log line of the kernel has room for 127 bytes, and the text of an origin may
be longer. So a drop is called by a digest, and whoever reads the log finds the
name, as a value, among those that a desired state can use.

Not here: which endpoint it was. The interface in the log says so, of the
direction's end, also where one chain serves every endpoint.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256

from calico.ir.origin import FaultOrigin, Fixed, FixedOrigin, Origin
from calico.ir.state import DesiredState
from calico.model.rule import Action, Direction

LOG_GROUP = 51729
"""The group of the kernel's packet log that drops are told to."""

_DIGEST_LENGTH = 16


class OfInterface(Enum):
    """An origin that names the endpoint of the interface in the log.

    `SourceCheck` and `InactiveEndpoint` in the IR; the value is for the digest
    and no origin's text.
    """

    SOURCE_CHECK = "source check"
    INACTIVE = "inactive endpoint"


@dataclass(frozen=True, slots=True)
class DropName:
    """What is dropped where.

    Attributes:
        direction: Whose interface names the endpoint: the sender's in
            outbound, the receiver's in inbound. A packet of a tunnel has the
            interface that it came by.
        origin: Where the verdict was written.
    """

    direction: Direction
    origin: Origin | OfInterface

    @property
    def prefix(self) -> str:
        """What stands before the packet in the log."""
        origin = self.origin
        text = origin.value if isinstance(origin, OfInterface) else origin.text
        digest = sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]
        return f"calico {self.direction.value} {digest}"


FIXED_NAMES = (
    *(
        DropName(direction, FixedOrigin(place))
        for direction in Direction
        for place in (Fixed.INVALID, Fixed.NOT_YET_PROGRAMMED)
    ),
    DropName(Direction.OUTBOUND, FixedOrigin(Fixed.UNKNOWN_INTERFACE)),
    DropName(Direction.OUTBOUND, FixedOrigin(Fixed.NO_OUTBOUND)),
    DropName(Direction.INBOUND, FixedOrigin(Fixed.NO_INBOUND)),
    DropName(Direction.OUTBOUND, FixedOrigin(Fixed.ENDPOINT_TO_HOST)),
    DropName(Direction.OUTBOUND, FixedOrigin(Fixed.FOREIGN_TUNNEL)),
    DropName(Direction.OUTBOUND, OfInterface.SOURCE_CHECK),
    *(DropName(direction, OfInterface.INACTIVE) for direction in Direction),
)
"""The names that every host can use, whatever its policy is."""


def drop_names(state: DesiredState) -> Iterator[DropName]:
    """List the names of everything that can drop under a desired state."""
    yield from FIXED_NAMES
    for profile in state.profiles.values():
        for (direction, _), rules in profile.rules.items():
            for rule in rules:
                if rule.action is Action.DENY:
                    yield DropName(direction, rule.origin)
    for key, pipeline in state.pipelines.items():
        yield DropName(key.direction, pipeline.end)
        for stage in pipeline.stages:
            if isinstance(stage, FaultOrigin):
                yield DropName(key.direction, stage)
