"""Command lines: which form of a group it is, with its words and options.

Options are lifted out first, wherever they stand: `--at=1` and `--at 1` are
the same, and a beginning that only one option of the group has is enough.
A word that starts with `-` is an option, but for `-` itself; after `--` there
are none. What is left is matched against the forms, in order.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from calico.cli.grammar import (
    OUTPUT_FORMATS,
    OUTPUT_NAME,
    Form,
    Group,
    Option,
    split_form,
)
from calico.cli.usage import UsageError, expected, nearest
from calico.codec.grammar import (
    Match,
    Mismatch,
    compile_pattern,
    match_words,
    show_expected,
)

_FORMATS = ", ".join(OUTPUT_FORMATS)

HELP = frozenset({"-h", "--help"})


class Command(NamedTuple):
    """A command line that was understood.

    Attributes:
        form: Which form it is.
        match: Its words.
        options: The values of each option that was given, in order; an option
            without value has an empty one.
    """

    form: Form
    match: Match
    options: Mapping[str, tuple[str, ...]]


class _Given(NamedTuple):
    """An option as given: its full name, its value, and which words they were."""

    name: str
    value: str
    at: int
    value_at: int


class _Line(NamedTuple):
    """A command line with its options lifted out.

    Attributes:
        words: All of it.
        left: What is left, with the place of each in `words`.
        given: The options.
    """

    words: tuple[str, ...]
    left: tuple[tuple[int, str], ...]
    given: tuple[_Given, ...]

    def place(self, index: int) -> int:
        """Say where in `words` one of `left` is; past the last, the end."""
        return self.left[index][0] if index < len(self.left) else len(self.words)


def parse_command(group: Group, words: Sequence[str]) -> Command | None:
    """Understand a command line of a group.

    Args:
        group: The group.
        words: The whole line, the group's name first.

    Returns:
        `None` when it asks for the group's help.

    Raises:
        UsageError: It is none of the group's forms.
    """
    options = [split_form(form)[1] for form in group.forms]
    known = {each.name: each for some in options for each in some}
    line = _lift_options(group, words, known)
    if any(given.name in HELP for given in line.given):
        return None
    sentence = [word for _, word in line.left]
    mismatches: list[tuple[Form, Mismatch]] = []
    misfit: UsageError | None = None
    for form in group.forms:
        pattern = compile_pattern(split_form(form)[0], group.parts)
        found = match_words(pattern, sentence)
        if isinstance(found, Mismatch):
            mismatches.append((form, found))
            continue
        wrong = _misfit(form, line)
        missing = _missing(form, line)
        if wrong is not None:
            misfit = misfit or wrong
        elif missing:
            at = len(sentence)
            mismatches.append((form, Mismatch(at, missing, frozenset(missing))))
        else:
            return Command(form, found, _values(line.given))
    raise misfit or _no_form(group, line, mismatches)


def _lift_options(
    group: Group, words: Sequence[str], known: Mapping[str, Option]
) -> _Line:
    left: list[tuple[int, str]] = []
    given: list[_Given] = []
    index = 0
    while index < len(words):
        word = words[index]
        if word == "--":
            left += enumerate(words[index:], index)
            break
        if word.startswith("-") and word != "-":
            given.append(_lift_option(group, words, index, known))
            takes_next = known[given[-1].name].value and not _value_within(word)
            index += 2 if takes_next else 1
        else:
            left.append((index, word))
            index += 1
    return _Line(tuple(words), tuple(left), tuple(given))


def _value_within(word: str) -> bool:
    """Report whether an option's value is part of the word: `--a=1`, `-a1`."""
    if word.startswith("--"):
        return "=" in word
    return len(word) > len("-a")


def _lift_option(
    group: Group, words: Sequence[str], index: int, known: Mapping[str, Option]
) -> _Given:
    word = words[index]
    if word.startswith("--"):
        spelled, has_value, value = word.partition("=")
    else:
        spelled, value = word[:2], word[2:].removeprefix("=")
        has_value = word[2:]
    option = known[_full_name(words, index, spelled, known)]
    if not option.value:
        if has_value:
            raise UsageError(words, index, f"{option.name} takes no value")
        return _Given(option.name, "", index, index)
    if not has_value:
        if index + 1 == len(words):
            complaint = f"expected <{option.value}> after {option.name}"
            usage = [form.text for form in group.forms if option in split_form(form)[1]]
            raise UsageError(words, index + 1, complaint, usage)
        return _Given(option.name, words[index + 1], index, index + 1)
    return _Given(option.name, value, index, index)


