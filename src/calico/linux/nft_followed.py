"""Pick the events of one packet out of all that are traced on a host.

The kernel's number of a packet is used again once the packet is gone. But
every packet that we trace begins with the event of a rule that sets the bit,
in a table of ours: one of the prover's own begins the packet to follow, and
any such event tells when a number has passed to another packet. Only the first
packet is followed, not what is sent again or after it.
"""

from dataclasses import dataclass, field

from calico.linux.nft_path import PathEnd
from calico.linux.nft_trace import TraceEvent, TraceKind, TraceVerdict

TABLE_PREFIX = "calico-trace-"
"""How the tables of all provers are called, before something of their own."""

ENDS = {"input": PathEnd.DELIVERED, "postrouting": PathEnd.LEFT}
"""What it means that a packet passed the chain of this name in such a table."""


@dataclass(slots=True)
class FollowedPacket:
    """One packet, as far as it has come.

    Args:
        table: The table that traces it.

    Attributes:
        events: What happened to it in other tables, in order.
        end: How its way ended; `None` while it has not, as far as is known.
        was_seen: Whether it came by at all.
    """

    table: str
    events: list[TraceEvent] = field(default_factory=list[TraceEvent])
    end: PathEnd | None = None
    was_seen: bool = False
    _number: int = 0
    _is_under_way: bool = False

    def take(self, event: TraceEvent) -> None:
        """Take in an event, whoever's it is."""
        if event.table.startswith(TABLE_PREFIX):
            self._take_own(event)
        elif self._is_under_way and event.packet == self._number:
            self.events.append(event)
            if event.verdict is TraceVerdict.DROP:
                self._finish(PathEnd.DROPPED)

    def _take_own(self, event: TraceEvent) -> None:
        is_ours = event.table == self.table
        is_start = event.kind is TraceKind.RULE and event.handle != 0
        if is_start and is_ours and not self.was_seen:
            self.was_seen = self._is_under_way = True
            self._number = event.packet
        elif is_start and (is_ours or event.packet == self._number):
            self._is_under_way = False
        elif self._is_under_way and is_ours and event.packet == self._number:
            is_end = event.kind is TraceKind.POLICY and event.chain in ENDS
            if is_end:
                self._finish(ENDS[event.chain])

    def _finish(self, end: PathEnd) -> None:
        self.end = end
        self._is_under_way = False
