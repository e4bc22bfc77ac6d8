"""What BIRD answers at its control socket, as values.

A reply is a sequence of lines. A line begins with four digits, the code, and a
sign: `-` when more follows, a space when it is the last one. A line that begins
with a space goes on with the code before. Codes from 8000 on are refusals.

What is not understood is left out, for another version may say more or other
things than the one this was written for.

Source:
    BIRD 2.0 source, doc/reply_codes and nest/proto.c.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from calico.netset import Address

FIRST_REFUSAL = 8000

_CODE = re.compile(r"(\d{4})([- ])")
_PROTOCOL = 1002
_DETAIL = 1006
_STATUS_LINES = frozenset({1000, 1011, 13, 24, 25})
_TIME = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\Z")
_BGP = "BGP"
_N_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class ReplyLine:
    """One line of a reply.

    Attributes:
        code: What kind of line it is.
        text: What it says, with the spaces that it begins with.
    """

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class BirdProtocol:
    """What BIRD says of one of its protocols; of a peering, if it is BGP.

    Attributes:
        name: What the configuration calls it.
        kind: `BGP`, `Kernel`, `Static`, ….
        table: The table it belongs to, or `---`.
        state: `up`, `start`, `down`, ….
        since: Since when, in BIRD's words.
        info: What BIRD adds, such as `Established` or the last error.
        description: What the configuration describes it by.
        neighbor: The peer, if it is BGP.
        neighbor_as: The AS of the peer, if it is BGP.
        bgp_state: `Established`, `Active`, …, if it is BGP.
        last_error: Why the session ended last, or empty.
    """

    name: str
    kind: str
    table: str
    state: str
    since: str
    info: str
    description: str = ""
    neighbor: Address | None = None
    neighbor_as: int | None = None
    bgp_state: str = ""
    last_error: str = ""

    @property
    def is_bgp(self) -> bool:
        """Whether it is a peering."""
        return self.kind == _BGP


@dataclass(frozen=True, slots=True)
class BirdStatus:
    """How BIRD is.

    Attributes:
        version: As it names itself.
        lines: What it says about itself, one fact a line.
        is_recovering: It has begun anew, and still takes over what was there.
    """

    version: str
    lines: tuple[str, ...]
    is_recovering: bool = False


@dataclass(slots=True)
class ReplyReader:
    """Takes a reply apart while it comes.

    Attributes:
        lines: What has come.
        is_complete: The last line has come.
    """

    lines: list[ReplyLine] = field(default_factory=list[ReplyLine])
    is_complete: bool = False
    _code: int = 0

    def take(self, line: str) -> None:
        """Take one line without its end."""
        found = _CODE.match(line)
        if found is not None:
            self._code = int(found[1])
            self.lines.append(ReplyLine(self._code, line[found.end() :]))
            self.is_complete = found[2] == " "
        elif line.startswith(" "):
            self.lines.append(ReplyLine(self._code, line[1:]))


def find_refusal(lines: Iterable[ReplyLine]) -> str | None:
    """Return the words with which BIRD refuses, if it does."""
    for line in lines:
        if line.code >= FIRST_REFUSAL:
            return line.text.strip()
    return None


def parse_status(lines: Sequence[ReplyLine]) -> BirdStatus:
    """Read the reply to `show status`."""
    texts = [each.text.strip() for each in lines if each.code in _STATUS_LINES]
    first = texts[0] if texts else ""
    return BirdStatus(
        version=first.removeprefix("BIRD").strip(),
        lines=tuple(each for each in texts if each),
        is_recovering=any("recovery in progress" in each for each in texts),
    )


def parse_protocols(lines: Iterable[ReplyLine]) -> tuple[BirdProtocol, ...]:
    """Read the reply to `show protocols all`, in the order of the configuration."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.code == _PROTOCOL:
            found.append((line.text, []))
        elif line.code == _DETAIL and found:
            found[-1][1].append(line.text)
    made = (_protocol(text, details) for text, details in found)
    return tuple(each for each in made if each is not None)


def _protocol(text: str, details: Sequence[str]) -> BirdProtocol | None:
    words = text.split(maxsplit=_N_COLUMNS)
    if len(words) < _N_COLUMNS:
        return None
    name, kind, table, state = words[:_N_COLUMNS]
    rest = words[_N_COLUMNS] if len(words) > _N_COLUMNS else ""
    since, info = _split_since(rest)
    facts = _facts(details)
    return BirdProtocol(
        name=name,
        kind=kind,
        table=table,
        state=state,
        since=since,
        info=info,
        description=facts.get("Description", ""),
        neighbor=_address(facts.get("Neighbor address", "")),
        neighbor_as=_number(facts.get("Neighbor AS", "")),
        bgp_state=facts.get("BGP state", ""),
        last_error=facts.get("Last error", ""),
    )


def _split_since(rest: str) -> tuple[str, str]:
    """Part the time, which is one word or two, from what follows it."""
    since, _, info = rest.partition(" ")
    second, _, more = info.lstrip().partition(" ")
    if _TIME.match(second) and not _TIME.match(since):
        return f"{since} {second}", _squeeze(more)
    return since, _squeeze(info)


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _facts(details: Iterable[str]) -> dict[str, str]:
    """Read lines of the form `name: value`; the first of a name counts.

    Those of the protocol itself come before those of its channels.
    """
    found: dict[str, str] = {}
    for line in details:
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def _address(text: str) -> Address | None:
    try:
        # BIRD adds the interface to an address that depends on it.
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _number(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal()
    return int(text) if is_number else None
