"""Command lines as data: groups, their forms, and the options of a form.

A form is one usage line. Its options are written among its words, as users
read them: `[--at=<POSITION>]` may be given, `--at=<POSITION>` must be,
`[--ipv4 | --ipv6]` is at most one, `[--profile=<PROFILE>]...` any number.
What is left is a pattern for `calico.codec.grammar`. The values are named
tuples, for the reason given there.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

_OPTION = r"-{1,2}[A-Za-z0-9][A-Za-z0-9-]*(?:[= ]<[A-Z0-9_]+>)?"
_BRACKETED = re.compile(rf"\[({_OPTION}(?:\s*\|\s*{_OPTION})*)\](\.\.\.)?")
_REQUIRED = re.compile(rf"(?<![^\s]){_OPTION}(?![^\s])")

COMMON_OPTIONS: Mapping[str, str] = {
    "-h, --help": "Show this help.",
    "--debug": "Show the traceback of an error.",
}
"""Options of every command, with what they do."""

OUTPUT_NAME = "-o"
OUTPUT_OPTION = "-o <FORMAT>"
OUTPUT_FORMATS = ("json", "yaml", "name")


class Form(NamedTuple):
    """One usage line.

    Attributes:
        text: Words and options, the group's name first.
        run: `module.function` below `calico.cli`; it takes a `Call` and
            returns an exit code.
        shape: What `-o json` prints, in words; empty when the command shows
            nothing, and then `-o` is no option of it.
    """

    text: str
    run: str
    shape: str = ""


class Example(NamedTuple):
    """A command that the help shows and the tests run.

    Attributes:
        command: As typed, without `calicoctl`.
        purpose: What it is for.
        before: Commands that make it work on an empty datastore.
    """

    command: str
    purpose: str
    before: tuple[str, ...] = ()


class Need(NamedTuple):
    """A word that only goes with another one before it.

    Attributes:
        word: The word.
        beside: What is expected, among others, in its place: there it is meant.
        one_of: The words of which one must stand before.
    """

    word: str
    beside: str
    one_of: tuple[str, ...]


class Group(NamedTuple):
    """A command group.

    Attributes:
        name: The first word.
        about: What it is for, a paragraph.
        forms: In the order of the help.
        options: What each option of a form does, and each `<NAME>` that needs
            words, by its spelling in the help.
        examples: At least two.
        parts: Patterns for `<NAME>`s, as `compile_pattern` takes them.
        notes: Lines below the usage that define those patterns.
        needs: Words whose absence an error names.
    """

    name: str
    about: str
    forms: tuple[Form, ...]
    options: Mapping[str, str]
    examples: tuple[Example, ...]
    parts: Mapping[str, str]
    notes: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()


class Option(NamedTuple):
    """An option as a form takes it.

    Attributes:
        name: With its dashes.
        value: The name of its value; empty when it takes none.
        is_required: The form is only this form with it.
        may_repeat: It may be given more than once.
        excludes: Options that may not stand beside it.
    """

    name: str
    value: str = ""
    is_required: bool = False
    may_repeat: bool = False
    excludes: frozenset[str] = frozenset()


def split_form(form: Form) -> tuple[str, tuple[Option, ...]]:
    """Separate the pattern of a form's words from its options."""
    options: list[Option] = []
    text = form.text
    for found in _BRACKETED.finditer(text):
        spelled = [each.strip() for each in found[1].split("|")]
        names = frozenset(_name(each) for each in spelled)
        options += [
            Option(
                _name(each),
                _value(each),
                may_repeat=bool(found[2]),
                excludes=names - {_name(each)},
            )
            for each in spelled
        ]
    text = _BRACKETED.sub(" ", text)
    for found in _REQUIRED.finditer(text):
        options.append(Option(_name(found[0]), _value(found[0]), is_required=True))
    if form.shape:
        options.append(Option(OUTPUT_NAME, "FORMAT"))
    options += [Option("-h"), Option("--help"), Option("--debug")]
    return " ".join(_REQUIRED.sub(" ", text).split()), tuple(options)


def _name(option: str) -> str:
    return re.split("[= ]", option)[0]


def _value(option: str) -> str:
    parts = re.split("[= ]", option)
    return parts[1].strip("<>") if len(parts) > 1 else ""
