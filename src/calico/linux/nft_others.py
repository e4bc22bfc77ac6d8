"""Find other programs' chains that may drop what we allow.

An accept ends our judgement only; a base chain of another table, at the same
hook or at input, still sees the packet. Only reading: such chains are reported
and never touched. What iptables writes through nf_tables is seen; the older
kind (iptables-legacy) has tables of its own in the kernel, listed in
/proc/net/ip_tables_names, which are not looked into.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from calico.linux.netfilter import (
    NetlinkSocket,
    attributes,
    read_be32,
    read_string,
)
from calico.linux.nft_codec import generic_header
from calico.linux.nft_forms import HookForm, read_verdict
from calico.linux.nft_read import read_hook, undisturbed
from calico.linux.nft_sets import dump_elements
from calico.linux.nft_wire import (
    EXPRESSION_DATA,
    EXPRESSION_NAME,
    FAMILY_INET,
    IMMEDIATE_DATA,
    LOOKUP_DREG,
    LOOKUP_SET,
    SUBSYSTEM,
    VERDICT_DROP,
    VERDICT_GOTO,
    VERDICT_JUMP,
    VERDICT_QUEUE,
    ChainAttr,
    Data,
    ElementAttr,
    Msg,
    RuleAttr,
)

_FAMILIES = {FAMILY_INET: "inet", 2: "ip", 10: "ip6"}
_INPUT, _FORWARD = 1, 2
_POINTS = {_INPUT: "input", _FORWARD: "forward"}

_CODE_MASK = 0xFF

# Extensions of iptables that let every packet go on.
_HARMLESS_TARGETS = frozenset(
    {"CONNMARK", "CT", "DNAT", "LOG", "MARK", "MASQUERADE", "NFLOG", "REDIRECT"}
) | {"RETURN", "SNAT", "TCPMSS", "TRACE"}
_TARGET_NAME = 1
_ACCEPT_POLICY = 1

_Place = tuple[int, str, str]
"""Family, table and chain."""


@dataclass(frozen=True, slots=True)
class OtherChain:
    """A base chain of another program that may drop packets.

    Attributes:
        family: `ip`, `ip6` or `inet`.
        table: Its table.
        name: Its name.
        point: `forward` or `input`.
        priority: Lower runs first; ours are at 0 and 1.
        reasons: What in it may drop, shortest first.
    """

    family: str
    table: str
    name: str
    point: str
    priority: int
    reasons: tuple[str, ...]


@dataclass(slots=True)
class _Chain:
    hook: HookForm | None
    accepts: bool
    reasons: set[str] = field(default_factory=set[str])
    targets: set[str] = field(default_factory=set[str])


def read_other_chains(netlink: NetlinkSocket, table: str) -> tuple[OtherChain, ...]:
    """Find the base chains of all tables but one that may drop packets.

    Args:
        netlink: The socket.
        table: Our table, of the inet family.

    Raises:
        Unavailable: They change faster than they can be read.
    """
    return undisturbed(lambda: _read(netlink, (FAMILY_INET, table)))


def _read(netlink: NetlinkSocket, ours: tuple[int, str]) -> tuple[OtherChain, ...]:
    chains: dict[_Place, _Chain] = {}
    for family, found in _dump(netlink, Msg.GETCHAIN):
        place = _place(family, found, ChainAttr.NAME)
        if family in _FAMILIES and place[:2] != ours:
            policy = read_be32(found.get(ChainAttr.POLICY, b"\0\0\0\1"))
            chains[place] = _Chain(read_hook(found), policy == _ACCEPT_POLICY)
    maps: dict[_Place, set[str]] = {}
    for family, found in list(_dump(netlink, Msg.GETRULE)):
        place = _place(family, found, RuleAttr.CHAIN)
        if place in chains:
            _read_rule(found, place, chains[place], maps)
    for (family, owner, name), users in maps.items():
        for elements in dump_elements(netlink, owner, name, family):
            for user in users:
                _read_map(elements, chains[family, owner, user])
    return tuple(_reported(chains))


def _dump(netlink: NetlinkSocket, kind: Msg) -> Iterator[tuple[int, dict[int, bytes]]]:
    head = generic_header(0)
    for answer in netlink.dump(SUBSYSTEM | kind, head):
        yield answer[0], dict(attributes(answer[len(head) :]))


def _place(family: int, found: Mapping[int, bytes], kind: int) -> _Place:
    return family, read_string(found[1]), read_string(found[kind])


def _read_rule(
    rule: Mapping[int, bytes],
    place: _Place,
    chain: _Chain,
    maps: dict[_Place, set[str]],
) -> None:
    for _, raw in attributes(rule.get(RuleAttr.EXPRESSIONS, b"")):
        parts = dict(attributes(raw))
        name = read_string(parts.get(EXPRESSION_NAME, b""))
        found = dict(attributes(parts.get(EXPRESSION_DATA, b"")))
        match name:
            case "immediate":
                _read_verdict(found.get(IMMEDIATE_DATA, b""), chain)
            case "lookup" if found.get(LOOKUP_DREG) == bytes(4):
                key = (*place[:2], read_string(found[LOOKUP_SET]))
                maps.setdefault(key, set()).add(place[2])
            case "reject" | "queue" | "synproxy" | "tproxy":
                chain.reasons.add(name)
            case "target":
                target = read_string(found.get(_TARGET_NAME, b""))
                if target not in _HARMLESS_TARGETS:
                    chain.reasons.add(f"target {target}")
            case _:
                pass


def _read_map(elements: bytes, chain: _Chain) -> None:
    for _, element in attributes(elements):
        _read_verdict(dict(attributes(element)).get(ElementAttr.DATA, b""), chain)


def _read_verdict(payload: bytes, chain: _Chain) -> None:
    content = dict(attributes(payload))
    if Data.VERDICT not in content:
        return
    code, target = read_verdict(content[Data.VERDICT])
    if code in {VERDICT_JUMP, VERDICT_GOTO} and target is not None:
        chain.targets.add(target)
    elif code == VERDICT_DROP:
        chain.reasons.add("drop")
    elif code > 0 and code & _CODE_MASK == VERDICT_QUEUE:
        chain.reasons.add("queue")


def _reported(chains: Mapping[_Place, _Chain]) -> Iterator[OtherChain]:
    for place, chain in chains.items():
        if chain.hook is None or chain.hook.point not in _POINTS:
            continue
        reasons = _reachable_reasons(place, chains)
        if not chain.accepts:
            reasons.add("policy drop")
        if reasons:
            family, table, name = place
            yield OtherChain(
                _FAMILIES[family],
                table,
                name,
                _POINTS[chain.hook.point],
                chain.hook.priority,
                tuple(sorted(reasons, key=lambda text: (len(text), text))),
            )


def _reachable_reasons(start: _Place, chains: Mapping[_Place, _Chain]) -> set[str]:
    """Gather what may drop in a chain and in all that it leads to."""
    reasons: set[str] = set()
    seen: set[_Place] = set()
    open_places = [start]
    while open_places:
        place = open_places.pop()
        if place in seen or place not in chains:
            continue
        seen.add(place)
        reasons |= chains[place].reasons
        open_places.extend((*place[:2], name) for name in chains[place].targets)
    return reasons
