"""Ask with a real packet whether one place of a lab reaches another.

A probe is one attempt from one namespace to one address of another: a TCP
connection, a UDP datagram and its answer, or an echo request and its reply.
What answers TCP and UDP is started for the time of the probe. Policy drops in
silence, so silence until the deadline means denied; anything else that is no
answer (no route, connection refused) is a fault of the set-up and is told
apart. Silence can have other causes, too: whoever must be sure sends a control
probe that policy never denies, such as from a workload's own host.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from typing import assert_never

from calico.lab import entry
from calico.lab.errors import LabError
from calico.lab.network import run_ip
from calico.lab.plan import OUTSIDE, OUTSIDE_IPV4, OUTSIDE_IPV6, namespace_path
from calico.lab.register import Lab
from calico.model.rule import Protocol
from calico.netset import Address, Family, family_of
from calico.probe import values
from calico.probe.exchange import Exchange, Sending
from calico.probe.values import Place, Reply

DEADLINE_S = 1.0
"""How long a probe waits for an answer. A veth answers within a millisecond."""


class Verdict(Enum):
    """What became of a probe; the value is the word for it."""

    ALLOWED = "allowed"
    DENIED = "denied"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Probe:
    """One question.

    Attributes:
        source: The host or workload that asks, or `outside`.
        destination: The one that is asked.
        protocol: What is sent.
        port: For TCP and UDP, else `None`.
        family: Which of the destination's addresses is asked.
    """

    source: str
    destination: str
    protocol: Protocol
    port: int | None
    family: Family


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer.

    Attributes:
        probe: The question.
        address: Which address was asked.
        verdict: The answer.
        detail: What is broken, if anything is.
    """

    probe: Probe
    address: Address
    verdict: Verdict
    detail: str = ""


def families_of(protocol: Protocol) -> tuple[Family, ...]:
    """List the address families in which `protocol` can be sent."""
    match protocol:
        case Protocol.TCP | Protocol.UDP:
            return (Family.V4, Family.V6)
        case Protocol.ICMP:
            return (Family.V4,)
        case Protocol.ICMPV6:
            return (Family.V6,)
        case _:
            assert_never(protocol)


def read_addresses(lab: Lab, place: str) -> tuple[Address, ...]:
    """Read which addresses a host, a workload or the outside answers at.

    Raises:
        NoSuchPlace: The lab has nothing of this name.
    """
    if place == OUTSIDE:
        return (OUTSIDE_IPV4, OUTSIDE_IPV6)
    for host in lab.hosts:
        if host.name == place:
            return (host.ipv4, host.ipv6)
    entry.look_up(lab, place)
    text = entry.call(lab, None, lambda: run_ip(place, [_SHOW], "-json"))
    return tuple(
        ip_address(facts["local"])
        for link in json.loads(text)
        for facts in link.get("addr_info", ())
        # iproute2 6.1 prints `{}` in place of an address that the scope excludes.
        if "local" in facts
    )


_SHOW = "address show scope global"


def shared_families(lab: Lab, places: Sequence[str]) -> tuple[Family, ...]:
    """List the address families of which every one of `places` has an address.

    Raises:
        NoSuchPlace: The lab has nothing of one of these names.
    """
    had = [{family_of(each) for each in read_addresses(lab, at)} for at in places]
    return tuple(each for each in Family if all(each in some for some in had))


def run_probes(
    lab: Lab, probes: Sequence[Probe], deadline_s: float = DEADLINE_S
) -> list[Outcome]:
    """Send all probes at once and collect the answers, in the same order.

    Args:
        lab: Where.
        probes: The questions.
        deadline_s: How long silence is listened to; that long this takes
            when anything is denied.

    Raises:
        NoSuchPlace: A source or destination does not exist.
        LabError: A destination has no address of the family, or a port that
            a probe needs is in use there.
    """
    places = {place for probe in probes for place in (probe.source, probe.destination)}
    addresses = {place: read_addresses(lab, place) for place in sorted(places)}
    attempts = [_plan(probe, addresses) for probe in probes]
    sent = entry.call(lab, None, lambda: _send(attempts, deadline_s))
    return [
        Outcome(probe, each.probe.address, _judge(each), each.fault)
        for probe, each in zip(probes, sent, strict=True)
    ]


def _send(attempts: Sequence[values.Probe], deadline_s: float) -> list[Sending]:
    """Make all attempts at once and wait for their answers. Runs inside the lab.

    Raises:
        LabError: A UDP port that an attempt needs is in use.
    """
    with closing(Exchange()) as exchange:
        sent = [exchange.prepare(each) for each in attempts]
        for each in sent:
            if not each.is_answerable:
                raise _port_in_use(each.probe)
        for each in sent:
            exchange.speak(each)
        exchange.wait(deadline_s, lambda: all(each.is_settled for each in sent))
    return sent


def _port_in_use(attempt: values.Probe) -> LabError:
    name = Path(str(attempt.destination)).name
    what = f"{attempt.protocol.value} port {attempt.port} of `{name}`"
    return LabError(what, "a probe cannot answer there: the port is in use")


def _plan(probe: Probe, addresses: dict[str, tuple[Address, ...]]) -> values.Probe:
    if probe.source == probe.destination:
        reason = "a packet to oneself never leaves, so no policy sees it"
        raise LabError(f"probe from `{probe.source}` to itself", reason)
    own, other = (
        _pick(place, addresses[place], probe.family)
        for place in (probe.source, probe.destination)
    )
    return values.Probe(
        source=Place(str(namespace_path(probe.source))),
        destination=Place(str(namespace_path(probe.destination))),
        address=other,
        protocol=probe.protocol,
        port=probe.port or 0,
        # A workload speaks from whatever address it likes; the outside has
        # one address and several links.
        source_address=own if probe.source == OUTSIDE else None,
    )


def _pick(place: str, addresses: Sequence[Address], family: Family) -> Address:
    for address in addresses:
        if family_of(address) is family:
            return address
    reason = f"has no IPv{family.value} address"
    command = f"calicoctl container /run/netns/{place} ip add ipv{family.value}"
    raise LabError(f"`{place}`", reason, (f"`{command}` in the lab gives it one",))


def _judge(sending: Sending) -> Verdict:
    if sending.fault:
        return Verdict.BROKEN
    return Verdict.ALLOWED if sending.reply is Reply.ANSWERED else Verdict.DENIED
