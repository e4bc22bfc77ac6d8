"""The agent's end of the control socket: connections and frames, no answers.

One thread takes connections, reads requests and writes what it is given; each
request goes to the agent's loop together with the means to answer it. A client
that says nothing, too much or never reads costs a bounded amount and no time
of the loop.
"""

import grp
import os
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from calico.control.protocol import (
    MAX_REQUEST_BYTES,
    SOCKET_NAME,
    BadMessage,
    Request,
    decode_request,
    encode_error,
)
from calico.settings import GROUP

MAX_CONNECTIONS = 64
READ_TIMEOUT_S = 5.0

_MODE = 0o660
_CHUNK = 1 << 16
_MAX_UNREAD_BYTES = 64 << 20
_CREDENTIALS = struct.Struct("=iII")
_TICK_S = 1.0


@dataclass(slots=True)
class _Connection:
    """One client.

    Attributes:
        socket: Non-blocking.
        deadline: When it must have sent a whole request; absent while the
            agent owes it an answer.
        received: What it has sent of a line so far.
        unsent: What it has not taken yet.
    """

    socket: socket.socket
    deadline: float | None
    received: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)


Ask = Callable[[Request, Callable[[bytes], None]], None]
"""Takes a request and what to call, from any thread, with the answer's line."""


class ControlServer:
    """The listening socket; `serve` runs in a thread of its own.

    Args:
        run_dir: Where the socket is made; an old one there is replaced.
        ask: Called in the serving thread for each request.
    """

    def __init__(self, run_dir: Path, ask: Ask) -> None:
        self._ask = ask
        self._connections: dict[int, _Connection] = {}
        self._answers: deque[tuple[_Connection, bytes]] = deque()
        self._selector = selectors.DefaultSelector()
        self._group = _group_id()
        self._wake, self._wake_up = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._listener = _listen(run_dir / SOCKET_NAME, self._group)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve for ever; whatever ends this is an error."""
        while True:
            for key, events in self._selector.select(_TICK_S):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fd == self._wake:
                    self._take_answers()
                elif key.fd in self._connections:
                    self._attend(self._connections[key.fd], events)
            self._close_the_slow()

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            # It went away again, or there are no descriptors left for it.
            return
        accepted.settimeout(0.0)
        reason = self._refusal(accepted)
        if reason:
            # Whoever is refused may have left already.
            with accepted, suppress(OSError):
                accepted.send(encode_error(reason))
            return
        deadline = time.monotonic() + READ_TIMEOUT_S
        self._connections[accepted.fileno()] = _Connection(accepted, deadline)
        self._selector.register(accepted, selectors.EVENT_READ)

    def _refusal(self, accepted: socket.socket) -> str:
        if len(self._connections) >= MAX_CONNECTIONS:
            return f"{MAX_CONNECTIONS} others are connected, try again"
        raw = accepted.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
        pid, uid, gid = _CREDENTIALS.unpack(raw)
        if uid in {0, os.geteuid()} or self._group in {gid, *_groups_of(pid)}:
            return ""
        return f"user {uid} is neither root nor in the group {GROUP}"

    def _attend(self, connection: _Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._write(connection)
            if events & selectors.EVENT_READ:
                self._read(connection)
        except OSError:
            self._close(connection)

    def _read(self, connection: _Connection) -> None:
        received = connection.socket.recv(_CHUNK)
        if not received:
            self._close(connection)
            return
        connection.received += received
        if len(connection.received) > MAX_REQUEST_BYTES:
            self._refuse(connection, f"more than {MAX_REQUEST_BYTES} bytes")
            return
        while (end := connection.received.find(b"\n")) >= 0:
            line = bytes(connection.received[:end])
            del connection.received[: end + 1]
            try:
                request = decode_request(line)
            except BadMessage as error:
                self._refuse(connection, str(error))
                return
            connection.deadline = None
            self._ask(request, lambda answer: self._answer(connection, answer))

    def _answer(self, connection: _Connection, answer: bytes) -> None:
        self._answers.append((connection, answer))
        try:
            os.write(self._wake_up, b"\0")
        except BlockingIOError:
            # It is about to wake up anyway.
            return

    def _take_answers(self) -> None:
        os.read(self._wake, _CHUNK)
        while self._answers:
            connection, answer = self._answers.popleft()
            if connection.socket.fileno() < 0:
                continue
            connection.deadline = time.monotonic() + READ_TIMEOUT_S
            connection.unsent += answer
            try:
                self._write(connection)
            except OSError:
                self._close(connection)

    def _write(self, connection: _Connection) -> None:
        if len(connection.unsent) > _MAX_UNREAD_BYTES:
            self._close(connection)
            return
        try:
            sent = connection.socket.send(connection.unsent)
        except BlockingIOError:
            sent = 0
        del connection.unsent[:sent]
        wanted = selectors.EVENT_READ
        if connection.unsent:
            wanted |= selectors.EVENT_WRITE
        self._selector.modify(connection.socket, wanted)

    def _refuse(self, connection: _Connection, reason: str) -> None:
        try:
            connection.socket.send(encode_error(reason))
        finally:
            self._close(connection)

    def _close_the_slow(self) -> None:
        now = time.monotonic()
        for connection in tuple(self._connections.values()):
            if connection.deadline is not None and connection.deadline < now:
                self._close(connection)

    def _close(self, connection: _Connection) -> None:
        if connection.socket.fileno() < 0:
            return
        self._selector.unregister(connection.socket)
        del self._connections[connection.socket.fileno()]
        connection.socket.close()


def _listen(path: Path, group: int | None) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Made closed to all and opened afterwards, so that nobody is in between.
    before = os.umask(0o777)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(_MODE)
    listener.listen(MAX_CONNECTIONS)
    listener.settimeout(0.0)
    return listener


def _group_id() -> int | None:
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def _groups_of(pid: int) -> tuple[int, ...]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return ()
    for line in lines:
        if line.startswith("Groups:"):
            return tuple(int(word) for word in line.split()[1:])
    return ()
