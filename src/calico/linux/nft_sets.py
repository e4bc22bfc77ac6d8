"""Read the elements of sets.

A plain set's elements all have the same length and nothing but a key, so the
keys are cut out at a fixed distance; that is checked, and where it does not
hold every element is looked at.
"""

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeVar

from calico.linux.netfilter import (
    DumpInterrupted,
    NetlinkSocket,
    attributes,
    read_be32,
    read_be64,
    string,
)
from calico.linux.nft_codec import generic_header
from calico.linux.nft_elements import decode_comment
from calico.linux.nft_expressions import VERDICT_KINDS
from calico.linux.nft_forms import Ranges, read_verdict
from calico.linux.nft_wire import (
    COUNTER_BYTES,
    COUNTER_PACKETS,
    EXPRESSION_DATA,
    FAMILY_INET,
    SUBSYSTEM,
    Data,
    ElementAttr,
    ElementFlag,
    ElementsAttr,
    Msg,
)
from calico.render.objects import MapElement, Verdict

_REGISTER_BYTES = 4
_HEAD = struct.Struct("=HHHHHH")
_COUNTER_NAME = b"counter\0"
_KNOWN_FLAGS = frozenset({0, int(ElementFlag.INTERVAL_END)})
_N_TRIES = 8

_C = TypeVar("_C", bound=Collection[object])


class OddElement(Exception):  # noqa: N818 -- not a fault
    """A set holds an element of a kind that we never write."""


class Element(NamedTuple):
    """One element as it is.

    Attributes:
        key: As long as the set's keys.
        is_end: It ends a range, and is not in it.
        verdict: The code and the chain, for elements of verdict maps.
        comment: From the user data.
        counts: Packets and bytes, where elements are counted.
    """

    key: bytes
    is_end: bool
    verdict: tuple[int, str | None] | None
    comment: str
    counts: tuple[int, int] | None


def dump_elements(
    netlink: NetlinkSocket, table: str, name: str, family: int = FAMILY_INET
) -> Iterator[bytes]:
    """Read a set; gives lists of elements.

    Raises:
        DumpInterrupted: It changed meanwhile.
        OSError: It does not exist.
    """
    body = generic_header(family)
    request = string(ElementsAttr.TABLE, table) + string(ElementsAttr.SET, name)
    for answer in netlink.dump(SUBSYSTEM | Msg.GETSETELEM, body + request):
        for kind, payload in attributes(answer[len(body) :]):
            if kind == ElementsAttr.ELEMENTS:
                yield payload


@dataclass(frozen=True, slots=True)
class SetReader:
    """Reads one set whole.

    The kernel lists a hash table part by part, and while the table is still
    growing, a moment after many elements came in, parts are left out and others
    come twice. Seen on Linux 6.18: 86,810 of 100,000. So a listing counts when
    it has as many elements as the kernel says, or, where the kernel does not
    say, when it is equal to the one before.

    Attributes:
        netlink: The socket.
        table: The name of the table.
        name: The name of the set.
        key_bytes: The length of its keys.
        n_elements: What the kernel says, if it does.
    """

    netlink: NetlinkSocket
    table: str
    name: str
    key_bytes: int
    n_elements: int | None

    def members(self) -> frozenset[bytes]:
        """Read the keys of a plain set.

        Raises:
            OddElement: It holds something that is not a key.
        """
        return self._whole(self._members)

    def map_elements(self) -> dict[bytes, MapElement]:
        """Read a verdict map.

        Raises:
            OddElement: It holds something that we never write.
        """
        return self._whole(self._map_elements)

    def ranges(self) -> Ranges:
        """Read an interval set.

        Raises:
            OddElement: It holds something that we never write.
        """
        return join_bounds(self._whole(self._bounds), self.key_bytes)

    def _whole(self, read: Callable[[], _C]) -> _C:
        before: _C | None = None
        for _ in range(_N_TRIES):
            found = read()
            if len(found) == self.n_elements or found == before:
                return found
            before = found
        raise DumpInterrupted

    def _lists(self) -> Iterator[bytes]:
        return dump_elements(self.netlink, self.table, self.name)

    def _elements(self) -> Iterator[Element]:
        return chain.from_iterable(map(read_elements, self._lists()))

    def _members(self) -> frozenset[bytes]:
        parts = [split_members(each, self.key_bytes) for each in self._lists()]
        return frozenset(chain.from_iterable(parts))

    def _bounds(self) -> frozenset[tuple[bytes, bool]]:
        return frozenset((each.key, not each.is_end) for each in self._elements())

    def _map_elements(self) -> dict[bytes, MapElement]:
        found: dict[bytes, MapElement] = {}
        for each in self._elements():
            code, target = each.verdict or (None, None)
            if code not in VERDICT_KINDS:
                raise OddElement
            verdict = Verdict(VERDICT_KINDS[code], target)
            found[each.key] = MapElement(verdict, each.comment)
        return found


