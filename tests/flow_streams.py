"""Long-lived flows between workloads, compared byte by byte.

A `Stream` sends numbered bytes over TCP and echoes them back, so that both
directions are compared; a `Datagrams` does the same with numbered datagrams
over one UDP flow. Both can be asked whether anything at all still gets across.
"""

import contextlib
import select
import socket
import time
from collections.abc import Sequence
from hashlib import sha256
from threading import Event, Thread
from typing import Self

from agent_host import Workload, until

_CHUNK = 4096
# How long silence has to last to be one.
_SPEAKS_S = 0.5


def _kind(family: int) -> socket.AddressFamily:
    return socket.AF_INET if family == 4 else socket.AF_INET6


def _address(workload: Workload, family: int) -> str:
    return str(workload.ipv4 if family == 4 else workload.ipv6)


def _block(number: int) -> bytes:
    """Return bytes that are found nowhere else in a stream."""
    return sha256(number.to_bytes(8, "big")).digest() * (_CHUNK // 32)


class Stream:
    """A TCP connection that carries data both ways until it is closed."""

    def __init__(
        self, source: Workload, target: Workload, family: int, port: int
    ) -> None:
        address = (_address(target, family), port)
        kind = _kind(family)
        with target.space.open_socket(
            lambda: socket.create_server(address, family=kind)
        ) as server:
            self.client = source.space.open_socket(lambda: socket.socket(kind))
            self.client.settimeout(30)
            self.client.connect(address)
            server.settimeout(30)
            self.server, _ = server.accept()
        self._stopping = Event()
        self._threads = [Thread(target=self._echo), Thread(target=self._talk)]
        self.n_blocks = 0
        self.fault = ""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._threads[1].join()
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_WR)
        self._threads[0].join()
        self.client.close()
        self.server.close()

    def _echo(self) -> None:
        self.server.settimeout(30)
        with contextlib.suppress(OSError):
            while received := self.server.recv(_CHUNK):
                self.server.sendall(received)

    def _talk(self) -> None:
        try:
            while not self._stopping.is_set():
                wanted = _block(self.n_blocks)
                self.client.sendall(wanted)
                found = self._receive(len(wanted))
                if found != wanted:
                    self.fault = f"block {self.n_blocks} came back different"
                    return
                self.n_blocks += 1
        except OSError as error:
            self.fault = f"after {self.n_blocks} blocks: {error}"

    def _receive(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self.client.recv(size - len(found))
            if not more:
                break
            found += more
        return found

    def pass_more(self, number: int = 20) -> None:
        """Wait until so many more blocks have come back."""
        wanted = self.n_blocks + number
        until(lambda: bool(self.fault) or self.n_blocks >= wanted, "blocks come back")


class Datagrams:
    """One UDP flow that asks and answers, one datagram after the other.

    What does not come back is not sent again: it is a fault.
    """

    def __init__(
        self, source: Workload, target: Workload, family: int, port: int
    ) -> None:
        kind, address = _kind(family), (_address(target, family), port)

        def receiving() -> socket.socket:
            made = socket.socket(kind, socket.SOCK_DGRAM)
            made.bind(address)
            return made

        self.server = target.space.open_socket(receiving)
        self.client = source.space.open_socket(
            lambda: socket.socket(kind, socket.SOCK_DGRAM)
        )
        self.client.connect(address)
        self._stopping, self._done = Event(), Event()
        self._threads = [Thread(target=self._echo), Thread(target=self._talk)]
        self.n_answers = 0
        self.fault = ""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Who answers goes last, so that nothing waits for an answer in vain.
        echo, talk = self._threads
        self._stopping.set()
        talk.join()
        self._done.set()
        echo.join()
        self.client.close()
        self.server.close()

    def _echo(self) -> None:
        self.server.settimeout(0.1)
        while not self._done.is_set():
            with contextlib.suppress(TimeoutError):
                data, asker = self.server.recvfrom(_CHUNK)
                self.server.sendto(data, asker)

    def _talk(self) -> None:
        # Long enough for a loaded machine: an answer that is late is not lost.
        self.client.settimeout(15)
        while not self._stopping.is_set():
            wanted = _block(self.n_answers)[:1000]
            try:
                self.client.send(wanted)
                found = self.client.recv(_CHUNK)
            except OSError as error:
                self.fault = f"datagram {self.n_answers}: {error}"
                return
            if found != wanted:
                self.fault = f"datagram {self.n_answers} came back different"
                return
            self.n_answers += 1

    def pass_more(self, number: int = 20) -> None:
        """Wait until so many more answers have come."""
        wanted = self.n_answers + number
        until(lambda: bool(self.fault) or self.n_answers >= wanted, "answers come")


class Pair:
    """The two ends of a quiet flow, TCP or UDP, that both may speak.

    Args:
        source: Who begins it.
        target: Who answers.
        protocol: `tcp` or `udp`.
        family: 4 or 6.
        port: The target's.
    """

    def __init__(
        self,
        source: Workload,
        target: Workload,
        protocol: str,
        family: int,
        port: int,
    ) -> None:
        kind, address = _kind(family), (_address(target, family), port)
        if protocol == "tcp":
            with target.space.open_socket(
                lambda: socket.create_server(address, family=kind)
            ) as listener:
                self.client = source.space.open_socket(lambda: socket.socket(kind))
                self.client.settimeout(30)
                self.client.connect(address)
                listener.settimeout(30)
                self.server, _ = listener.accept()
        else:
            self.server = target.space.open_socket(
                lambda: socket.socket(kind, socket.SOCK_DGRAM)
            )
            self.server.bind(address)
            self.client = source.space.open_socket(
                lambda: socket.socket(kind, socket.SOCK_DGRAM)
            )
            self.client.connect(address)
            self.client.send(b"hello")
            self.server.settimeout(30)
            _, asker = self.server.recvfrom(16)
            self.server.connect(asker)

    def __enter__(self) -> Self:
        until(lambda: self.speaks() == (True, True), "both ends are heard")
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.close()

    def speaks(self) -> tuple[bool, bool]:
        """Say whether what the source sends arrives, and what the target sends."""
        (heard,) = who_speaks([self])
        return heard


def who_speaks(pairs: Sequence[Pair]) -> list[tuple[bool, bool]]:
    """Let both ends of each pair speak, and say who of them was heard."""
    hearing = [other for pair in pairs for other in (pair.server, pair.client)]
    for pair in pairs:
        for one in (pair.client, pair.server):
            # One that has been reset, or refused by its own host.
            with contextlib.suppress(OSError):
                one.send(b"x")
    waiting, heard = set(hearing), set[socket.socket]()
    deadline = time.monotonic() + _SPEAKS_S
    while waiting and (left := deadline - time.monotonic()) > 0:
        for each in select.select(list(waiting), [], [], left)[0]:
            waiting.remove(each)
            with contextlib.suppress(OSError):
                if each.recv(16):
                    heard.add(each)
    return [(pair.server in heard, pair.client in heard) for pair in pairs]
