"""End established flows that policy now denies, and those of addresses that went.

Only flows of the addresses concerned are looked at. The kernel finds those of
an address without handing out the others, but walks its whole table for it, so
with more than a few addresses everything is read once instead.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address

from calico.agent.flows import describe_flow, to_be_judged
from calico.agent.suspects import Suspects
from calico.control.protocol import Cut
from calico.ir.state import DesiredState, PackedAddress
from calico.linux.conntrack import Conntrack
from calico.linux.conntrack_wire import Flow
from calico.linux.host_links import RouteSocket
from calico.netset import Address
from calico.verdict.cut import FlowJudge

_MAX_ASKED_ONE_BY_ONE = 4


class FlowCutter:
    """Look through connection tracking after a change that can deny.

    Args:
        conntrack: Reads and deletes flows.
        routes: Knows the host's own addresses.
    """

    def __init__(self, conntrack: Conntrack, routes: RouteSocket) -> None:
        self._conntrack = conntrack
        self._routes = routes

    def cut(self, state: DesiredState, suspects: Suspects) -> tuple[Cut, ...]:
        """Delete what is denied.

        Args:
            state: What policy is now.
            suspects: Whose flows a change may have denied.

        Returns:
            The flows that were cut and the rules that deny them; flows of
            addresses that went are not told.

        Raises:
            Unavailable: The kernel breaks off.
            KernelRejected: We may not.
        """
        gone = _addresses(suspects.gone)
        judged = _addresses(suspects.judged)
        flows = self._read(gone | judged)
        if not flows:
            return ()
        judge = FlowJudge(state, self._own_addresses(flows))
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        doomed: list[Flow] = []
        cuts: list[Cut] = []
        for flow in flows:
            if gone and not gone.isdisjoint(_ends(flow)):
                doomed.append(flow)
            elif (denial := judge.find_denial(to_be_judged(flow))) is not None:
                doomed.append(flow)
                cuts.append(Cut(at, describe_flow(flow), denial.origin.text))
        self._conntrack.delete(doomed)
        return tuple(cuts)

    def _own_addresses(self, flows: Sequence[Flow]) -> frozenset[Address]:
        """Find out which addresses are the host's own, those of some flows at least.

        After the flows, and anew each time: an address that came a moment ago
        has flows already, and to take it for another host's would cut them.
        """
        own = {address for address, _ in self._routes.list_addresses()}
        others = {address for flow in flows for address in _ends(flow)} - own
        networks = [
            each
            for each in self._routes.list_own_networks()
            if each.prefixlen < each.max_prefixlen or each.network_address in others
        ]
        return frozenset(own) | {
            address
            for address in others
            if any(address in network for network in networks)
        }

    def _read(self, addresses: frozenset[Address]) -> list[Flow]:
        if len(addresses) > _MAX_ASKED_ONE_BY_ONE:
            return [
                flow
                for flow in self._conntrack.read_flows()
                if flow.original.source in addresses or flow.reply.source in addresses
            ]
        found: dict[int, Flow] = {}
        for address in addresses:
            for flow in self._conntrack.read_flows_of(address):
                found[flow.flow_id] = flow
        return list(found.values())


def _addresses(packed: Iterable[PackedAddress]) -> frozenset[Address]:
    return frozenset(ip_address(each) for each in packed)


def _ends(flow: Flow) -> tuple[Address, Address]:
    return flow.original.source, flow.reply.source
