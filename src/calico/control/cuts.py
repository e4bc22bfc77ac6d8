"""The flows that this host's agent has cut, in a file that anyone may be shown.

The agent appends, `calicoctl flows cut` reads, with or without an agent: what
was cut is asked for when something has gone wrong. A record is one JSON object
on one line and is written before its flow is cut, so whatever kills the agent
leaves a record too many at worst. A line that was torn is left behind and
passed over.

There are two files. When the newer one is full it takes the older one's place,
so between them are always the last `N_KEPT` records and never more than twice
as many.
"""

import grp
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import cast

from calico.control.protocol import BadMessage
from calico.model.errors import CalicoError
from calico.settings import GROUP

FILE_NAME = "cuts.jsonl"
OLDER_FILE_NAME = "cuts.jsonl.1"
N_KEPT = 1000
MAX_FILE_BYTES = 2 << 20

_MODE = 0o640
_N_TRIES = 10


class Side(Enum):
    """Which end of a flow an endpoint was; the value is what people read."""

    SOURCE = "source"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class CutFlow:
    """An established flow that was cut, because policy denies it.

    Attributes:
        at: When, ISO 8601 in UTC.
        protocol: By name where we know one, else `protocol` and the number.
        source: The address of who began it, before masquerading.
        destination: The address that it leads to, after translation.
        source_port: `None` for a protocol without ports.
        destination_port: Likewise, after translation.
        icmp_type: Of the first packet; `None` for other protocols.
        icmp_code: Likewise.
        rule: The origin of the verdict, in words.
        profile: The profile that denies; `None` when it is none in particular.
        direction: `inbound` or `outbound`, when policy denies.
        number: Of the rule, as `rule show` counts; `None` when it is no rule.
        endpoint: The endpoint whose policy denies: orchestrator, workload, id.
        side: Which end of the flow that endpoint is.
    """

    at: str
    protocol: str
    source: str
    destination: str
    source_port: int | None
    destination_port: int | None
    icmp_type: int | None
    icmp_code: int | None
    rule: str
    profile: str | None
    direction: str | None
    number: int | None
    endpoint: str
    side: Side

    @property
    def flow(self) -> str:
        """Protocol, addresses, and ports or ICMP type, as people read them."""
        source = _end(self.source, self.source_port)
        destination = _end(self.destination, self.destination_port)
        text = f"{self.protocol} {source} > {destination}"
        if self.icmp_type is None:
            return text
        return f"{text} type {self.icmp_type} code {self.icmp_code}"


_MEMBERS = tuple(each.name for each in fields(CutFlow))


@dataclass(frozen=True, slots=True)
class CutHistory:
    """What the files hold.

    Attributes:
        cuts: The last ones, oldest first.
        n_unreadable: How many lines were no record.
    """

    cuts: tuple[CutFlow, ...]
    n_unreadable: int


class CutsUnreadable(CalicoError):  # noqa: N818 -- says what it is
    """The files are there and cannot be read.

    Attributes:
        path: Which.
        reason: The system's words.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.reason}; "
            f"root and the group {GROUP} may read which flows were cut"
        )


class CutFile:
    """The agent's end: appends records.

    Args:
        directory: Where the files are.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._older = directory / OLDER_FILE_NAME
        self._inode = 0
        self._n_lines = 0
        self._is_torn = False

    def append(self, cuts: Sequence[CutFlow]) -> None:
        """Write records, each line in one piece with its end.

        Raises:
            OSError: They cannot be written.
        """
        # What would be pushed out by its own successors is not written at all.
        lines = [encode_cut(each) for each in cuts[-N_KEPT:]]
        if not lines:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._make_room(len(lines))
        fd = self._open()
        try:
            self._write(fd, lines)
        finally:
            os.close(fd)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path, flags, _MODE)
        found = os.fstat(fd)
        if found.st_ino != self._inode or not found.st_size:
            if not found.st_size:
                _close_to_others(fd)
            self._inode = found.st_ino
            content = os.pread(fd, MAX_FILE_BYTES, 0)
            self._n_lines = content.count(b"\n")
            self._is_torn = bool(content) and not content.endswith(b"\n")
        return fd

    def _make_room(self, n_more: int) -> None:
        """Put the newer file in the older one's place when it is full."""
        fd = self._open()
        try:
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        is_big = size > MAX_FILE_BYTES // 2
        if size and (is_big or self._n_lines + n_more > N_KEPT):
            self._path.replace(self._older)

    def _write(self, fd: int, lines: Sequence[bytes]) -> None:
        raw = b"".join((b"\n" * self._is_torn, *lines))
        self._is_torn = True
        n_written = os.write(fd, raw)
        self._n_lines += raw[:n_written].count(b"\n")
        if n_written < len(raw):
            raise OSError(f"{len(raw) - n_written} bytes found no room")
        self._is_torn = False


