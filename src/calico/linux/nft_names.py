"""Read what the rules and chains that a trace names by number are called.

A trace tells a rule by its handle, which the kernel never gives out twice in
one table. So what was read before a packet was sent names every rule that the
packet met, except those that came in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from calico.linux.netfilter import (
    NetlinkSocket,
    Refusal,
    attributes,
    read_be64,
    read_string,
    string,
)
from calico.linux.nft_codec import generic_header
from calico.linux.nft_elements import decode_comment, encode_map_keys
from calico.linux.nft_forms import HookForm
from calico.linux.nft_read import dump_objects, read_hook, undisturbed
from calico.linux.nft_sets import read_elements
from calico.linux.nft_wire import (
    EXPRESSION_DATA,
    EXPRESSION_NAME,
    FAMILY_INET,
    LOOKUP_DREG,
    LOOKUP_SET,
    SUBSYSTEM,
    ChainAttr,
    ElementsAttr,
    Msg,
    RuleAttr,
)
from calico.render.objects import SetSpec

ChainPlace = tuple[int, str, str]
"""Family (the kernel's number), table and chain."""

_VERDICT_REGISTER = bytes(4)


@dataclass(frozen=True, slots=True)
class RuleName:
    """How a rule is called.

    Attributes:
        chain: The chain that it is in.
        number: Its place there, from 1.
        comment: The text that names its origin, or empty.
        verdict_map: The map that its verdict comes from, if it has one.
    """

    chain: str
    number: int
    comment: str
    verdict_map: str | None


def read_rule_names(netlink: NetlinkSocket, table: str) -> Mapping[int, RuleName]:
    """Read the names of all rules of a table, by handle.

    Returns:
        Nothing when there is no such table.

    Raises:
        Unavailable: They change faster than they can be read.
    """
    return undisturbed(lambda: _read_rules(netlink, table))


def _read_rules(netlink: NetlinkSocket, table: str) -> dict[int, RuleName]:
    found: dict[int, RuleName] = {}
    n_rules: dict[str, int] = {}
    for rule in dump_objects(netlink, Msg.GETRULE, table):
        chain = read_string(rule[RuleAttr.CHAIN])
        n_rules[chain] = n_rules.get(chain, 0) + 1
        found[read_be64(rule[RuleAttr.HANDLE])] = RuleName(
            chain,
            n_rules[chain],
            decode_comment(rule.get(RuleAttr.USERDATA, b"")),
            _verdict_map(rule.get(RuleAttr.EXPRESSIONS, b"")),
        )
    return found


def _verdict_map(expressions: bytes) -> str | None:
    for _, raw in attributes(expressions):
        parts = dict(attributes(raw))
        if read_string(parts.get(EXPRESSION_NAME, b"")) != "lookup":
            continue
        found = dict(attributes(parts.get(EXPRESSION_DATA, b"")))
        if found.get(LOOKUP_DREG) == _VERDICT_REGISTER:
            return read_string(found[LOOKUP_SET])
    return None


def read_base_chains(netlink: NetlinkSocket) -> Mapping[ChainPlace, HookForm]:
    """Read where the base chains of all tables are hooked in.

    Raises:
        Unavailable: They change faster than they can be read.
    """
    return undisturbed(lambda: _read_hooks(netlink))


def _read_hooks(netlink: NetlinkSocket) -> dict[ChainPlace, HookForm]:
    found: dict[ChainPlace, HookForm] = {}
    head = generic_header(0)
    for answer in netlink.dump(SUBSYSTEM | Msg.GETCHAIN, head):
        chain = dict(attributes(answer[len(head) :]))
        if (hook := read_hook(chain)) is not None:
            names = (chain[kind] for kind in (ChainAttr.TABLE, ChainAttr.NAME))
            table, name = map(read_string, names)
            found[answer[0], table, name] = hook
    return found


def read_element_comment(
    netlink: NetlinkSocket, table: str, spec: SetSpec, key: bytes
) -> str:
    """Look up one key of a verdict map and read the element's comment.

    Returns:
        Nothing when there is no such element (any more), or it has none.
    """
    head = generic_header(FAMILY_INET) + string(ElementsAttr.TABLE, table)
    (wanted,) = encode_map_keys(spec, [key])
    answer = netlink.ask(SUBSYSTEM | Msg.GETSETELEM, head + wanted)
    if isinstance(answer, Refusal):
        return ""
    body = answer.body[len(generic_header(FAMILY_INET)) :]
    for kind, payload in attributes(body):
        if kind == ElementsAttr.ELEMENTS:
            return next((each.comment for each in read_elements(payload)), "")
    return ""