def _full_name(
    words: Sequence[str], index: int, spelled: str, known: Mapping[str, Option]
) -> str:
    if spelled in known:
        return spelled
    begun = sorted(name for name in known if name.startswith(spelled))
    if len(begun) == 1 and spelled.startswith("--"):
        return begun[0]
    if begun and spelled.startswith("--"):
        raise UsageError(words, index, f"could be {' or '.join(begun)}")
    near = nearest(spelled, known)
    hint = f" (did you mean '{near}'?)" if near else ""
    accepted = ", ".join(sorted(known))
    raise UsageError(words, index, f"unknown option{hint}; there are {accepted}")


def _misfit(form: Form, line: _Line) -> UsageError | None:
    """Say which of the options given does not go with a form, if one does not."""
    takes = {each.name: each for each in split_form(form)[1]}
    seen: set[str] = set()
    for given in line.given:
        complaint = _complaint(given, takes.get(given.name), seen)
        if complaint:
            is_value = complaint.startswith(repr(given.value))
            at = given.value_at if is_value else given.at
            return UsageError(line.words, at, complaint, [form.text])
        seen.add(given.name)
    return None


def _missing(form: Form, line: _Line) -> tuple[str, ...]:
    """Name the options that a form needs and the line does not have."""
    given = {each.name for each in line.given}
    options = split_form(form)[1]
    return tuple(o.name for o in options if o.is_required and o.name not in given)


def _complaint(given: _Given, option: Option | None, seen: set[str]) -> str:
    """Say why an option cannot stand where it does; empty when it can."""
    if option is None:
        return f"{given.name} is no option here"
    if given.name in seen and not option.may_repeat:
        return f"{given.name} is given twice"
    if given.name == OUTPUT_NAME and given.value not in OUTPUT_FORMATS:
        return f"{given.value!r} is no format; there are {_FORMATS}"
    others = option.excludes & seen
    return f"{given.name} excludes {min(others)}" if others else ""


def _values(given: Sequence[_Given]) -> Mapping[str, tuple[str, ...]]:
    values: dict[str, tuple[str, ...]] = {}
    for each in given:
        values[each.name] = (*values.get(each.name, ()), each.value)
    return values


def _no_form(
    group: Group, line: _Line, mismatches: Sequence[tuple[Form, Mismatch]]
) -> UsageError:
    sentence = [word for _, word in line.left]
    furthest = max(found.at for _, found in mismatches)
    nearest_forms = [each for each in mismatches if each[1].at == furthest]
    what = dict.fromkeys(word for _, m in nearest_forms for word in m.expected)
    keywords = frozenset(word for _, m in nearest_forms for word in m.keywords)
    word = sentence[furthest] if furthest < len(sentence) else None
    complaint = expected(tuple(what), keywords, word)
    complaint += _unmet(group, sentence, furthest, keywords)
    # A keyword with a slip may have passed for a name one word earlier.
    earlier = [m for _, m in mismatches if m.at == furthest - 1]
    others = frozenset(word for m in earlier for word in m.keywords)
    slip = nearest(sentence[furthest - 1], others) if others else None
    if slip:
        complaint += f" (or is {sentence[furthest - 1]!r} meant to be '{slip}'?)"
    usage = [form.text for form, _ in nearest_forms]
    return UsageError(line.words, line.place(furthest), complaint, usage)


def _unmet(
    group: Group, sentence: Sequence[str], index: int, keywords: AbstractSet[str]
) -> str:
    """Say which word is missing before the one that does not fit."""
    for need in group.needs:
        is_meant = sentence[index : index + 1] == [need.word]
        if is_meant and need.beside in keywords and not {*need.one_of} & {*sentence}:
            some = show_expected(need.one_of, frozenset(need.one_of))
            return f"; '{need.word}' needs {some} before it"
    return ""
