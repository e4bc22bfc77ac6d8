"""Read back what our table holds, as forms that can be compared.

Everything is read in one generation of the ruleset: when somebody commits
meanwhile, reading starts again.
"""

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from calico.linux.netfilter import (
    DumpInterrupted,
    NetlinkSocket,
    Refusal,
    attributes,
    read_be32,
    read_string,
    string,
)
from calico.linux.nft_codec import generic_header
from calico.linux.nft_elements import decode_comment
from calico.linux.nft_forms import (
    FormReader,
    HookForm,
    Ranges,
    RuleForm,
    SetForm,
    form_of_set,
)
from calico.linux.nft_sets import (
    OddElement,
    SetReader,
    merge,
)
from calico.linux.nft_wire import (
    FAMILY_INET,
    SUBSYSTEM,
    VERDICT_ACCEPT,
    ChainAttr,
    Generation,
    HookAttr,
    Msg,
    RuleAttr,
    SetAttr,
    Table,
    TableFlag,
)
from calico.model.errors import Unavailable
from calico.render.objects import MapElement

_N_TRIES = 8
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class KernelRule:
    """A rule as it is: its form, and the comment that names it."""

    form: RuleForm
    comment: str


@dataclass(frozen=True, slots=True)
class KernelChain:
    """A chain as it is.

    Attributes:
        hook: For base chains.
        accepts: Whether a packet that reaches the end goes on.
        rules: In order.
    """

    hook: HookForm | None
    accepts: bool
    rules: tuple[KernelRule, ...]


@dataclass(frozen=True, slots=True)
class KernelTable:
    """Our table as it is, foreign additions included.

    Attributes:
        flags: The kernel's.
        chains: By name.
        sets: Named sets and maps.
        members: Keys of plain sets, by set name; not of those that packets
            fill.
        ranges: Ranges of interval sets, by set name.
        elements: Elements of verdict maps, by map name and key.
        odd: Sets with elements that we never write; those are not listed.
    """

    flags: int
    chains: Mapping[str, KernelChain] = field(default_factory=dict[str, KernelChain])
    sets: Mapping[str, SetForm] = field(default_factory=dict[str, SetForm])
    members: Mapping[str, frozenset[bytes]] = field(
        default_factory=dict[str, frozenset[bytes]]
    )
    ranges: Mapping[str, Ranges] = field(default_factory=dict[str, Ranges])
    elements: Mapping[str, Mapping[bytes, MapElement]] = field(
        default_factory=dict[str, Mapping[bytes, MapElement]]
    )
    odd: frozenset[str] = frozenset()

    @property
    def is_dormant(self) -> bool:
        """Whether somebody has put the whole table to sleep."""
        return bool(self.flags & TableFlag.DORMANT)


def read_table(netlink: NetlinkSocket, table: str) -> KernelTable | None:
    """Read everything in a table, or `None` when there is none.

    Raises:
        Unavailable: It changes faster than it can be read.
    """

    def attempt() -> KernelTable | None:
        before = read_generation(netlink)
        flags = _read_flags(netlink, table)
        found = None if flags is None else _read_content(netlink, table, flags)
        if read_generation(netlink) != before:
            raise DumpInterrupted
        return found

    return undisturbed(attempt)


def undisturbed(attempt: Callable[[], _T]) -> _T:
    """Try again when what is read changes meanwhile.

    Raises:
        Unavailable: It changed every time.
    """
    for _ in range(_N_TRIES):
        try:
            return attempt()
        except DumpInterrupted:
            continue
        except OSError as error:
            # Something listed before has gone when it is looked into.
            if error.errno != errno.ENOENT:
                raise
    raise Unavailable("nf_tables", "another program keeps changing what we read")


def read_generation(netlink: NetlinkSocket) -> int:
    """Return the number of the ruleset's generation."""
    found = ask_object(netlink, Msg.GETGEN)
    if isinstance(found, Refusal):
        raise Unavailable("nf_tables", found.text)
    return read_be32(found[Generation.ID])


def ask_object(
    netlink: NetlinkSocket, kind: Msg, which: bytes = b""
) -> dict[int, bytes] | Refusal:
    """Ask for the attributes of one object of the inet family."""
    head = generic_header(FAMILY_INET)
    answer = netlink.ask(SUBSYSTEM | kind, head + which)
    if isinstance(answer, Refusal):
        return answer
    return dict(attributes(answer.body[len(head) :]))


def _read_flags(netlink: NetlinkSocket, table: str) -> int | None:
    found = ask_object(netlink, Msg.GETTABLE, string(Table.NAME, table))
    if isinstance(found, Refusal):
        if found.errno == errno.ENOENT:
            return None
        raise Unavailable(f"table inet {table}", found.text)
    return read_be32(found.get(Table.FLAGS, b""))