def split_members(elements: bytes, size: int) -> Sequence[bytes]:
    """Cut the keys, of `size` bytes each, out of a list of elements."""
    padding = -size % _REGISTER_BYTES
    row = struct.Struct(f"={_HEAD.size}x{size}s{padding}x")
    if elements and not len(elements) % row.size:
        head = elements[: _HEAD.size]
        keys = list(chain.from_iterable(row.iter_unpack(elements)))
        # The keys are right if they make the same list again.
        same = head + (bytes(padding) + head).join(keys) + bytes(padding)
        expected = (row.size, size + 8, size + 4)
        if same == elements and _HEAD.unpack(head)[::2] == expected:
            return keys
    return [each.key for each in read_elements(elements)]


def read_elements(elements: bytes) -> Iterator[Element]:
    """Look at each element in a list.

    Raises:
        OddElement: One has no key, or a value that is no verdict.
    """
    for _, payload in attributes(elements):
        yield _read_element(dict(attributes(payload)))


def _read_element(parts: dict[int, bytes]) -> Element:
    flags = read_be32(parts.get(ElementAttr.FLAGS, b""))
    if flags not in _KNOWN_FLAGS or ElementAttr.KEY not in parts:
        raise OddElement
    verdict = None
    if data := parts.get(ElementAttr.DATA):
        content = dict(attributes(data))
        if Data.VERDICT not in content:
            raise OddElement
        verdict = read_verdict(content[Data.VERDICT])
    return Element(
        key=dict(attributes(parts[ElementAttr.KEY]))[Data.VALUE],
        is_end=flags == ElementFlag.INTERVAL_END,
        verdict=verdict,
        comment=decode_comment(parts.get(ElementAttr.USERDATA, b"")),
        counts=_element_counts(parts),
    )


def _element_counts(parts: dict[int, bytes]) -> tuple[int, int] | None:
    if single := parts.get(ElementAttr.EXPRESSION):
        return read_counter(single)
    for _, each in attributes(parts.get(ElementAttr.EXPRESSIONS, b"")):
        if counts := read_counter(each):
            return counts
    return None


def read_counter(expression: bytes) -> tuple[int, int] | None:
    """Read packets and bytes; `None` when the expression is no counter."""
    if _COUNTER_NAME not in expression:
        return None
    found = dict(attributes(dict(attributes(expression)).get(EXPRESSION_DATA, b"")))
    return (
        read_be64(found.get(COUNTER_PACKETS, b"")),
        read_be64(found.get(COUNTER_BYTES, b"")),
    )


def join_bounds(bounds: Iterable[tuple[bytes, bool]], size: int) -> Ranges:
    """Make ranges of where they begin and end.

    Args:
        bounds: In any order; whether a range begins there, or ends just before.
        size: The length of a key.
    """
    found: list[tuple[int, int]] = []
    start: int | None = None
    # Where one range ends and the next begins, the end sorts first.
    for key, is_start in sorted(bounds):
        at = int.from_bytes(key, "big")
        if is_start:
            start = at if start is None else start
        elif start is not None:
            found.append((start, at - 1))
            start = None
    if start is not None:
        found.append((start, (1 << 8 * size) - 1))
    return merge(found)


def merge(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """Join ascending ranges that touch."""
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        if merged and first == merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return tuple(merged)
