"""Send one probe and follow it, on the wire and through the kernel.

The packet is followed in the namespace of one host, whose table is the agent's:
that of this process, unless another is named. What is dropped there is known
at once and not waited for; the time given is for what cannot be seen there.

Nothing stays behind: sockets are closed, the table that traces is taken out,
and what connection tracking remembers of the flow is deleted, in every
namespace concerned. It is deleted before, too, so that the probe is a new
packet even where its ports have been used a moment ago.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing

from calico.linux.conntrack import Conntrack
from calico.linux.conntrack_wire import Flow
from calico.linux.nft_path import KernelPath, PathEnd
from calico.linux.nft_tracer import Tracer
from calico.linux.rtmessage import Kind, Message, address_family
from calico.linux.rtnetlink import Netlink
from calico.model.rule import Protocol
from calico.netset import Address
from calico.probe.errors import AddressMissing
from calico.probe.exchange import Exchange, Sending
from calico.probe.values import HERE, Arrival, Place, Probe, ProbeResult, Reply

_GRACE_S = 2.0
"""What is left to come once a first thing has: a veth takes microseconds."""

_N_TRIES = 3
_SCOPE_HOST = 254


def run_probe(
    probe: Probe, deadline_s: float = 5.0, *, host: Place = HERE, table: str = "calico"
) -> ProbeResult:
    """Send a probe and say what became of it.

    Args:
        probe: What to send, and from where to where.
        deadline_s: The longest to wait. A denied probe takes milliseconds, an
            allowed one too when it is answered.
        host: Where the agent's table is.
        table: The agent's table, of the inet family.

    Raises:
        InvalidResource: There is no such packet.
        NotPermitted: This process may not send it, or not follow it; nothing
            has changed.
        NamespaceMissing: A place is no network namespace (any more).
        AddressMissing: The source has no address of the family, or a place
            lacks the one that was named.
        PortInUse: The source port is taken.
        KernelRejected: The kernel refused the trace.
        Unavailable: The kernel has no nf_tables, or does not answer.
    """
    probe.verify()
    with closing(Exchange()) as exchange:
        tracer = exchange.call(host, lambda: Tracer(table))
        with closing(tracer):
            sending = exchange.prepare(probe)
            if sending.flow is None:
                return _unsent(exchange, sending)
            if probe.destination is not None:
                exchange.observe(sending, probe.destination)
            places = {host, probe.source, probe.destination or host}
            _forget(exchange, sending, places)
            with ExitStack() as stack:
                # In the other order: nothing is sent any more, and then nothing
                # is remembered.
                stack.callback(_forget, exchange, sending, places)
                stack.callback(tracer.stop)
                stack.callback(exchange.close_sockets)
                tracer.start(sending.flow, probe.protocol.number)
                _follow(exchange, tracer, sending, deadline_s)
            return _result(sending, tracer)


def _unsent(exchange: Exchange, sending: Sending) -> ProbeResult:
    """Say why nothing could be sent."""
    probe = sending.probe
    if not exchange.call(probe.source, lambda: _has_address(probe.address)):
        raise AddressMissing(str(probe.source), probe.family)
    return ProbeResult(probe, None, Arrival.MISSING, sending.reply, sending.fault)


def _has_address(example: Address) -> bool:
    """Tell whether this namespace has an address of the family to speak from."""
    with Netlink() as netlink:
        fields = {"family": address_family(example), "index": 0}
        found = netlink.dump(Message(Kind.GETADDR, fields))
        return any(each.fields["scope"] != _SCOPE_HOST for each in found)


def _follow(
    exchange: Exchange, tracer: Tracer, sending: Sending, deadline_s: float
) -> None:
    """Send a prepared probe and wait until its fate is known."""
    exchange.watch(tracer.fileno(), tracer.read)
    exchange.speak(sending)
    left_s = exchange.wait(deadline_s, lambda: _has_begun_to_end(sending, tracer))
    exchange.wait(min(_GRACE_S, left_s), lambda: _has_ended(sending, tracer))


def _has_begun_to_end(sending: Sending, tracer: Tracer) -> bool:
    return tracer.has_ended or sending.has_arrived or sending.is_settled


def _has_ended(sending: Sending, tracer: Tracer) -> bool:
    if not tracer.has_ended:
        # An error came back from where no hook is, such as from routing.
        return bool(sending.fault) and sending.reply is Reply.NONE
    if tracer.was_dropped:
        return True
    # After translation of its source, the packet is not known to the observer.
    is_there = sending.has_arrived or sending.reply is Reply.ANSWERED
    if sending.probe.destination is not None and not is_there:
        return False
    return sending.is_settled or not sending.is_answerable


def _forget(exchange: Exchange, sending: Sending, places: set[Place]) -> None:
    """Have connection tracking forget the flow."""
    for place in places:
        with closing(exchange.call(place, Conntrack)) as conntrack:
            # A packet still under way may make it known again.
            for _ in range(_N_TRIES):
                flows = list(_flows_of(conntrack, sending))
                if not flows:
                    break
                conntrack.delete(flows)


def _flows_of(conntrack: Conntrack, sending: Sending) -> Iterator[Flow]:
    wanted, number = sending.flow, sending.probe.protocol.number
    if wanted is None:
        return
    for flow in conntrack.read_flows_of(wanted.source):
        if flow.protocol == number and wanted in {flow.original, flow.reply}:
            yield flow


def _result(sending: Sending, tracer: Tracer) -> ProbeResult:
    path = tracer.path()
    arrival = _arrival(sending, path)
    return ProbeResult(
        probe=sending.probe,
        flow=sending.flow,
        arrival=arrival,
        reply=sending.reply,
        fault=sending.fault,
        path=path,
        limits=(*tracer.limits, *_limits(sending, path, arrival)),
    )


def _arrival(sending: Sending, path: KernelPath | None) -> Arrival:
    if sending.has_arrived or _is_proof(sending, path):
        return Arrival.ARRIVED
    is_gone = path is not None and path.end in {PathEnd.DROPPED, PathEnd.LOST}
    if is_gone or sending.probe.destination is not None:
        return Arrival.MISSING
    if sending.reply is Reply.REFUSED:
        return Arrival.ARRIVED
    return Arrival.MISSING if sending.fault else Arrival.UNOBSERVED


def _is_proof(sending: Sending, path: KernelPath | None) -> bool:
    """Tell whether an answer alone shows that the packet arrived.

    Where this host itself took a packet for somewhere else, it answered.
    """
    if sending.reply is not Reply.ANSWERED:
        return False
    is_kept = path is not None and path.end is PathEnd.DELIVERED
    return sending.probe.destination is None or not is_kept


def _limits(
    sending: Sending, path: KernelPath | None, arrival: Arrival
) -> Iterator[str]:
    probe = sending.probe
    if path is None:
        yield "the packet did not come by the hooks of the host"
    else:
        yield from _limits_of_path(path, arrival)
    if arrival is Arrival.UNOBSERVED:
        yield "what happens beyond this host cannot be observed"
    is_mute = probe.protocol is Protocol.UDP and not sending.is_answerable
    if arrival is Arrival.ARRIVED and is_mute:
        yield f"port {probe.port} is in use there: no answer was awaited"


def _limits_of_path(path: KernelPath, arrival: Arrival) -> Iterator[str]:
    match path.end:
        case PathEnd.LOST:
            yield (
                "the packet was not seen any more behind hook"
                f" {path.chains[-1].point if path.chains else 'prerouting'}: routing,"
                " the reverse path filter or iptables-legacy may have dropped it"
            )
        case PathEnd.HELD:
            yield f"chain {path.chains[-1].name} handed the packet to a program"
        case PathEnd.LEFT | PathEnd.DELIVERED if arrival is Arrival.MISSING:
            yield f"the packet {path.end.value}, and its destination did not see it"
        case _:
            pass
    if path.allowed is None:
        yield "the agent's table did not come to judge the packet"
