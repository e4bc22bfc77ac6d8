"""Patterns of words, and the parser that every pattern is.

A pattern is written as users read it in a usage line:

    profile <PROFILE> rule add (inbound|outbound) <RULE>

`word` stands for itself, `<NAME>` for any one word, `[…]` may be absent,
`(…|…)` offers a choice, `…...` is once or more. A `<NAME>` for which `parts`
holds a pattern stands for that pattern.

Matching walks the pattern with backtracking and remembers the furthest word
that anything was expected at, and what: one description gives the parse, the
error and the completion. Not here: options, which a command line lifts out
before, and what words mean.

The values here are named tuples: every command waits for this module, and a
frozen dataclass takes eight times as long to define (0.57 ms against 0.07).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

END = "end of command"
"""What is expected where a pattern may stop."""

_TOKEN = re.compile(
    r"\.\.\.|<[A-Z0-9_]+>|[\[\]()|]|[^\s\[\]()|<>]+?(?=\.\.\.|[\s\[\]()|<>]|\Z)"
)


class Word(NamedTuple):
    """A word that stands for itself."""

    text: str


class Slot(NamedTuple):
    """Any one word, found again under `name`."""

    name: str


class Row(NamedTuple):
    """One node after another; if it has a name, its words are found under it."""

    nodes: tuple["Node", ...]
    name: str = ""


class Choice(NamedTuple):
    """One of several nodes; the first that lets the rest match."""

    nodes: tuple["Node", ...]


class Repeat(NamedTuple):
    """A node once or more often, as often as it can."""

    node: "Node"


Node = Word | Slot | Row | Choice | Repeat

_NOTHING = Row(())


class Match(NamedTuple):
    """The words of a sentence, by their part in the pattern.

    Attributes:
        keywords: The words that stand for themselves.
        values: What stood in each slot or named part, in order; what was not
            there is absent.
    """

    keywords: frozenset[str]
    values: Mapping[str, tuple[str, ...]]

    def get(self, name: str) -> str | None:
        """Return the one word in a slot, or `None` if it was not there."""
        found = self.values.get(name)
        return found[0] if found else None


class Mismatch(NamedTuple):
    """Why a sentence does not match.

    Attributes:
        at: The first word that does not fit; the number of words if it is
            one more that is missing.
        expected: What would fit there: words, `<NAME>`s and `END`.
        keywords: Those of `expected` that stand for themselves.
    """

    at: int
    expected: tuple[str, ...]
    keywords: frozenset[str]


@dataclass(slots=True)
class _Walk:
    """A sentence, and the furthest place where it failed to match.

    Attributes:
        words: The sentence.
        index: The furthest word at which anything was expected.
        expected: What was expected there, in the order of the pattern; true
            for words that stand for themselves.
    """

    words: Sequence[str]
    index: int = 0
    expected: dict[str, bool] = field(default_factory=dict[str, bool])

    def expect(self, index: int, what: str, *, is_keyword: bool) -> None:
        if index > self.index:
            self.index = index
            self.expected.clear()
        if index == self.index:
            self.expected[what] = is_keyword


# What a partial match has found: the name, empty for a keyword, the first word
# and the one after the last, and what was found before.
_Found = tuple[str, int, int, "_Found | None"]


def compile_pattern(text: str, parts: Mapping[str, str] | None = None) -> Node:
    """Read a pattern.

    Args:
        text: As the module describes.
        parts: Patterns by the name of the `<NAME>` that stands for them.

    Raises:
        ValueError: It is no pattern; a mistake of the programmer.
    """
    tokens = _TOKEN.findall(text)
    node, rest = _choice(tokens, 0, parts or {})
    if rest != len(tokens):
        raise ValueError(f"bracket closed that was not open: {text}")
    return node


def _choice(
    tokens: Sequence[str], start: int, parts: Mapping[str, str]
) -> tuple[Node, int]:
    rows: list[Node] = []
    index = start
    while True:
        row, index = _row(tokens, index, parts)
        rows.append(row)
        if index == len(tokens) or tokens[index] != "|":
            break
        index += 1
    return (rows[0] if len(rows) == 1 else Choice(tuple(rows))), index


def _row(
    tokens: Sequence[str], start: int, parts: Mapping[str, str]
) -> tuple[Node, int]:
    nodes: list[Node] = []
    index = start
    while index < len(tokens) and tokens[index] not in {"|", "]", ")"}:
        if tokens[index] == "...":
            nodes[-1] = Repeat(nodes[-1])
            index += 1
        else:
            node, index = _node(tokens, index, parts)
            nodes.append(node)
    return (nodes[0] if len(nodes) == 1 else Row(tuple(nodes))), index


def _node(
    tokens: Sequence[str], index: int, parts: Mapping[str, str]
) -> tuple[Node, int]:
    token = tokens[index]
    if token in {"[", "("}:
        node, end = _choice(tokens, index + 1, parts)
        if end == len(tokens):
            raise ValueError(f"bracket not closed: {' '.join(tokens)}")
        return (Choice((node, _NOTHING)) if token == "[" else node), end + 1
    if not token.startswith("<"):
        return Word(token), index + 1
    name = token.strip("<>")
    if name in parts:
        return Row((compile_pattern(parts[name], parts),), name), index + 1
    return Slot(name), index + 1


def match_words(pattern: Node, words: Sequence[str]) -> Match | Mismatch:
    """Match a whole sentence."""
    walk = _Walk(words)
    for end, found in _walk(pattern, walk, 0, None):
        if end == len(words):
            return _gather(found, words)
        walk.expect(end, END, is_keyword=False)
    return Mismatch(
        walk.index,
        tuple(walk.expected),
        frozenset(what for what, is_keyword in walk.expected.items() if is_keyword),
    )


def _gather(found: _Found | None, words: Sequence[str]) -> Match:
    keywords: set[str] = set()
    values: dict[str, tuple[str, ...]] = {}
    while found is not None:
        name, start, end, found = found
        if name:
            values[name] = (*words[start:end], *values.get(name, ()))
        else:
            keywords.add(words[start])
    return Match(frozenset(keywords), values)


def _walk(
    node: Node, walk: _Walk, index: int, found: _Found | None
) -> Iterator[tuple[int, _Found | None]]:
    """Yield each way to match `node` from `index`: where it ends, what is found."""
    match node:
        case Row(nodes, name):
            for end, inner in _walk_row(nodes, walk, index, found):
                yield end, (name, index, end, inner) if name else inner
        case Choice(nodes):
            yield from (way for n in nodes for way in _walk(n, walk, index, found))
        case Repeat(once):
            for end, inner in _walk(once, walk, index, found):
                if end > index:
                    yield from _walk(node, walk, end, inner)
                yield end, inner
        case Word() | Slot():
            yield from _walk_one(node, walk, index, found)
        case _:
            assert_never(node)


def _walk_one(
    node: Word | Slot, walk: _Walk, index: int, found: _Found | None
) -> Iterator[tuple[int, _Found | None]]:
    if _takes(node, walk.words, index):
        name = node.name if isinstance(node, Slot) else ""
        yield index + 1, (name, index, index + 1, found)
    elif isinstance(node, Slot):
        walk.expect(index, f"<{node.name}>", is_keyword=False)
    else:
        walk.expect(index, node.text, is_keyword=True)


def _walk_row(
    nodes: Sequence[Node], walk: _Walk, index: int, found: _Found | None
) -> Iterator[tuple[int, _Found | None]]:
    if not nodes:
        yield index, found
        return
    for end, inner in _walk(nodes[0], walk, index, found):
        yield from _walk_row(nodes[1:], walk, end, inner)


def _takes(node: Word | Slot, words: Sequence[str], index: int) -> bool:
    """Report whether one word fits; the first `--` never fills a slot."""
    if index >= len(words):
        return False
    if isinstance(node, Word):
        return words[index] == node.text
    return words[index] != "--" or "--" in words[:index]


def show_expected(expected: Sequence[str], keywords: frozenset[str]) -> str:
    """Spell what was expected as part of a sentence, keywords quoted."""
    spelled = [f"'{each}'" if each in keywords else each for each in expected]
    if len(spelled) == 1:
        return spelled[0]
    return f"{', '.join(spelled[:-1])} or {spelled[-1]}"
