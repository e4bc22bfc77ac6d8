"""Sets of headers as people and programs read them."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from calico.analysis.boxes import Region
from calico.analysis.space import every_header, icmp_of, without_fields
from calico.codec.json_text import Json
from calico.model.rule import Protocol
from calico.netset import Family, ProtocolSet, Ranges

NOT_DECIDED = "not decided"
"""What is shown where the bound on the work was reached."""

_LAST_PORT = 65535
_LAST_ICMP = 255


class Traffic(NamedTuple):
    """Headers of one protocol, or of several that have no fields.

    Attributes:
        protocol: Its name, `other` for those without fields.
        numbers: The protocols without fields; empty when it has a name.
        first: Source ports or ICMP types; empty for all of them.
        second: Destination ports or ICMP codes; empty for all of them.
    """

    protocol: str
    numbers: Ranges = ()
    first: Ranges = ()
    second: Ranges = ()


@cache
def traffic_in(region: Region, family: Family) -> tuple[Traffic, ...]:
    """Return what a set of headers consists of, protocol by protocol.

    Thousands of cells hold few different sets.
    """
    return tuple(_parts_of(region, family))


def _parts_of(region: Region, family: Family) -> Iterator[Traffic]:
    others = without_fields(family)
    for protocol in (Protocol.TCP, Protocol.UDP, Protocol.ICMP, Protocol.ICMPV6):
        number = protocol.number
        has_fields = protocol.has_ports or number in icmp_of(family)
        for protocols, first, second in region if has_fields else ():
            if number in ProtocolSet(protocols):
                last = _LAST_PORT if protocol.has_ports else _LAST_ICMP
                yield Traffic(
                    protocol.value,
                    (),
                    _unless_all(first, last),
                    _unless_all(second, last),
                )
    for protocols, *_ in region:
        numbers = ProtocolSet(protocols) & others
        if numbers:
            yield Traffic("other", numbers.ranges)


@cache
def describe(region: Region | None, family: Family) -> tuple[str, ...]:
    """Say in words what a set of headers is, a line for each part."""
    if region is None:
        return (NOT_DECIDED,)
    if region == every_header(family):
        return ("everything",)
    return tuple(_words(each, family) for each in traffic_in(region, family))


def encode_traffic(region: Region | None, family: Family) -> Json:
    """Write a set of headers as a list of objects; `null` when not decided."""
    if region is None:
        return None
    return [_encode(each) for each in traffic_in(region, family)]


def show_ranges(ranges: Ranges) -> str:
    """Spell numbers as rules spell ports."""
    return ",".join(_spelled(ranges))


def _spelled(ranges: Ranges) -> list[str]:
    return [str(a) if a == b else f"{a}:{b}" for a, b in ranges]


def _unless_all(ranges: Ranges, last: int) -> Ranges:
    return () if ranges == ((0, last),) else ranges


def _words(traffic: Traffic, family: Family) -> str:
    if traffic.protocol == "other":
        if traffic.numbers == without_fields(family).ranges:
            return "other protocols"
        return f"protocol {show_ranges(traffic.numbers)}"
    names = ("from ports", "to ports")
    if traffic.protocol in {Protocol.ICMP.value, Protocol.ICMPV6.value}:
        names = ("type", "code")
    words = [traffic.protocol]
    for name, ranges in zip(names, (traffic.first, traffic.second), strict=True):
        if ranges:
            words.append(f"{name} {show_ranges(ranges)}")
    return " ".join(words)


def _encode(traffic: Traffic) -> Json:
    found: dict[str, Json] = {"protocol": traffic.protocol}
    if traffic.numbers:
        found["numbers"] = list[Json](_spelled(traffic.numbers))
    is_icmp = traffic.protocol in {Protocol.ICMP.value, Protocol.ICMPV6.value}
    names = ("types", "codes") if is_icmp else ("source_ports", "destination_ports")
    for name, ranges in zip(names, (traffic.first, traffic.second), strict=True):
        if ranges:
            found[name] = list[Json](_spelled(ranges))
    return found
