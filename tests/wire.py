"""A host whose interfaces are TAP devices that the test holds in its hands.

What is written to a TAP enters the kernel as if it came from a workload or
from outside; what the kernel sends there is read back; what it delivers to
the host itself arrives at raw sockets. So the fate of every packet is seen
where it ends, not asked of the ruleset.
"""

import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from frames import find_marker

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_IPPROTO = (1, 6, 17, 47, 58, 253)
_DEADLINE_S = 30.0
_RECEIVE_BYTES = 1 << 22
HOST_ITSELF = "host"
"""Where packets end that are delivered here, and begin that are sent here."""

SYSCTLS = (
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv4/icmp_ratelimit", "0"),
    # What the host itself announces of its groups comes at once and not while
    # packets are counted.
    ("net/ipv6/conf/all/mldv2_unsolicited_report_interval", "1"),
    ("net/ipv6/conf/default/mldv2_unsolicited_report_interval", "1"),
)


@dataclass(slots=True)
class Wire:
    """The taps by interface name, and the host's raw sockets.

    Attributes:
        macs: The address of each interface's host end.
        raw: Receive what is delivered to the host, by descriptor.
        own: Send what the host itself says, by IP version.
    """

    taps: dict[str, int] = field(default_factory=dict[str, int])
    macs: dict[str, bytes] = field(default_factory=dict[str, bytes])
    raw: dict[int, socket.socket] = field(default_factory=dict[int, socket.socket])
    own: dict[int, socket.socket] = field(default_factory=dict[int, socket.socket])

    def open(self, interfaces: Iterable[str]) -> None:
        """Make the interfaces in this (private) namespace and bring them up."""
        for path, value in SYSCTLS:
            write_sysctl(path, value)
        ip("link", "set", "lo", "up")
        for name in interfaces:
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
            fcntl.ioctl(descriptor, _TUNSETIFF, request)
            self.taps[name] = descriptor
            ip("link", "set", name, "up")
            self.macs[name] = _mac_of(name)
        for family in (socket.AF_INET, socket.AF_INET6):
            for protocol in _IPPROTO:
                made = socket.socket(family, socket.SOCK_RAW, protocol)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
                made.settimeout(0)
                self.raw[made.fileno()] = made
        for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            # This protocol's sockets take whole packets, with their headers.
            raw = socket.IPPROTO_RAW
            self.own[version] = socket.socket(family, socket.SOCK_RAW, raw)

    def close(self) -> None:
        """Close everything; the interfaces go with their descriptors."""
        for descriptor in self.taps.values():
            os.close(descriptor)
        for made in (*self.raw.values(), *self.own.values()):
            made.close()

    def send(self, interface: str, data: bytes) -> None:
        """Let a frame enter the host by an interface."""
        os.write(self.taps[interface], data)

    def send_from_host(self, data: bytes) -> None:
        """Let the host itself send an IP packet."""
        version = data[0] >> 4
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        at, size = (16, 4) if version == 4 else (24, 16)
        address = socket.inet_ntop(family, data[at : at + size])
        # What a rule drops on its way out is refused to its sender.
        with suppress(PermissionError):
            self.own[version].sendto(data, (address, 0))

    def receive(
        self, awaited: Iterable[bytes], patience_s: float = _DEADLINE_S
    ) -> Mapping[bytes, set[str]]:
        """Collect where markers came out, until all awaited ones have.

        Args:
            awaited: Markers to wait for.
            patience_s: How long to wait.

        Returns:
            For each marker seen, the interfaces it left by; `host` for those
            delivered to the host.
        """
        seen: dict[bytes, set[str]] = {}
        missing = set(awaited)
        deadline = time.monotonic() + patience_s
        poll = select.poll()
        names = {descriptor: name for name, descriptor in self.taps.items()}
        names.update(dict.fromkeys(self.raw, HOST_ITSELF))
        for descriptor in names:
            poll.register(descriptor, select.POLLIN)
        while True:
            left = max(0.0, deadline - time.monotonic()) if missing else 0.0
            ready = poll.poll(left * 1000)
            if not ready:
                return seen
            for descriptor, _ in ready:
                for mark in self._drain(descriptor):
                    seen.setdefault(mark, set()).add(names[descriptor])
                    missing.discard(mark)

    def _drain(self, descriptor: int) -> Iterator[bytes]:
        """Read all that has come, and yield the markers in it."""
        raw = self.raw.get(descriptor)
        with suppress(BlockingIOError):
            while True:
                data = os.read(descriptor, 65536) if raw is None else raw.recv(65536)
                mark = find_marker(data)
                if mark is not None:
                    yield mark

    def receive_frame(self, interface: str, awaited: bytes) -> bytes:
        """Wait for the frame with this marker on one interface."""
        descriptor = self.taps[interface]
        deadline = time.monotonic() + _DEADLINE_S
        while (left := deadline - time.monotonic()) > 0:
            if select.select([descriptor], [], [], left)[0]:
                data = os.read(descriptor, 65536)
                if find_marker(data) == awaited:
                    return data
        msg = f"no packet with marker {awaited.hex()} left by {interface}"
        raise AssertionError(msg)


def _mac_of(name: str) -> bytes:
    shown = ip("-j", "link", "show", "dev", name)
    return bytes.fromhex(json.loads(shown)[0]["address"].replace(":", ""))


def ip(*words: str, stdin: str = "") -> str:
    """Run ip(8) in this namespace and return what it prints."""
    done = subprocess.run(
        ("ip", *words), check=True, capture_output=True, text=True, input=stdin
    )
    return done.stdout


def write_sysctl(path: str, value: str) -> None:
    """Set a parameter of this network namespace."""
    Path("/proc/sys", path).write_text(value, encoding="ascii")
