"""YAML as values whose types are checked, with the line of each.

What a plain word means is what JSON would have it mean: `true`, `false`,
`null` and numbers; all else is text. So `no`, `12:30` and `2026-01-01` are
text, as those who write them expect. Tags are refused. An alias stands for a
copy of what it names, and copies are counted, so that a short text cannot
stand for a long one.

The same reader finds the lines of JSON: it is YAML but for its tabs.

This module is imported late: the parser takes 15 ms to load, and documents in
JSON without a fault do without.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from calico.codec.json_text import Decoded, Field, path_below
from calico.model.errors import InvalidResource

MAX_DEPTH = 32
"""How deep lists and objects may stand in each other."""

MAX_VALUES = 2_000_000
"""How many values a text may stand for, copies counted."""

_CONSTANTS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "false": False,
}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z")
_REAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+|(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z")


@dataclass(frozen=True, slots=True)
class _Scalar:
    line: int
    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class _List:
    line: int
    items: "list[_Node]"


@dataclass(frozen=True, slots=True)
class _Object:
    """An object; of each member the line of its key, too."""

    line: int
    members: "dict[str, tuple[int, _Node]]"


_Node = _Scalar | _List | _Object


def parse_yaml(text: bytes, *, max_bytes: int) -> Field:
    """Read one YAML document.

    Args:
        text: The document and nothing else.
        max_bytes: What is longer is not looked at.

    Raises:
        InvalidResource: It is too large, or is not YAML as we accept it.
    """
    if len(text) > max_bytes:
        raise InvalidResource("$", f"{len(text)} bytes", f"at most {max_bytes} bytes")
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{text[error.start]:02x} at offset {error.start}"
        raise InvalidResource(f"line {line}", found, "UTF-8 text") from None
    return Field("$", _Copier().value(_build(decoded), 0))


def find_line(text: bytes, path: str) -> int | None:
    """Find the line of a value in YAML or JSON, counted from 1.

    Args:
        text: Something that has been read before, as YAML or as JSON.
        path: The path of a `Field` in it.

    Returns:
        The line where the value, or the key that leads to it, begins; `None`
        when there is no such value.
    """
    # JSON may have tabs where YAML has none; inside of strings neither has any.
    decoded = text.decode("utf-8", "replace").replace("\t", " ")
    try:
        return _find(_build(decoded), "$", path)
    except InvalidResource:
        return None


def _build(text: str) -> _Node:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Builder(yaml.parse(text, loader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1} column {mark.column + 1}" if mark else "$"
        problem = " ".join(str(error.problem or error.context).split())
        raise InvalidResource(where, "something else", f"YAML ({problem})") from None
    except yaml.YAMLError as error:
        # A character that no YAML may hold; the reader has no line for it.
        problem = " ".join(str(error).split())
        raise InvalidResource("$", "something else", f"YAML ({problem})") from None


@dataclass(slots=True)
class _Builder:
    """Puts a document together from what the parser finds, one after another.

    The parser's own way to do so goes as deep as the text does, and the process
    ends where its stack does.
    """

    events: Iterator[Event]
    _anchors: dict[str, _Node] = field(default_factory=dict[str, _Node])

    def document(self) -> _Node:
        """Build the only document of the text."""
        next(self.events)
        event = next(self.events)
        if not isinstance(event, DocumentStartEvent):
            raise InvalidResource("line 1", "nothing", "a document")
        made = self._node(next(self.events), 0)
        for event in self.events:
            if not isinstance(event, DocumentEndEvent | StreamEndEvent):
                raise InvalidResource(_where(event), "a second document", "only one")
        return made

    def _node(self, event: Event, depth: int) -> _Node:
        if isinstance(event, AliasEvent):
            return self._named(event)
        line = _line(event)
        _verify_depth(line, depth)
        tag, anchor = getattr(event, "tag", None), getattr(event, "anchor", None)
        if tag is not None:
            raise InvalidResource(f"line {line}", f"the tag {tag}", "no tag")
        made: _Node
        if isinstance(event, ScalarEvent):
            made = _Scalar(line, _scalar(event))
        elif isinstance(event, SequenceStartEvent):
            made = _List(line, list(self._items(depth)))
        else:
            made = _Object(line, self._members(event, depth))
        if anchor is not None:
            self._anchors[anchor] = made
        return made

    def _named(self, event: AliasEvent) -> _Node:
        """Return what an alias stands for, which must be complete."""
        anchor = str(event.anchor)
        if anchor not in self._anchors:
            raise InvalidResource(
                _where(event), f"the alias *{anchor}", "the name of what ends before it"
            )
        return self._anchors[anchor]

    def _items(self, depth: int) -> Iterator[_Node]:
        while not isinstance(event := next(self.events), SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _members(self, start: Event, depth: int) -> dict[str, tuple[int, _Node]]:
        if not isinstance(start, MappingStartEvent):
            raise InvalidResource(_where(start), "no value", "a value")
        made: dict[str, tuple[int, _Node]] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                raise InvalidResource(_where(event), "a key that is no word", "text")
            key = str(event.value)
            if key in made:
                found = f"the key {key!r} twice"
                raise InvalidResource(_where(event), found, "each key once")
            made[key] = (_line(event), self._node(next(self.events), depth + 1))
        return made


def _scalar(event: ScalarEvent) -> bool | int | float | str | None:
    text = str(event.value)
    is_plain = event.implicit[0]
    if not is_plain:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _REAL.match(text) else text


def _line(event: Event) -> int:
    mark = event.start_mark
    return 1 if mark is None else int(mark.line) + 1


def _where(event: Event) -> str:
    return f"line {_line(event)}"


def _verify_depth(line: int, depth: int) -> None:
    if depth > MAX_DEPTH:
        found = "too many lists and objects in each other"
        raise InvalidResource(f"line {line}", found, f"at most {MAX_DEPTH}")


@dataclass(slots=True)
class _Copier:
    """Makes the values of a document, and counts them.

    Attributes:
        n_values: How many have been made.
    """

    n_values: int = 0

    def value(self, node: _Node, depth: int) -> Decoded:
        """Make the value that a node stands for."""
        self.n_values += 1
        if self.n_values > MAX_VALUES:
            found = "too many values (an alias counts as what it stands for)"
            raise InvalidResource(f"line {node.line}", found, f"at most {MAX_VALUES}")
        _verify_depth(node.line, depth)
        match node:
            case _Scalar():
                return node.value
            case _List():
                return [self.value(each, depth + 1) for each in node.items]
            case _Object():
                return {
                    key: self.value(each, depth + 1)
                    for key, (_, each) in node.members.items()
                }


def _find(node: _Node, at: str, path: str) -> int | None:
    """Walk from a node at a path down to another path."""
    if at == path:
        return node.line
    inside: list[tuple[str, int, _Node]] = []
    match node:
        case _Scalar():
            pass
        case _List():
            inside = [
                (f"{at}[{index}]", each.line, each)
                for index, each in enumerate(node.items)
            ]
        case _Object():
            inside = [
                (path_below(at, key), line, each)
                for key, (line, each) in node.members.items()
            ]
    for below, line, each in inside:
        if below == path:
            return line
        if path.startswith((f"{below}.", f"{below}[")):
            return _find(each, below, path)
    return None
