"""End established flows that policy now denies, and those of addresses that went.

Only flows of the addresses concerned are looked at, and a few thousand at a
time: whoever walks through a large table can do other work between two pieces,
and each piece is judged by what policy is then.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

from calico.agent.flows import report_cut, to_be_judged
from calico.agent.suspects import Suspects
from calico.control.cuts import CutFlow
from calico.ir.state import DesiredState
from calico.linux.conntrack import Conntrack
from calico.linux.conntrack_wire import Flow
from calico.linux.host_links import RouteSocket
from calico.netset import Address, Network
from calico.verdict.cut import FlowJudge


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk through connection tracking that is under way.

    Attributes:
        suspects: Whose flows it is for.
        pieces: What is still to be looked at.
    """

    suspects: Suspects
    pieces: Iterator[tuple[Flow, ...]]


@dataclass(frozen=True, slots=True)
class _OwnAddresses:
    """The host's own addresses.

    Attributes:
        singles: One by one.
        networks: Of these all.
    """

    singles: frozenset[Address]
    networks: tuple[Network, ...]

    def __contains__(self, address: object) -> bool:
        return address in self.singles or any(
            address in network for network in self.networks
        )


class FlowCutter:
    """Look through connection tracking after a change that can deny.

    Args:
        conntrack: Reads and deletes flows.
        routes: Knows the host's own addresses.
        report: Is told which flows are about to be cut, and by which rules.
    """

    def __init__(
        self,
        conntrack: Conntrack,
        routes: RouteSocket,
        report: Callable[[Sequence[CutFlow]], None],
    ) -> None:
        self._conntrack = conntrack
        self._routes = routes
        self._report = report
        self._judge: FlowJudge | None = None
        self._judges_by: tuple[DesiredState, _OwnAddresses] | None = None

    def begin(self, suspects: Suspects) -> Walk:
        """Begin to walk; a walk before this one comes to nothing.

        Args:
            suspects: Whose flows a change may have denied.
        """
        packed = suspects.judged | suspects.gone
        addresses = frozenset(ip_address(each) for each in packed)
        return Walk(suspects, self._conntrack.walk(addresses))

    def go_on(self, walk: Walk, state: DesiredState) -> bool:
        """Look at the next piece, and delete what is denied.

        Flows of addresses that went are deleted in any case, and told only if
        policy denies them too.

        Args:
            walk: As begun last.
            state: What policy is now.

        Returns:
            Whether there may be more.

        Raises:
            Unavailable: The kernel breaks off.
            KernelRejected: We may not.
        """
        piece = next(walk.pieces, None)
        if piece is None:
            self._judge = self._judges_by = None
            return False
        if piece:
            self._cut(piece, walk.suspects, state)
        return True

    def _cut(
        self, flows: Sequence[Flow], suspects: Suspects, state: DesiredState
    ) -> None:
        judge = self._judge_by(state)
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        gone = suspects.gone
        doomed: list[Flow] = []
        cuts: list[CutFlow] = []
        for flow in flows:
            denial = judge.find_denial(to_be_judged(flow))
            if denial is not None:
                cuts.append(report_cut(flow, denial, at))
            if denial is not None or (gone and not gone.isdisjoint(_ends(flow))):
                doomed.append(flow)
        # First, so that whatever ends us in between leaves one report too many
        # and none too few: the next agent judges all flows again.
        self._report(cuts)
        self._conntrack.delete(doomed)

    def _judge_by(self, state: DesiredState) -> FlowJudge:
        """Return a judge who knows what is the host's own now.

        After the flows have been read, and anew each time: an address that came
        a moment ago has flows already, and to take it for another host's would
        cut them.
        """
        by = (state, self._read_own_addresses())
        before = self._judges_by
        if self._judge is None or before is None:
            is_same = False
        else:
            is_same = before[0] is state and before[1] == by[1]
        if self._judge is None or not is_same:
            self._judge, self._judges_by = FlowJudge(*by), by
        return self._judge

    def _read_own_addresses(self) -> _OwnAddresses:
        singles = {address for address, _ in self._routes.list_addresses()}
        networks: list[Network] = []
        for each in self._routes.list_own_networks():
            if each.prefixlen < each.max_prefixlen:
                networks.append(each)
            else:
                singles.add(each.network_address)
        return _OwnAddresses(frozenset(singles), tuple(networks))


def _ends(flow: Flow) -> tuple[bytes, bytes]:
    return flow.original.source.packed, flow.reply.source.packed
