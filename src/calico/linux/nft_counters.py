"""Read how often rules and elements of our table have been met."""

from calico.linux.netfilter import NetlinkSocket, attributes, read_string
from calico.linux.nft_elements import decode_comment
from calico.linux.nft_forms import form_of_set
from calico.linux.nft_read import dump_objects, undisturbed
from calico.linux.nft_sets import dump_elements, read_counter, read_elements
from calico.linux.nft_wire import Msg, RuleAttr, SetAttr

Counters = dict[tuple[str, str], tuple[int, int]]
"""Packets and bytes, by chain or map, and by comment."""


def read_counters(netlink: NetlinkSocket, table: str) -> Counters:
    """Read all counters of rules and of verdict maps' elements.

    Counters of one place and one comment are summed.

    Raises:
        Unavailable: The table changes faster than it can be read.
    """

    def attempt() -> Counters:
        found: Counters = {}
        _count_rules(netlink, table, found)
        _count_elements(netlink, table, found)
        return found

    return undisturbed(attempt)


def _count_rules(netlink: NetlinkSocket, table: str, found: Counters) -> None:
    for rule in dump_objects(netlink, Msg.GETRULE, table):
        comment = decode_comment(rule.get(RuleAttr.USERDATA, b""))
        for _, each in attributes(rule.get(RuleAttr.EXPRESSIONS, b"")):
            if counts := read_counter(each):
                _add(found, (read_string(rule[RuleAttr.CHAIN]), comment), counts)


def _count_elements(netlink: NetlinkSocket, table: str, found: Counters) -> None:
    for name in _counted_maps(netlink, table):
        # A table that grows meanwhile may list an element twice.
        elements = {
            each.key: each
            for part in dump_elements(netlink, table, name)
            for each in read_elements(part)
        }
        for each in elements.values():
            if each.counts is not None:
                _add(found, (name, each.comment), each.counts)


def _counted_maps(netlink: NetlinkSocket, table: str) -> list[str]:
    return [
        read_string(each[SetAttr.NAME])
        for each in dump_objects(netlink, Msg.GETSET, table)
        if (form := form_of_set(each)).is_map and form.expressions
    ]


def _add(found: Counters, place: tuple[str, str], counts: tuple[int, int]) -> None:
    packets, size = found.get(place, (0, 0))
    found[place] = (packets + counts[0], size + counts[1])
