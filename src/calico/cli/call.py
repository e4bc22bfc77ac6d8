"""A command being carried out: its words, and what it may use."""

import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from calico.cli import output
from calico.cli.parse import Command
from calico.cli.refusal import Refused, paragraph
from calico.cli.usage import show_word
from calico.codec.json_text import Json
from calico.model.errors import Unavailable
from calico.settings import BadAuthority, Settings
from calico.store.api import Note, Store


@dataclass(slots=True)
class Call:
    """One run of `calicoctl`.

    Attributes:
        words: The command line, without `calicoctl`.
        command: What was understood of it.
        environ: The environment variables.
    """

    words: Sequence[str]
    command: Command
    environ: Mapping[str, str]
    _settings: Settings | None = field(default=None, init=False)
    _store: Store | None = field(default=None, init=False)
    _unavailable: Unavailable | None = field(default=None, init=False)

    def word(self, name: str) -> str:
        """Return the word in a slot that every line of this form has."""
        return self.command.match.values[name][0]

    def optional_word(self, name: str) -> str | None:
        """Return the word in a slot, or `None` if the line has none."""
        return self.command.match.get(name)

    def all_words(self, name: str) -> tuple[str, ...]:
        """Return all words in a slot, in order."""
        return self.command.match.values.get(name, ())

    def has(self, keyword: str) -> bool:
        """Report whether a keyword is in the line."""
        return keyword in self.command.match.keywords

    def has_option(self, name: str) -> bool:
        """Report whether an option was given."""
        return name in self.command.options

    def option(self, name: str) -> str | None:
        """Return the value of an option, or `None` if it was not given."""
        return next(iter(self.command.options.get(name, ())), None)

    def all_options(self, name: str) -> tuple[str, ...]:
        """Return every value of an option that may be repeated."""
        return self.command.options.get(name, ())

    @property
    def settings(self) -> Settings:
        """Where things are.

        Raises:
            InvalidResource: The environment says something impossible.
            Refused: So does `ETCD_AUTHORITY`, in the original's words.
        """
        if self._settings is None:
            try:
                self._settings = Settings.from_environment(self.environ)
            except BadAuthority as error:
                raise Refused(paragraph(str(error))) from None
        return self._settings

    @property
    def store(self) -> Store:
        """The datastore, opened when first asked for.

        A command that only shows something makes none: a mistyped directory
        would look like one without any policy.

        Raises:
            Unavailable: It cannot be reached, or refuses us.
        """
        if self.command.form.shape:
            return self.existing_store
        if self._store is None:
            from calico.store.open import open_store  # noqa: PLC0415 -- some need none

            self._store = open_store(self.settings)
        return self._store

    @property
    def existing_store(self) -> Store:
        """The datastore, for a command that makes none.

        Raises:
            Unavailable: It cannot be reached, refuses us, or does not exist.
        """
        if self._unavailable is not None:
            # To find that out a second time takes as long again.
            raise self._unavailable
        if self._store is None:
            from calico.store.open import (  # noqa: PLC0415 -- some need none
                open_existing_store,
            )

            try:
                self._store = open_existing_store(self.settings)
            except Unavailable as error:
                self._unavailable = error
                raise
        return self._store

    def note(self) -> Note:
        """Make the note that a change by this command carries."""
        command = " ".join(["calicoctl", *(show_word(word) for word in self.words)])
        return Note(_user(self.environ), self.settings.hostname, command)

    def show(self, value: Json, names: Sequence[str], text: Callable[[], None]) -> int:
        """Print what the command shows, in the format that `-o` asks for.

        Args:
            value: For `json` and `yaml`.
            names: For `name`: one identifier a line.
            text: Prints it for people.

        Returns:
            0, for the command to return.
        """
        output.show(self.option("-o"), value, names, text)
        return 0

    def close(self) -> None:
        """Let go of the datastore."""
        if self._store is not None:
            self._store.close()
            self._store = None


def _user(environ: Mapping[str, str]) -> str:
    """Name the user: who asked sudo, or the process's own user."""
    name = str(os.getuid())
    with suppress(KeyError):
        name = pwd.getpwuid(os.getuid()).pw_name
    asked = environ.get("SUDO_USER")
    return f"{asked} as {name}" if asked and os.getuid() == 0 else name
