"""Follow one packet of one flow through all tables of this host.

The `nftrace` bit is set by a table of our own, made for the time of one probe:
a rule at prerouting and at output, after defragmentation and before everything
else, that matches the flow in the direction of its first packet. At the far
ends, input and postrouting, the table has a chain without rules, whose event
says that the packet has come past every other chain. The agent's table is
only read.

The table belongs to this process's socket, so the kernel takes it away when
the process dies, however it dies. Before Linux 5.12 there are no owners; there
the table is only taken away by `close`.

Not here: which events are the packet's (`nft_followed`), and what they mean
(`nft_path`).
"""

import errno
import os
import socket
from collections.abc import Mapping

from calico.linux.conntrack_wire import FlowTuple
from calico.linux.netfilter import (
    NetlinkSocket,
    Refusal,
    attribute,
    be32,
    nest,
    read_refusal,
)
from calico.linux.nft_codec import Batch
from calico.linux.nft_expressions import encode_simple, expression
from calico.linux.nft_followed import ENDS, TABLE_PREFIX, FollowedPacket
from calico.linux.nft_names import (
    read_base_chains,
    read_element_comment,
    read_rule_names,
)
from calico.linux.nft_path import KernelPath, PathEnd, PathNames, assemble_path
from calico.linux.nft_read import ask_object
from calico.linux.nft_trace import NftTraces
from calico.linux.nft_wire import (
    IMMEDIATE_DATA,
    IMMEDIATE_DREG,
    Data,
    Msg,
    TableFlag,
)
from calico.model.errors import KernelRejected, NotPermitted, Unavailable
from calico.netset import Family
from calico.render.base import BASE_SETS, is_family
from calico.render.objects import (
    Chain,
    Compare,
    Field,
    Hook,
    HookPoint,
    HookType,
    SetSpec,
)
from calico.render.rules import DESTINATION_FIELD, SOURCE_FIELD
from calico.render.transaction import AddChain

_FIRST_PRIORITY = -350
"""Behind defragmentation (-400), so that ports are there; before all raw chains."""

_LAST_PRIORITY = (1 << 31) - 2
"""Before connection tracking's own last word; nobody else is that late."""

_STARTS = (HookPoint.PREROUTING, HookPoint.OUTPUT)
_NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.EINVAL})
_REGISTER = 1
_TRANSPORT, _ID_OFFSET = 2, 4
_META_KEY, _META_SREG, _META_NFTRACE = 2, 3, 12
_WITH_PORTS = frozenset({6, 17})
_COMMENTED = {spec.name: spec for spec in BASE_SETS if spec.has_counters}


