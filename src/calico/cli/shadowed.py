"""`calicoctl reach --shadowed`: rules that can never decide anything."""

from collections.abc import Mapping, Sequence

from calico.analysis.shadow import Scope, Shadowed, find_shadows
from calico.analysis.space import header_of, icmp_of
from calico.analysis.witness import Witness
from calico.cli import output
from calico.cli.call import Call
from calico.cli.reach_places import unknown
from calico.cli.reach_view import compile_hosts
from calico.cli.refusal import Refused
from calico.codec.json_text import Json
from calico.codec.words import show_rule
from calico.compiler.rules import compile_profile
from calico.ir.origin import RuleOrigin
from calico.model.names import ProfileId
from calico.model.rule import ProfileRules, Protocol
from calico.model.snapshot import Snapshot, Undecodable
from calico.netset import Address
from calico.store.resources import read_snapshot

_DEPENDS_ON = {
    Scope.PROFILE: "wherever the profile is listed",
    Scope.LISTS: "in any list of profiles that an active endpoint has",
    Scope.TODAY: "for the endpoints that there are and the tags that they carry today",
}


def show(call: Call) -> int:
    """Show the rules that never decide, with what hides them and a packet."""
    snapshot = read_snapshot(call.store)
    profiles = _profiles(snapshot, call.optional_word("PROFILE"))
    states = compile_hosts(snapshot)
    answers = [
        find_shadows(compile_profile(name, rules), states)
        for name, rules in profiles.items()
    ]
    shadowed = [each for answer in answers for each in answer.shadowed]
    undecided = [each for answer in answers for each in answer.undecided]
    value: Json = {
        "revision": snapshot.revision,
        "shadowed": [_encode(each, profiles) for each in shadowed],
        "undecided": [_encode_rule(each, profiles) for each in undecided],
    }

    def text() -> None:
        for each in shadowed:
            _print(each, profiles)
        for origin in undecided:
            output.line(f"{origin.text}: not decided, it would take too many steps")
        if not shadowed and not undecided:
            output.line("Every rule decides some packet.")

    names = [f"{r.profile} {r.direction.value} {r.number}" for r in _rules(shadowed)]
    return call.show(value, names, text)


def _rules(shadowed: Sequence[Shadowed]) -> list[RuleOrigin]:
    return [each.rule for each in shadowed]


def _profiles(
    snapshot: Snapshot, wanted: str | None
) -> Mapping[ProfileId, ProfileRules]:
    """Return the rules of the profiles that are asked about, by name.

    Raises:
        Refused: There is no such profile, or its rules cannot be read.
    """
    rules = snapshot.rules
    readable = {
        name: each
        for name, each in sorted(rules.items())
        if isinstance(each, ProfileRules)
    }
    if wanted is None:
        return readable
    name = ProfileId(wanted)
    found = rules.get(name)
    if isinstance(found, Undecodable):
        raise Refused(f"The rules of profile {name} cannot be read: {found.reason}.")
    known = {*rules, *snapshot.tags, *snapshot.labels}
    if name not in known:
        raise unknown("profile", wanted, known)
    return {name: readable[name]} if name in readable else {}


def _print(each: Shadowed, profiles: Mapping[ProfileId, ProfileRules]) -> None:
    output.line(f"{each.rule.text}: {_words(each.rule, profiles)}")
    output.line(f"  never decides, {_DEPENDS_ON[each.scope]}")
    if each.witness is None:
        reasons = (
            "; ".join(dict.fromkeys(each.reasons))
            or "no endpoint with the list, or no member of a tag, fits"
        )
        output.line(f"  it matches nothing: {reasons}")
        return
    output.line(f"  hidden by {', '.join(origin.text for origin in each.hidden_by)}")
    output.line(f"  for example {_packet_words(each.witness)}")
    outcome = "allowed" if each.witness.is_allowed else "denied"
    output.line(f"  it is {outcome} by {each.witness.decided_by.text}")


def _words(rule: RuleOrigin, profiles: Mapping[ProfileId, ProfileRules]) -> str:
    return show_rule(profiles[rule.profile].of(rule.direction)[rule.number - 1])


def _packet_words(witness: Witness) -> str:
    packet = witness.packet
    protocol, first, second = header_of(packet)
    names = {each.number: each for each in Protocol}
    known = names.get(protocol)
    source = _tagged(packet.source, witness.source_tags)
    destination = _tagged(packet.destination, witness.destination_tags)
    if known is not None and known.has_ports:
        ends = f"from {source} port {first} to {destination} port {second}"
        return f"{known.value} {ends}"
    header = f"protocol {protocol}"
    if known is not None and protocol in icmp_of(packet.family):
        header = f"{known.value} type {first} code {second}"
    return f"{header} from {source} to {destination}"


def _tagged(address: Address, tags: Sequence[str]) -> str:
    return f"{address} with tag {', '.join(tags)}" if tags else str(address)


def _encode_rule(
    rule: RuleOrigin, profiles: Mapping[ProfileId, ProfileRules]
) -> dict[str, Json]:
    return {
        "profile": rule.profile,
        "direction": rule.direction.value,
        "number": rule.number,
        "words": _words(rule, profiles),
    }


def _encode(each: Shadowed, profiles: Mapping[ProfileId, ProfileRules]) -> Json:
    return {
        **_encode_rule(each.rule, profiles),
        "depends_on": each.scope.value,
        "hidden_by": [origin.text for origin in each.hidden_by],
        "reasons": list[Json](dict.fromkeys(each.reasons)),
        "witness": None if each.witness is None else _encode_witness(each.witness),
    }


def _encode_witness(witness: Witness) -> Json:
    packet = witness.packet
    return {
        "source": str(packet.source),
        "source_tags": list[Json](witness.source_tags),
        "destination": str(packet.destination),
        "destination_tags": list[Json](witness.destination_tags),
        "protocol": packet.protocol,
        "source_port": packet.source_port,
        "destination_port": packet.destination_port,
        "icmp_type": packet.icmp_type,
        "icmp_code": packet.icmp_code,
        "decided_by": witness.decided_by.text,
        "is_allowed": witness.is_allowed,
    }
