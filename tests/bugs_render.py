"""Bugs of the renderer: what is meant is printed wrongly.

Rules are found by what they mean, not by where they stand.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from planting import Bug, Function, first_argument, result, second_argument

from calico.ir.match import CompiledRule
from calico.ir.origin import Fixed
from calico.ir.state import LocalEndpoint, Pipeline
from calico.model.rule import Direction
from calico.netset import AddressSet, Family, ProtocolSet
from calico.render.objects import (
    Chain,
    Compare,
    Count,
    CtState,
    CtStateIs,
    Field,
    InRanges,
    InSet,
    NftRule,
    Ruleset,
    SetSpec,
    Statement,
    Verdict,
    VerdictKind,
)
from calico.render.transaction import AddRule, FlushChain, Step

Rules = tuple[NftRule, ...]
ACCEPT, DROP = Verdict(VerdictKind.ACCEPT), Verdict(VerdictKind.DROP)
RETURN = Verdict(VerdictKind.RETURN)
SIDES = (
    (Field.SOURCE_PORT, Field.DESTINATION_PORT),
    (Field.IP4_SOURCE, Field.IP4_DESTINATION),
    (Field.IP6_SOURCE, Field.IP6_DESTINATION),
)
SWAPPED = dict(SIDES) | {destination: source for source, destination in SIDES}
PORTS = {Field.SOURCE_PORT, Field.DESTINATION_PORT}


def in_tables(change: Callable[[Ruleset], Ruleset]) -> Callable[[Function], Function]:
    """Change every table, and every part of one, as the renderer gives it away."""
    return result(change)


def chains(
    prefix: str, change: Callable[[Rules], Rules]
) -> Callable[[Ruleset], Ruleset]:
    """Change the rules of the chains whose name starts so."""

    def changed(ruleset: Ruleset) -> Ruleset:
        made = {
            name: replace(chain, rules=change(chain.rules))
            if name.startswith(prefix)
            else chain
            for name, chain in ruleset.chains.items()
        }
        return replace(ruleset, chains=made)

    return changed


def profiles(change: Callable[[NftRule], NftRule]) -> Callable[[Ruleset], Ruleset]:
    """Change every rule of every profile."""
    return chains("profile-", lambda rules: tuple(map(change, rules)))


def statements(
    change: Callable[[Statement], Statement | None],
) -> Callable[[Ruleset], Ruleset]:
    """Change every statement in every rule of every profile; `None` forgets it."""

    def changed(rule: NftRule) -> NftRule:
        made = tuple(change(each) for each in rule.statements)
        return replace(rule, statements=tuple(each for each in made if each))

    return profiles(changed)


def forget(*kinds: type) -> Callable[[Ruleset], Ruleset]:
    return statements(lambda each: None if type(each) in kinds else each)


def without(place: str) -> Callable[[Rules], Rules]:
    """Leave out the rules whose comment begins so."""
    return lambda rules: tuple(r for r in rules if not r.comment.startswith(place))


def is_counted(rule: NftRule) -> bool:
    return Count() in rule.statements


def swap_first_two(rules: Rules) -> Rules:
    counted = [index for index, rule in enumerate(rules) if is_counted(rule)]
    swapped = list(rules)
    if len(counted) > 1:
        one, two = counted[:2]
        swapped[one], swapped[two] = rules[two], rules[one]
    return tuple(swapped)


def forget_first(rules: Rules) -> Rules:
    first = next((rule for rule in rules if is_counted(rule)), None)
    return tuple(rule for rule in rules if rule is not first)


def forget_last(rules: Rules) -> Rules:
    last = next((rule for rule in reversed(rules) if is_counted(rule)), None)
    return tuple(rule for rule in rules if rule is not last)


def keep_first_jump(rules: Rules) -> Rules:
    jumps = [r for r in rules for s in r.statements if is_jump(s)]
    return tuple(rule for rule in rules if rule not in jumps[1:])


def is_jump(each: Statement) -> bool:
    return isinstance(each, Verdict) and each.kind is VerdictKind.JUMP


def swap_sides(kind: type) -> Callable[[Statement], Statement]:
    def changed(each: Statement) -> Statement:
        match each:
            case InRanges(look_at=field) | Compare(look_at=field) if (
                type(each) is kind and field in SWAPPED
            ):
                return replace(each, look_at=SWAPPED[field])
            case InSet() if kind is InSet:
                fields = tuple(SWAPPED[field] for field in each.look_at)
                return replace(each, look_at=fields)
            case _:
                return each

    return changed


def shorten_ranges(each: Statement) -> Statement:
    match each:
        case InRanges(look_at=field) if field in PORTS:
            shorter = tuple((a, max(a, b - 1)) for a, b in each.ranges)
            return replace(each, ranges=shorter)
        case _:
            return each


def forget_mask(each: Statement) -> Statement:
    return replace(each, mask=None) if isinstance(each, Compare) else each


def forget_field(*fields: Field) -> Callable[[Statement], Statement | None]:
    def changed(each: Statement) -> Statement | None:
        is_it = isinstance(each, Compare) and each.look_at in fields
        return None if is_it else each

    return changed


def say_instead(old: Verdict, new: Verdict) -> Callable[[Statement], Statement]:
    return lambda each: new if each == old else each


def forget_name(rule: NftRule) -> NftRule:
    return replace(rule, comment="")


def confuse_families(ruleset: Ruleset) -> Ruleset:
    """Put what the lists of IPv6 say where those of IPv4 are, and back."""
    made: dict[str, Chain] = dict(ruleset.chains)
    for name, chain in ruleset.chains.items():
        if name.startswith("inbound4"):
            other = ruleset.chains[name.replace("4", "6")]
            made[name] = replace(chain, rules=other.rules)
    return replace(ruleset, chains=made)


def without_members(start: str) -> Callable[[Ruleset], Ruleset]:
    """Leave the plain sets empty whose name starts so."""

    def changed(ruleset: Ruleset) -> Ruleset:
        kept = {k: m for k, m in ruleset.members.items() if not k.startswith(start)}
        return replace(ruleset, members=kept)

    return changed


def without_elements(name: str) -> Callable[[Ruleset], Ruleset]:
    """Leave a verdict map empty."""

    def changed(ruleset: Ruleset) -> Ruleset:
        kept = {k: m for k, m in ruleset.elements.items() if k != name}
        return replace(ruleset, elements=kept)

    return changed


def not_state(state: CtState) -> Callable[[Rules], Rules]:
    """Leave out the rules about a state of the connection."""
    test = CtStateIs(state)
    return lambda rules: tuple(r for r in rules if test not in r.statements)


def forget_mac(endpoint: LocalEndpoint) -> LocalEndpoint:
    return replace(endpoint, mac=None)


def confuse_hosts(networks: AddressSet) -> AddressSet:
    ranges = tuple((first, first) for first, _ in networks.ranges)
    return networks if networks.is_everything() else replace(networks, ranges=ranges)


def forget_protocol(protocols: ProtocolSet) -> ProtocolSet:
    del protocols
    return ProtocolSet.everything()


def deny_nothing(rule: CompiledRule) -> CompiledRule:
    networks = AddressSet.everything(rule.match.family)
    return replace(
        rule,
        match=replace(rule.match, source=replace(rule.match.source, networks=networks)),
    )


def forget_fault(original: Function) -> Function:
    """Print the stages of a list, but not the fault at their end."""

    def planted(pipeline: Pipeline, family: Family) -> object:
        stages = tuple(each for each in pipeline.stages if isinstance(each, str))
        return original(replace(pipeline, stages=stages), family)

    return planted


def ask_other_direction(original: Function) -> Function:
    other = {Direction.INBOUND: Direction.OUTBOUND}

    def planted(pipeline: Pipeline, family: Family) -> object:
        direction = other.get(pipeline.key.direction, Direction.INBOUND)
        key = replace(pipeline.key, direction=direction)
        return original(replace(pipeline, key=key), family)

    return planted


def keep_members(original: Function) -> Function:
    def planted(spec: SetSpec, before: Ruleset, after: Ruleset) -> Iterator[Step]:
        if spec.is_verdict_map or spec.is_interval:
            yield from original(spec, before, after)

    return planted


def keep_old_rules(steps: list[Step]) -> list[Step]:
    return [step for step in steps if not isinstance(step, FlushChain)]


def keep_equal_lengths(original: Function) -> Function:
    def planted(before: Ruleset, after: Ruleset) -> list[Step]:
        same = {
            name
            for name, chain in after.chains.items()
            if name in before.chains
            and len(before.chains[name].rules) == len(chain.rules)
        }
        steps: list[Step] = original(before, after)
        return [
            step
            for step in steps
            if not (isinstance(step, FlushChain) and step.name in same)
            and not (isinstance(step, AddRule) and step.chain in same)
        ]

    return planted


TABLE = "calico.render.parts:Parts.ruleset"


def _in_tables() -> Iterator[tuple[str, Callable[[Ruleset], Ruleset]]]:
    yield "tags are not looked up", forget(InSet)
    yield "tags are looked up of the other side", statements(swap_sides(InSet))
    yield "ports are not compared", forget(InRanges)
    yield "source and destination ports are swapped", statements(swap_sides(InRanges))
    yield "source and destination networks are swapped", statements(swap_sides(Compare))
    yield "the last port of a range is missing", statements(shorten_ranges)
    yield "a network is compared as one address", statements(forget_mask)
    yield "the ICMP type is not compared", statements(forget_field(Field.ICMP_TYPE))
    yield "the ICMP code is not compared", statements(forget_field(Field.ICMP_CODE))
    yield "the protocol is not compared", statements(forget_field(Field.L4PROTO))
    yield "an allow is printed as drop", statements(say_instead(ACCEPT, DROP))
    yield "a deny is printed as accept", statements(say_instead(DROP, ACCEPT))
    yield "a deny lets the next profile decide", statements(say_instead(DROP, RETURN))
    yield "rules of profiles do not count", forget(Count)
    yield "rules of profiles have no name", profiles(forget_name)
    yield "rules are in reverse order", chains("profile-", lambda rules: rules[::-1])
    yield "two rules are swapped", chains("profile-", swap_first_two)
    yield "the first rule of a profile is missing", chains("profile-", forget_first)
    yield "the last rule of a profile is missing", chains("profile-", forget_last)
    end = "end of profiles"
    yield "the default drop of a list is missing", chains("list-", without(end))
    yield "only the first profile of a list is asked", chains("list-", keep_first_jump)
    yield "IPv4 is judged by the map of IPv6", confuse_families
    for state in (CtState.ESTABLISHED, CtState.RELATED, CtState.INVALID):
        yield (
            f"{state.name} is not tested to workloads",
            chains("to-w", not_state(state)),
        )
    yield (
        "RELATED is not tested from workloads",
        chains("from-w", not_state(CtState.RELATED)),
    )
    for chain in ("source-check", "input", "forward-to", "forward-from"):
        yield f"nothing is judged at {chain}", chains(chain, lambda _: ())
    for place in (Fixed.HOST_DNS, Fixed.HOST_DHCP, Fixed.HOST_ND):
        yield f"no pinhole: {place.value}", chains("to-host", without(place.value))
    unset = Fixed.DHCP_SOURCE.value
    yield f"no exception: {unset}", chains("check-source4", without(unset))
    yield "a tag set stays empty", without_members("tag4-red")
    yield "inactive endpoints are reached", without_elements("inactive")
    yield "IPv6 finds no list", without_elements("inbound6-dispatch")


BUGS = (
    *(Bug(name, TABLE, in_tables(change)) for name, change in _in_tables()),
    Bug(
        "the MAC is not looked at",
        "calico.render.layout:_put_source",
        second_argument(forget_mac),
    ),
    Bug(
        "a network is printed as its first address",
        "calico.render.rules:_render_networks",
        second_argument(confuse_hosts),
    ),
    Bug(
        "protocols are printed as any",
        "calico.render.rules:_render_protocols",
        first_argument(forget_protocol),
    ),
    Bug(
        "the source's network is left out",
        "calico.render.rules:render_rule",
        first_argument(deny_nothing),
    ),
    Bug(
        "a fault does not deny",
        "calico.render.layout:_pipeline_rules",
        forget_fault,
    ),
    Bug(
        "a list jumps to the other direction's rules",
        "calico.render.layout:_pipeline_rules",
        ask_other_direction,
    ),
    Bug(
        "what has left a tag stays in its set",
        "calico.render.transaction:removals",
        keep_members,
    ),
    Bug(
        "new rules are put behind the old ones",
        "calico.render.transaction:_rule_steps",
        result(keep_old_rules),
    ),
    Bug(
        "rules are not changed when their number stays",
        "calico.render.transaction:_rule_steps",
        keep_equal_lengths,
    ),
)