class Tracer:
    """The trace of the first packet of one flow.

    Made inside the host's network namespace; everything but making it works
    from anywhere.

    Args:
        table: The agent's table, of the inet family.

    Attributes:
        name: The table that traces.

    Raises:
        NotPermitted: This process may not trace here; nothing has changed.
        Unavailable: The kernel has no nf_tables.
    """

    def __init__(self, table: str = "calico") -> None:
        self._table = table
        self.name = TABLE_PREFIX + os.urandom(8).hex()
        self._netlink = NetlinkSocket.open()
        self._traces: NftTraces | None = None
        self._packet = FollowedPacket(self.name)
        self._has_table = False
        try:
            _verify_right(self._netlink)
            self._traces = NftTraces()
            self._interfaces = dict(socket.if_nameindex())
            self._rules = dict(read_rule_names(self._netlink, table))
        except BaseException:
            self.close()
            raise

    @property
    def limits(self) -> tuple[str, ...]:
        """What could not be seen, for people to read."""
        lost = self._traces is not None and self._traces.n_lost
        return ("the kernel dropped events of the trace",) if lost else ()

    def start(self, flow: FlowTuple, protocol: int) -> None:
        """Switch tracing on for a flow, in the direction of the tuple.

        Args:
            flow: For ICMP, the number that stands where an echo has its
                identifier counts too.
            protocol: The number in the IP header.

        Raises:
            KernelRejected: The kernel refused; nothing has changed.
        """
        refusal = self._commit(flow, protocol, TableFlag.OWNER)
        if refusal is not None and refusal.errno in _NOT_SUPPORTED:
            refusal = self._commit(flow, protocol, 0)
        if refusal is not None:
            raise KernelRejected(f"table {self.name}", refusal.errno, refusal.text)
        self._has_table = True

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something new."""
        return -1 if self._traces is None else self._traces.fileno()

    def read(self) -> None:
        """Take in what has happened since the last call, without waiting."""
        if self._traces is not None:
            for event in self._traces.read():
                self._packet.take(event)

    @property
    def has_ended(self) -> bool:
        """Whether the packet's way has come to its end."""
        return self._packet.end is not None

    @property
    def was_dropped(self) -> bool:
        """Whether that end was a drop."""
        return self._packet.end is PathEnd.DROPPED

    def stop(self) -> None:
        """Take in what there is and switch tracing off; the path stays known."""
        self.read()
        if self._has_table:
            self._has_table = False
            batch = Batch(self.name, self._netlink.next_sequence())
            batch.delete_table()
            self._send(batch)

    def close(self) -> None:
        """End the trace; closing twice does no harm."""
        try:
            self.stop()
        finally:
            if self._traces is not None:
                self._traces.close()
                self._traces = None
            self._netlink.close()

    def path(self) -> KernelPath | None:
        """Return the packet's way; `None` when no packet came by.

        Raises:
            Unavailable: The ruleset changes faster than it can be read.
        """
        if not self._packet.was_seen:
            return None
        events = self._packet.events
        handles = {event.handle for event in events if event.table == self._table}
        if handles - {0} - self._rules.keys():
            self._rules |= read_rule_names(self._netlink, self._table)
        names = PathNames(
            table=self._table,
            rules=self._rules,
            hooks=read_base_chains(self._netlink),
            interfaces=self._interfaces,
            find_comment=self._find_comment,
        )
        return assemble_path(events, names, self._packet.end)

    def _find_comment(self, name: str, came: str, leaves: str) -> str:
        spec = _COMMENTED.get(name)
        if spec is None:
            return ""
        key = _interface_key(spec, {Field.IIFNAME: came, Field.OIFNAME: leaves})
        return read_element_comment(self._netlink, self._table, spec, key)

    def _commit(self, flow: FlowTuple, protocol: int, flags: int) -> Refusal | None:
        batch = Batch(self.name, self._netlink.next_sequence())
        batch.add_table(flags)
        expressions = (*_match(flow, protocol), *_SET_TRACE)
        for point in _STARTS:
            hook = Hook(HookType.FILTER, point, _FIRST_PRIORITY)
            name = point.name.lower()
            batch.add_steps((AddChain(Chain(name, (), hook)),))
            batch.add_expressions(name, *expressions)
        for name in ENDS:
            hook = Hook(HookType.FILTER, HookPoint[name.upper()], _LAST_PRIORITY)
            batch.add_steps((AddChain(Chain(name, (), hook)),))
        return self._send(batch)

    def _send(self, batch: Batch) -> Refusal | None:
        data = batch.finish()
        self._netlink.skip_sequences(batch.sequence)
        self._netlink.discard_unread()
        self._netlink.send(data)
        answers = list(self._netlink.answers())
        if not answers:
            raise Unavailable("nf_tables", "the kernel did not answer a transaction")
        refusals = (read_refusal(each) for each in answers)
        return next((each for each in refusals if each is not None), None)


def _verify_right(netlink: NetlinkSocket) -> None:
    """Ask what only those are answered who may also change something."""
    found = ask_object(netlink, Msg.GETGEN)
    if isinstance(found, Refusal):
        if found.errno == errno.EPERM:
            raise NotPermitted("follow a packet through nf_tables", "CAP_NET_ADMIN")
        raise Unavailable("nf_tables", found.text)


def _interface_key(spec: SetSpec, names: Mapping[Field, str]) -> bytes:
    (look_at,) = spec.key
    return os.fsencode(names[look_at]).ljust(look_at.n_bytes, b"\0")


def _value(kind: int, value: bytes) -> bytes:
    return nest(kind, attribute(Data.VALUE, value))


_SET_TRACE = (
    expression(
        "immediate",
        be32(IMMEDIATE_DREG, _REGISTER),
        _value(IMMEDIATE_DATA, b"\1"),
    ),
    expression("meta", be32(_META_KEY, _META_NFTRACE), be32(_META_SREG, _REGISTER)),
)


def _match(flow: FlowTuple, protocol: int) -> list[bytes]:
    family = Family(flow.source.version)
    tests = [
        is_family(family),
        Compare(Field.L4PROTO, bytes((protocol,))),
        Compare(SOURCE_FIELD[family], flow.source.packed),
        Compare(DESTINATION_FIELD[family], flow.destination.packed),
    ]
    if protocol in _WITH_PORTS:
        ports = flow.source_port, flow.destination_port
        fields = Field.SOURCE_PORT, Field.DESTINATION_PORT
        tests += [
            Compare(look_at, port.to_bytes(2, "big"))
            for look_at, port in zip(fields, ports, strict=True)
        ]
        return [encode_simple(each) for each in tests]
    tests += [
        Compare(Field.ICMP_TYPE, bytes((flow.icmp_type,))),
        Compare(Field.ICMP_CODE, bytes((flow.icmp_code,))),
    ]
    return [*map(encode_simple, tests), *_match_id(flow.icmp_id)]


def _match_id(number: int) -> tuple[bytes, bytes]:
    load = expression(
        "payload",
        be32(1, _REGISTER),
        be32(2, _TRANSPORT),
        be32(3, _ID_OFFSET),
        be32(4, 2),
    )
    test = expression(
        "cmp", be32(1, _REGISTER), be32(2, 0), _value(3, number.to_bytes(2, "big"))
    )
    return load, test