def dump_objects(
    netlink: NetlinkSocket, kind: Msg, table: str, family: int = FAMILY_INET
) -> Iterator[dict[int, bytes]]:
    """Read all chains, rules or sets of a table.

    Raises:
        DumpInterrupted: They changed meanwhile.
    """
    head = generic_header(family)
    name = string(1, table)
    wanted = table.encode() + b"\0"
    for answer in netlink.dump(SUBSYSTEM | kind, head + name):
        found = dict(attributes(answer[len(head) :]))
        # Not every kernel filters every kind by table.
        if found.get(1) == wanted:
            yield found


def _read_content(netlink: NetlinkSocket, table: str, flags: int) -> KernelTable:
    contents = _Contents(netlink, table)
    # Listed first and then looked into: a socket has one listing at a time.
    for each in list(dump_objects(netlink, Msg.GETSET, table)):
        contents.read(each)
    return KernelTable(
        flags=flags,
        chains=_read_chains(netlink, table, FormReader(contents.anonymous)),
        sets=contents.sets,
        members=contents.members,
        ranges=contents.ranges,
        elements=contents.elements,
        odd=frozenset(contents.odd),
    )


@dataclass(slots=True)
class _Contents:
    """Gathers the elements of one set after another."""

    netlink: NetlinkSocket
    table: str
    sets: dict[str, SetForm] = field(default_factory=dict[str, SetForm])
    members: dict[str, frozenset[bytes]] = field(
        default_factory=dict[str, frozenset[bytes]]
    )
    ranges: dict[str, Ranges] = field(default_factory=dict[str, Ranges])
    elements: dict[str, dict[bytes, MapElement]] = field(
        default_factory=dict[str, dict[bytes, MapElement]]
    )
    anonymous: dict[str, Ranges] = field(default_factory=dict[str, Ranges])
    odd: set[str] = field(default_factory=set[str])

    def read(self, found: Mapping[int, bytes]) -> None:
        """Read a set, given its description."""
        form = form_of_set(found)
        name = read_string(found[SetAttr.NAME])
        count = found.get(SetAttr.COUNT)
        reader = SetReader(
            self.netlink,
            self.table,
            name,
            form.key_bytes,
            None if count is None else read_be32(count),
        )
        if form.is_anonymous:
            self._read_anonymous(reader, form)
        else:
            self.sets[name] = form
            self._read_named(reader, form)

    def _read_named(self, reader: SetReader, form: SetForm) -> None:
        if form.is_filled_by_packets:
            return
        try:
            if form.is_map:
                self.elements[reader.name] = reader.map_elements()
            elif form.is_interval:
                self.ranges[reader.name] = reader.ranges()
            else:
                self.members[reader.name] = reader.members()
        except OddElement:
            self.odd.add(reader.name)

    def _read_anonymous(self, reader: SetReader, form: SetForm) -> None:
        """Read one, unless it is of a kind that we never make."""
        if form.is_map:
            return
        with suppress(OddElement):
            if form.is_interval:
                self.anonymous[reader.name] = reader.ranges()
            else:
                numbers = [int.from_bytes(key, "big") for key in reader.members()]
                pairs = [(number, number) for number in sorted(numbers)]
                self.anonymous[reader.name] = merge(pairs)


def _read_chains(
    netlink: NetlinkSocket, table: str, reader: FormReader
) -> dict[str, KernelChain]:
    rules: dict[str, list[KernelRule]] = {}
    for found in dump_objects(netlink, Msg.GETRULE, table):
        form = reader.read(found.get(RuleAttr.EXPRESSIONS, b""))
        comment = decode_comment(found.get(RuleAttr.USERDATA, b""))
        chain = read_string(found[RuleAttr.CHAIN])
        rules.setdefault(chain, []).append(KernelRule(form, comment))
    chains: dict[str, KernelChain] = {}
    for found in dump_objects(netlink, Msg.GETCHAIN, table):
        name = read_string(found[ChainAttr.NAME])
        accepts = not read_hook(found) or (
            read_be32(found.get(ChainAttr.POLICY, b"")) == VERDICT_ACCEPT
        )
        chains[name] = KernelChain(
            read_hook(found), accepts, tuple(rules.get(name, ()))
        )
    return chains


def read_hook(found: Mapping[int, bytes]) -> HookForm | None:
    """Read what makes a chain a base chain."""
    if ChainAttr.HOOK not in found:
        return None
    hook = dict(attributes(found[ChainAttr.HOOK]))
    return HookForm(
        read_string(found.get(ChainAttr.TYPE, b"")),
        read_be32(hook.get(HookAttr.NUMBER, b"")),
        int.from_bytes(hook.get(HookAttr.PRIORITY, b""), "big", signed=True),
    )
