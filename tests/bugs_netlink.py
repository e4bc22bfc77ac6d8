"""Bugs of the netlink encoding: what is printed reaches the kernel wrongly."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from planting import Bug, Function, first_argument, result, second_argument

from calico.linux.nft_wire import Msg
from calico.netset import Ranges
from calico.render.objects import (
    Compare,
    Count,
    CtState,
    Field,
    InRanges,
    MapElement,
    SetSpec,
    Statement,
    Verdict,
    VerdictKind,
)

WRITE = "calico.linux.nft_expressions"
ELEMENTS = "calico.linux.nft_elements"
APPEND = 0x800
TOP_PORT = 65535


def reversed_ports(value: bytes) -> bytes:
    return value[::-1] if len(value) == 2 else value


def never_negated(original: Function) -> Function:
    def planted(statement: Compare) -> object:
        return original(replace(statement, is_negated=False))

    return planted


def read_instead(wrong: dict[Field, Field]) -> Callable[[Function], Function]:
    """Load another field than the one that is asked for."""

    def change(look_at: Field) -> Field:
        return wrong.get(look_at, look_at)

    return first_argument(change)


def kinds_instead(wrong: dict[VerdictKind, VerdictKind]) -> Callable[..., object]:
    def change(verdict: Verdict) -> Verdict:
        return replace(verdict, kind=wrong.get(verdict.kind, verdict.kind))

    return change


def inner(change: Callable[[int, int], tuple[int, int]]) -> Callable[..., object]:
    """Change the ends of every range of more than one value."""

    def changed(statement: InRanges) -> InRanges:
        ranges = tuple(change(a, b) if a < b else (a, b) for a, b in statement.ranges)
        return replace(statement, ranges=ranges)

    return changed


def end_early(ranges: Ranges) -> Ranges:
    return tuple((a, max(a, b - 1)) for a, b in ranges)


def forget_open_range(ranges: Ranges) -> Ranges:
    return tuple((a, b) for a, b in ranges if b != TOP_PORT or a == b)


def keep_all_but_last(statement: InRanges) -> InRanges:
    return replace(statement, ranges=statement.ranges[:-1])


def forget_counter(original: Function) -> Function:
    def planted(statement: Statement, new_set: object) -> object:
        return b"" if statement == Count() else original(statement, new_set)

    return planted


def forget_member(original: Function) -> Function:
    """Write all members of a plain set but the last, when there are several."""

    def planted(spec: SetSpec, keys: Sequence[bytes]) -> object:
        several = not spec.is_verdict_map and len(keys) > 1
        return original(spec, sorted(keys)[:-1] if several else keys)

    return planted


def forget_element(
    elements: Sequence[tuple[bytes, MapElement]],
) -> Sequence[tuple[bytes, MapElement]]:
    return elements[:-1] if len(elements) > 1 else elements


def inverted(original: Function) -> Function:
    def planted(chosen: bytes, *, is_negated: bool) -> object:
        return original(chosen, is_negated=not is_negated)

    return planted


def state_instead(wrong: dict[CtState, CtState]) -> Callable[..., object]:
    def change(state: CtState) -> CtState:
        return wrong.get(state, state)

    return change


def put_in_front(original: Function) -> Function:
    def planted(batch: object, kind: Msg, flags: int, *rest: bytes) -> object:
        wrong = flags & ~APPEND if kind is Msg.NEWRULE else flags
        return original(batch, kind, wrong, *rest)

    return planted


def compare_whole(statement: Compare) -> Compare:
    size = statement.look_at.n_bytes
    is_name = statement.look_at in {Field.IIFNAME, Field.OIFNAME}
    value = statement.value.ljust(size, b"\0") if is_name else statement.value
    return replace(statement, value=value)


def shorten_mask(mask: bytes) -> bytes:
    """Take the last bit out of a mask."""
    number = int.from_bytes(mask, "big")
    return (number & (number - 1)).to_bytes(len(mask), "big")


def reverse_fields(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    return fields[::-1]


def cut_comment(comment: str) -> str:
    return comment[:12]


def forget_name(element: MapElement) -> MapElement:
    return replace(element, comment="")


def equal_when_named_alike(original: Function) -> Function:
    def planted(have: object, want: object) -> object:
        same = getattr(have, "comment", "") == getattr(want, "comment", None)
        return same or original(have, want)

    return planted


def nothing(original: Function) -> Function:
    del original
    return lambda *_: ()


JUMP, GOTO, RETURN = VerdictKind.JUMP, VerdictKind.GOTO, VerdictKind.RETURN
ACCEPT, DROP = VerdictKind.ACCEPT, VerdictKind.DROP
VERDICT = f"{WRITE}:encode_verdict"
LOAD = f"{WRITE}:_load_one"

BUGS = (
    Bug(
        "ports go out in the host's order",
        f"{WRITE}:_value",
        second_argument(reversed_ports),
    ),
    Bug("the mask is left out", f"{WRITE}:_bitwise", result(lambda _: b"")),
    Bug("the mask is one bit short", f"{WRITE}:_bitwise", first_argument(shorten_mask)),
    Bug("a negation is lost", f"{WRITE}:_compare", never_negated),
    Bug("the look-up is inverted", f"{WRITE}:_look_up", inverted),
    Bug(
        "a concatenation is loaded in reverse",
        f"{WRITE}:load",
        first_argument(reverse_fields),
    ),
    Bug(
        "the destination port is read at the source port's place",
        LOAD,
        read_instead({Field.DESTINATION_PORT: Field.SOURCE_PORT}),
    ),
    Bug(
        "the source port is read at the destination port's place",
        LOAD,
        read_instead({Field.SOURCE_PORT: Field.DESTINATION_PORT}),
    ),
    Bug(
        "the IPv6 source is read at the destination's place",
        LOAD,
        read_instead({Field.IP6_SOURCE: Field.IP6_DESTINATION}),
    ),
    Bug(
        "the IPv4 destination is read at the source's place",
        LOAD,
        read_instead({Field.IP4_DESTINATION: Field.IP4_SOURCE}),
    ),
    Bug(
        "the ICMP code is read at the type's place",
        LOAD,
        read_instead({Field.ICMP_CODE: Field.ICMP_TYPE}),
    ),
    Bug(
        "the interface is that of the other end",
        LOAD,
        read_instead({Field.OIFNAME: Field.IIFNAME}),
    ),
    Bug(
        "the protocol is read where the family is",
        LOAD,
        read_instead({Field.L4PROTO: Field.NFPROTO}),
    ),
    Bug(
        "a single range begins one late",
        f"{WRITE}:_in_one",
        first_argument(inner(lambda first, last: (first + 1, last))),
    ),
    Bug(
        "a single range ends one early",
        f"{WRITE}:_in_one",
        first_argument(inner(lambda first, last: (first, last - 1))),
    ),
    Bug(
        "an interval's end is one early",
        f"{ELEMENTS}:encode_bounds",
        second_argument(end_early),
    ),
    Bug(
        "an interval that reaches the top is lost",
        f"{ELEMENTS}:encode_bounds",
        second_argument(forget_open_range),
    ),
    Bug(
        "one element of many is missing in a set without a name",
        f"{ELEMENTS}:encode_anonymous_elements",
        first_argument(keep_all_but_last),
    ),
    Bug(
        "one member of many is missing in a set",
        f"{ELEMENTS}:encode_members",
        forget_member,
    ),
    Bug(
        "one element of many is missing in a map",
        f"{ELEMENTS}:encode_map_elements",
        second_argument(forget_element),
    ),
    Bug(
        "accept and drop are swapped",
        VERDICT,
        first_argument(kinds_instead({ACCEPT: DROP, DROP: ACCEPT})),
    ),
    Bug(
        "drop goes out as return",
        VERDICT,
        first_argument(kinds_instead({DROP: RETURN})),
    ),
    Bug("jump goes out as goto", VERDICT, first_argument(kinds_instead({JUMP: GOTO}))),
    Bug("counters are left out", f"{WRITE}:encode_statement", forget_counter),
    Bug(
        "comments are cut",
        f"{ELEMENTS}:encode_comment",
        first_argument(cut_comment),
    ),
    Bug(
        "elements have no comment",
        f"{ELEMENTS}:_map_element",
        second_argument(forget_name),
    ),
    Bug(
        "RELATED is tested as NEW",
        f"{WRITE}:_ct_state",
        first_argument(state_instead({CtState.RELATED: CtState.NEW})),
    ),
    Bug(
        "INVALID is tested as RELATED",
        f"{WRITE}:_ct_state",
        first_argument(state_instead({CtState.INVALID: CtState.RELATED})),
    ),
    Bug("rules are put in front", "calico.linux.nft_codec:Batch._put", put_in_front),
    Bug(
        "a prefix is compared whole", f"{WRITE}:_compare", first_argument(compare_whole)
    ),
    Bug(
        "a repair takes rules of one name for equal",
        "calico.linux.nft_repair:_is_rule",
        equal_when_named_alike,
    ),
    Bug(
        "a repair leaves rules as they are",
        "calico.linux.nft_repair:_Repair.new_rules",
        nothing,
    ),
    Bug(
        "a repair adds no elements",
        "calico.linux.nft_repair:_Repair.new_elements",
        nothing,
    ),
    Bug(
        "a repair removes no elements",
        "calico.linux.nft_repair:_Repair.removed_elements",
        nothing,
    ),
)
