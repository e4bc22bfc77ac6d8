"""Send probes, answer them and see them arrive: many namespaces, one loop.

A socket stays in the network namespace that its thread was in when it was
made. So a thread visits each namespace and makes the sockets there, and all of
them are waited for together.

What answers TCP and UDP is started for the time of the probe; where the port
is in use, whatever uses it is left alone, and answers or not. Whether a probe
arrives does not depend on an answer: a raw socket of its protocol is given a
copy of what is delivered in its namespace, behind that namespace's own rules.
"""

import errno
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import TypeVar

from calico.linux.conntrack_wire import FlowTuple
from calico.linux.namespace import call_inside, open_namespace
from calico.linux.rtnetlink import NetlinkRefused
from calico.linux.socket_filter import attach_filter
from calico.model.errors import NotPermitted
from calico.model.rule import Protocol
from calico.netset import Address, Family
from calico.probe.errors import AddressMissing, PortInUse
from calico.probe.packets import (
    TOKEN_BYTES,
    encode_icmp,
    identifier_of,
    is_echo_reply,
    is_probe,
    keep_only,
)
from calico.probe.values import HERE, Place, Probe, Reply

_MAX_PACKET = 2048
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# Any port does to ask for a route; nothing is sent.
_SOME_PORT = 9
_FAMILIES = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
# linux/in.h, linux/in6.h; the `socket` module does not name them.
_HEAR_ERRORS = {
    Family.V4: (socket.IPPROTO_IP, 11),
    Family.V6: (socket.IPPROTO_IPV6, 25),
}
_ANY = IPv6Address(0)
_KINDS = {
    Protocol.TCP: socket.SOCK_STREAM,
    Protocol.UDP: socket.SOCK_DGRAM,
    Protocol.ICMP: socket.SOCK_RAW,
    Protocol.ICMPV6: socket.SOCK_RAW,
}

T = TypeVar("T")


@dataclass(slots=True)
class Sending:
    """A probe under way.

    Attributes:
        probe: What is sent.
        token: What it carries, where it can carry something.
        flow: Its addresses and ports; `None` when nothing could be sent.
        is_answerable: Whether an answer of ours, or of a TCP service, comes
            when it arrives.
        has_arrived: Whether it was seen at its destination.
        is_settled: Whether nothing more will be heard.
        reply: What was heard.
        fault: What else was heard, in words.
    """

    probe: Probe
    token: bytes
    flow: FlowTuple | None = None
    is_answerable: bool = False
    has_arrived: bool = False
    is_settled: bool = False
    reply: Reply = Reply.NONE
    fault: str = ""


_Listener = tuple[Place, Address, int, Protocol]


