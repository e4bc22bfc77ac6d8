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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from frames import find_marker

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_IPPROTO = (1, 6, 17, 47, 58, 253)
_DEADLINE_S = 2.0

SYSCTLS = (
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv4/icmp_ratelimit", "0"),
)


@dataclass(slots=True)
class Wire:
    """The taps by interface name, and the host's raw sockets.

    Attributes:
        macs: The address of each interface's host end.
    """

    taps: dict[str, int] = field(default_factory=dict[str, int])
    macs: dict[str, bytes] = field(default_factory=dict[str, bytes])
    raw: dict[int, socket.socket] = field(default_factory=dict[int, socket.socket])

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
                made.settimeout(0)
                self.raw[made.fileno()] = made

    def close(self) -> None:
        """Close everything; the interfaces go with their descriptors."""
        for descriptor in self.taps.values():
            os.close(descriptor)
        for made in self.raw.values():
            made.close()

    def send(self, interface: str, data: bytes) -> None:
        """Let a frame enter the host by an interface."""
        os.write(self.taps[interface], data)

    def receive(self, awaited: Iterable[bytes]) -> Mapping[bytes, set[str]]:
        """Collect where markers came out, until all awaited ones have.

        Returns:
            For each marker seen, the interfaces it left by; `host` for those
            delivered to the host.
        """
        seen: dict[bytes, set[str]] = {}
        missing = set(awaited)
        names = {descriptor: name for name, descriptor in self.taps.items()}
        deadline = time.monotonic() + _DEADLINE_S
        poll = select.poll()
        for descriptor in (*names, *self.raw):
            poll.register(descriptor, select.POLLIN)
        while True:
            left = max(0.0, deadline - time.monotonic()) if missing else 0.0
            ready = poll.poll(left * 1000)
            if not ready:
                return seen
            for descriptor, _ in ready:
                data = (
                    os.read(descriptor, 65536)
                    if descriptor in names
                    else self.raw[descriptor].recv(65536)
                )
                mark = find_marker(data)
                if mark is not None:
                    seen.setdefault(mark, set()).add(names.get(descriptor, "host"))
                    missing.discard(mark)

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


def ip(*words: str) -> str:
    """Run ip(8) in this namespace and return what it prints."""
    done = subprocess.run(("ip", *words), check=True, capture_output=True, text=True)
    return done.stdout


def write_sysctl(path: str, value: str) -> None:
    """Set a parameter of this network namespace."""
    Path("/proc/sys", path).write_text(value, encoding="ascii")
