"""Speak with BIRD at its control socket.

Every exchange has a deadline, for a BIRD that is stopped or busy may answer
late or never.
"""

import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from calico.linux.bird_replies import (
    BirdProtocol,
    BirdStatus,
    ReplyLine,
    ReplyReader,
    find_refusal,
    parse_protocols,
    parse_status,
)
from calico.model.errors import RouterRejected, Unavailable

ANSWER_TIMEOUT_S = 5.0

_CHUNK = 1 << 16
_FORBIDDEN = frozenset('"\\\n\r\0')


class NoBird(Unavailable):
    """Nobody answers at BIRD's control socket."""


class BirdControl:
    """A connection to BIRD.

    Args:
        path: The control socket.
        timeout_s: How long one exchange may take.

    Raises:
        NoBird: Nobody answers there.
    """

    def __init__(self, path: Path, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._received = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(str(path))
            self._read_reply()
        except (FileNotFoundError, ConnectionRefusedError):
            self._socket.close()
            raise self._no_bird("BIRD is not running") from None
        except OSError as error:
            self._socket.close()
            raise self._no_bird(error.strerror or str(error)) from None
        except NoBird:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def read_status(self) -> BirdStatus:
        """Ask how BIRD is.

        Raises:
            NoBird: It does not answer.
            RouterRejected: It refuses to say.
        """
        return parse_status(self.ask("show status"))

    def read_protocols(self, name: str = "*") -> tuple[BirdProtocol, ...]:
        """Ask for protocols, the peerings among them.

        Args:
            name: What they are called; `*` stands for anything.

        Raises:
            NoBird: It does not answer.
            RouterRejected: It refuses to say, or has none of that name.
        """
        return parse_protocols(self.ask(f'show protocols all "{name}"'))

    def check(self, config: Path) -> None:
        """Let BIRD read a configuration without taking it.

        Raises:
            NoBird: It does not answer.
            RouterRejected: It finds a mistake.
        """
        self.ask(f'configure check "{_quotable(config)}"')

    def configure(self) -> None:
        """Let BIRD take its configuration file as it is now.

        Raises:
            NoBird: It does not answer.
            RouterRejected: It finds a mistake, and goes on as before.
        """
        self.ask("configure")

    def leave_gracefully(self) -> None:
        """Let BIRD end so that peers wait for the next one to come.

        Without this, one that is asked to end tells its peers to forget what
        they learned of it.

        Raises:
            NoBird: It does not answer.
            RouterRejected: It refuses.
        """
        self.ask("graceful restart")

    def ask(self, command: str) -> tuple[ReplyLine, ...]:
        """Give a command and return the reply.

        Raises:
            NoBird: It does not answer in time, or hangs up.
            RouterRejected: It refuses.
        """
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(command.encode() + b"\n")
            lines = self._read_reply()
        except OSError as error:
            raise self._no_bird(error.strerror or str(error)) from None
        refusal = find_refusal(lines)
        if refusal is not None:
            raise RouterRejected(command, refusal)
        return lines

    def _read_reply(self) -> tuple[ReplyLine, ...]:
        reader = ReplyReader()
        deadline = time.monotonic() + self._timeout_s
        while not reader.is_complete:
            line, end, rest = self._received.partition(b"\n")
            if end:
                self._received = rest
                reader.take(line.decode("utf-8", "backslashreplace"))
                continue
            left = deadline - time.monotonic()
            try:
                self._socket.settimeout(max(0.001, left))
                chunk = self._socket.recv(_CHUNK)
            except TimeoutError:
                chunk, left = b"", 0.0
            if left <= 0:
                raise self._no_bird(f"no answer within {self._timeout_s:g} s")
            if not chunk:
                raise self._no_bird("BIRD ended without an answer")
            self._received += chunk
        return tuple(reader.lines)

    def _no_bird(self, reason: str) -> NoBird:
        return NoBird(str(self._path), reason, ("start it with `calicoctl node`",))


def _quotable(path: Path) -> str:
    """Return a path that can stand between quotes; BIRD knows no escape.

    Raises:
        RouterRejected: It cannot.
    """
    text = str(path)
    if set(text) & _FORBIDDEN:
        raise RouterRejected(
            f"the path {text!r}", "it holds a character that BIRD cannot read"
        )
    return text