class Exchange:
    """Sockets that are open, and what to do when one becomes ready."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._stack = ExitStack()
        self._sockets: set[socket.socket] = set()
        self._namespaces: dict[Place, int] = {}
        self._listeners: dict[_Listener, bool] = {}
        self._askers: dict[int, socket.socket] = {}
        self._tokens: set[bytes] = set()

    def close(self) -> None:
        """Close everything; closing twice does no harm."""
        self.close_sockets()
        self._selector.close()
        self._stack.close()

    def close_sockets(self) -> None:
        """Stop sending, answering and observing."""
        for each in self._sockets:
            with suppress(KeyError, ValueError):
                self._selector.unregister(each)
            each.close()
        self._sockets.clear()

    def call(self, place: Place, act: Callable[[], T]) -> T:
        """Run a function in a namespace.

        Raises:
            NamespaceMissing: There is none.
            NotPermitted: This process may not go there.
        """
        if place == HERE:
            return act()
        number = self._namespaces.get(place)
        if number is None:
            number = self._stack.enter_context(open_namespace(place.path))
            self._namespaces[place] = number
        try:
            return call_inside(number, act)
        except NetlinkRefused as error:
            if error.errno != errno.EPERM:
                raise
            what = f"enter the network namespace {place}"
            raise NotPermitted(what, "CAP_SYS_ADMIN") from None

    def watch(self, fd: int, act: Callable[[], None]) -> None:
        """Call a function whenever a descriptor can be read."""
        self._selector.register(fd, selectors.EVENT_READ, act)

    def wait(self, deadline_s: float, is_done: Callable[[], bool]) -> float:
        """Wait until all is done, or the time is over.

        Returns:
            How much time is left.
        """
        end = time.monotonic() + deadline_s
        while not is_done():
            left = end - time.monotonic()
            ready = self._selector.select(max(left, 0))
            for key, _ in ready:
                key.data()
            if left <= 0 and not ready:
                break
        return max(0.0, end - time.monotonic())

    def prepare(self, probe: Probe) -> Sending:
        """Open what a probe needs and settle its addresses and ports.

        Nothing is sent. What no route leads to has a fault and no flow.

        Raises:
            AddressMissing: The source or the destination lacks one.
            PortInUse: The source port is taken.
            NamespaceMissing: The source or the destination is none.
            NotPermitted: This process may not make such sockets there.
        """
        sending = Sending(probe, os.urandom(TOKEN_BYTES))
        if probe.destination is not None and probe.protocol.has_ports:
            has_listener = self._listen(probe, probe.destination)
            is_tcp = probe.protocol is Protocol.TCP
            sending.is_answerable = has_listener or is_tcp
        else:
            sending.is_answerable = probe.protocol.has_ports or probe.is_echo
        self._tokens.add(sending.token)
        try:
            self._open_asker(sending)
        except OSError as error:
            self._settle(sending, error)
        return sending

    def observe(self, sending: Sending, place: Place) -> None:
        """See the probe when it is delivered in its namespace.

        Raises:
            AddressMissing: The namespace does not have the address.
            NotPermitted: This process may not look there.
        """
        probe, flow = sending.probe, sending.flow
        if flow is None:
            return
        made = self._socket(place, probe, socket.SOCK_RAW, probe.protocol.number)
        attach_filter(made, keep_only(flow, probe.protocol))
        _bind(made, place, probe.address)
        if not _is_of_one_link(flow.source):
            # Which link that would be in there is not known.
            made.connect((str(flow.source), 0))

        def look() -> None:
            with suppress(OSError):
                packet = made.recv(_MAX_PACKET)
                if is_probe(packet, probe, flow, sending.token):
                    sending.has_arrived = True

        self.watch(made.fileno(), look)

    def speak(self, sending: Sending) -> None:
        """Send the probe."""
        asker = self._askers.get(id(sending))
        if asker is None:
            return
        try:
            events = _send(asker, sending)
        except OSError as error:
            self._settle(sending, error)
            return
        self._selector.register(asker, events, lambda: self._listen_to(sending, asker))

    def _listen_to(self, sending: Sending, asker: socket.socket) -> None:
        try:
            is_answer = _is_answer(asker, sending)
        except OSError as error:
            self._settle(sending, error)
        else:
            if is_answer:
                sending.reply = Reply.ANSWERED
                self._settle(sending)

    def _settle(self, sending: Sending, error: OSError | None = None) -> None:
        """Stop waiting for the answer to a probe."""
        sending.is_settled = True
        if error is not None:
            sending.fault = error.strerror or str(error)
            if error.errno == errno.ECONNREFUSED:
                sending.reply = Reply.REFUSED
        if (asker := self._askers.pop(id(sending), None)) is not None:
            with suppress(KeyError):
                self._selector.unregister(asker)
            self._sockets.discard(asker)
            asker.close()

    def _socket(
        self, place: Place, probe: Probe, kind: int, protocol: int = 0
    ) -> socket.socket:
        def make() -> socket.socket:
            family = _FAMILIES[probe.family]
            return socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)

        try:
            made = self.call(place, make)
        except PermissionError:
            raise NotPermitted(f"send packets from {place}", "CAP_NET_RAW") from None
        self._sockets.add(made)
        return made

    def _listen(self, probe: Probe, place: Place) -> bool:
        """Start what answers, unless something uses the port already."""
        key = place, probe.address, probe.port, probe.protocol
        known = self._listeners.get(key)
        if known is None:
            known = self._listeners[key] = self._start_listener(probe, place)
        return known

    def _start_listener(self, probe: Probe, place: Place) -> bool:
        is_tcp = probe.protocol is Protocol.TCP
        kind = socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM
        listener = self._socket(place, probe, kind)
        if is_tcp:
            # An old connection of the port's does not stand in the way.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            _bind(listener, place, probe.address, probe.port)
            if is_tcp:
                listener.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            self._sockets.discard(listener)
            listener.close()
            return False
        act = _accept if is_tcp else self._return_token
        self.watch(listener.fileno(), lambda: act(listener))
        return True

    def _return_token(self, listener: socket.socket) -> None:
        """Send a probe back to where it came from, and nothing else."""
        with suppress(OSError):
            token, sender = listener.recvfrom(_MAX_PACKET)
            if token in self._tokens:
                listener.sendto(token, sender)

    def _open_asker(self, sending: Sending) -> None:
        probe = sending.probe
        source = probe.source_address or self._choose_source(probe)
        kind = _KINDS[probe.protocol]
        number = probe.protocol.number if kind is socket.SOCK_RAW else 0
        asker = self._socket(probe.source, probe, kind, number)
        if probe.protocol is Protocol.TCP:
            # Nothing stays in TIME_WAIT, so the next probe finds a clean port.
            asker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        else:
            # Only then a datagram hears that there is no way to its destination.
            asker.setsockopt(*_HEAR_ERRORS[probe.family], 1)
        self._askers[id(sending)] = asker
        try:
            own = _ANY if _is_of_one_link(source) else source
            _bind(asker, probe.source, own, probe.source_port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            place, word = str(probe.source), probe.protocol.value
            raise PortInUse(place, word, probe.source_port) from None
        sending.flow = _flow_of(sending, source, asker)

    def _choose_source(self, probe: Probe) -> Address:
        """Ask the kernel which address it would send from."""
        with self._socket(probe.source, probe, socket.SOCK_DGRAM) as asked:
            self._sockets.discard(asked)
            asked.connect((str(probe.address), _SOME_PORT))
            name: str = asked.getsockname()[0]
        address = type(probe.address)(name.partition("%")[0])
        if address.is_unspecified:
            raise AddressMissing(str(probe.source), probe.family)
        return address


def _is_of_one_link(address: Address) -> bool:
    """Tell whether only the kernel knows on which link an address is meant.

    A host without another IPv6 address speaks to its workloads from one.
    """
    return isinstance(address, IPv6Address) and address.is_link_local


def _bind(made: socket.socket, place: Place, address: Address, port: int = 0) -> None:
    try:
        made.bind((str(address), port))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        raise AddressMissing(str(place), str(address)) from None


def _flow_of(sending: Sending, source: Address, asker: socket.socket) -> FlowTuple:
    probe = sending.probe
    if probe.protocol.has_ports:
        return FlowTuple(source, probe.address, asker.getsockname()[1], probe.port)
    return FlowTuple(
        source,
        probe.address,
        icmp_id=identifier_of(sending.token),
        icmp_type=probe.message_type,
        icmp_code=probe.icmp_code,
    )


def _accept(listener: socket.socket) -> None:
    # Whoever asked may have gone again.
    with suppress(OSError):
        listener.accept()[0].close()


def _send(asker: socket.socket, sending: Sending) -> int:
    """Send what there is to send; return the event that the answer brings."""
    probe, token = sending.probe, sending.token
    with suppress(BlockingIOError):
        asker.connect((str(probe.address), probe.port))
    if probe.protocol is Protocol.TCP:
        return selectors.EVENT_WRITE
    is_udp = probe.protocol is Protocol.UDP
    asker.send(token if is_udp else encode_icmp(probe, token))
    return selectors.EVENT_READ


def _is_answer(asker: socket.socket, sending: Sending) -> bool:
    """Tell whether what has come is the answer; raises what else it is."""
    probe = sending.probe
    if probe.protocol is Protocol.TCP:
        number = asker.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        return True
    try:
        packet = asker.recv(_MAX_PACKET)
    except BlockingIOError:
        return False
    if probe.protocol is Protocol.UDP:
        return packet == sending.token
    return is_echo_reply(packet, probe.family, sending.token)