def read_cuts(directory: Path) -> CutHistory:
    """Read which flows were cut.

    Args:
        directory: Where the files are; without files nothing was cut.

    Raises:
        CutsUnreadable: They are there and cannot be read.
    """
    lines = [line for raw in _read_both(directory) for line in raw.split(b"\n") if line]
    cuts: list[CutFlow] = []
    for line in lines:
        with suppress(BadMessage):
            cuts.append(decode_cut(line))
    return CutHistory(tuple(cuts[-N_KEPT:]), len(lines) - len(cuts))


def _read_both(directory: Path) -> tuple[bytes, bytes]:
    """Read the older file and the newer one, neither of them as the other."""
    newer, older = directory / FILE_NAME, directory / OLDER_FILE_NAME
    for _ in range(_N_TRIES):
        second, inode = _read(newer)
        first, older_inode = _read(older)
        if not inode or inode != older_inode:
            return first, second
    raise CutsUnreadable(newer, "changes all the time")


def _read(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES), os.fstat(file.fileno()).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return b"", 0
    except OSError as error:
        raise CutsUnreadable(path, error.strerror or str(error)) from None


def encode_cut(cut: CutFlow) -> bytes:
    """Write a record as a line, its end included."""
    # `asdict` would copy every text, and takes ten times as long.
    values = {name: getattr(cut, name) for name in _MEMBERS}
    values["side"] = cut.side.value
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def decode_cut(line: bytes) -> CutFlow:
    """Read a record; members that we do not know are passed over.

    Raises:
        BadMessage: It is none.
    """
    try:
        values: object = json.loads(line)
    except (ValueError, RecursionError):
        raise BadMessage("a line that is no JSON") from None
    if not isinstance(values, dict):
        raise BadMessage("a line that is no JSON object")
    read = _Record(cast("dict[str, object]", values))
    return CutFlow(
        at=read.text("at"),
        protocol=read.text("protocol"),
        source=read.text("source"),
        destination=read.text("destination"),
        source_port=read.number("source_port"),
        destination_port=read.number("destination_port"),
        icmp_type=read.number("icmp_type"),
        icmp_code=read.number("icmp_code"),
        rule=read.text("rule"),
        profile=read.optional_text("profile"),
        direction=read.optional_text("direction"),
        number=read.number("number"),
        endpoint=read.text("endpoint"),
        side=read.side("side"),
    )


class _Record:
    """The members of a line, read one by one; none is taken for what it is not."""

    def __init__(self, values: dict[str, object]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        value = self._values.get(name)
        if not isinstance(value, str):
            raise BadMessage(f"a record with {name} {value!r}")
        # What is shown on a terminal says nothing to the terminal itself.
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)

    def optional_text(self, name: str) -> str | None:
        return None if self._values.get(name) is None else self.text(name)

    def number(self, name: str) -> int | None:
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | None):
            raise BadMessage(f"a record with {name} {value!r}")
        return value

    def side(self, name: str) -> Side:
        value = self._values.get(name)
        for each in Side:
            if each.value == value:
                return each
        raise BadMessage(f"a record with {name} {value!r}")


def _close_to_others(fd: int) -> None:
    """Let root and our group read a new file, whatever the umask says."""
    with suppress(KeyError, PermissionError):
        os.fchown(fd, -1, grp.getgrnam(GROUP).gr_gid)
    os.fchmod(fd, _MODE)


def _end(address: str, port: int | None) -> str:
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
