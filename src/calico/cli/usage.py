"""Usage errors: which word does not fit, and what would.

The message repeats the command line and points at the word.
"""

from collections.abc import Iterable, Sequence

from calico.codec.grammar import show_expected
from calico.model.errors import CalicoError

_PLAIN = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-"
)
_MAX_POINTED = 160


class UsageError(CalicoError):
    """The words do not form a command.

    Attributes:
        words: The command line, without `calicoctl`.
        index: The word that does not fit; `len(words)` when one is missing.
        complaint: What would fit there, or what is wrong with it.
        usage: The usage lines that come nearest.
    """

    def __init__(
        self,
        words: Sequence[str],
        index: int,
        complaint: str,
        usage: Sequence[str] = (),
    ) -> None:
        super().__init__(tuple(words), index, complaint, tuple(usage))
        self.words = tuple(words)
        self.index = index
        self.complaint = complaint
        self.usage = tuple(usage)

    def __str__(self) -> str:
        shown = ["calicoctl", *(show_word(word) for word in self.words)]
        line = " ".join(shown)
        start = len(" ".join(shown[: self.index + 1])) + 1
        width = 1 if self.index == len(self.words) else len(shown[self.index + 1])
        if len(line) > _MAX_POINTED:
            word = "the end" if self.index == len(self.words) else shown[self.index + 1]
            lines = [f"calicoctl: at {word[:_MAX_POINTED]}: {self.complaint}"]
        else:
            lines = [line, f"{' ' * start}{'^' * width} {self.complaint}"]
        if self.usage:
            lines += ["", "Usage:", *(f"  calicoctl {each}" for each in self.usage)]
        return "\n".join(lines)


def show_word(word: str) -> str:
    """Spell a word so that a shell reads it as one, on one line."""
    if word and _PLAIN.issuperset(word):
        return word
    if word.isprintable() and word.isascii():
        return "'" + word.replace("'", "'\"'\"'") + "'"
    return "$" + ascii(word)


def expected(what: Sequence[str], keywords: frozenset[str], word: str | None) -> str:
    """Say what would fit in the place of a word, the likeliest by name."""
    text = f"expected {show_expected(what, keywords)}"
    near = None if word is None else nearest(word, keywords)
    return f"{text} (did you mean '{near}'?)" if near else text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was likely meant."""
    # Imported late: it takes 5 ms, and only an error needs it.
    from difflib import get_close_matches  # noqa: PLC0415 -- see above

    known = sorted(known)
    lowered = [each for each in known if each.lower() == word.lower()]
    return next(iter(lowered or get_close_matches(word, known, n=1)), None)
