"""BIRD on this host: its files, and what it is told.

The configuration is a file in the run directory, which whoever starts BIRD
starts it with. It is replaced as a whole, and only by one that BIRD has read
without a mistake, if BIRD is there to be asked. At its end stands a mark of
what it says; BIRD shows that mark among its protocols, so what it runs is known
from itself, whoever started or ended what in between.

Not here: what the configuration says (`render.bird`), how BIRD is started
(`bird_process`).
"""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from calico.linux.bird_control import BirdControl
from calico.model.errors import RouterRejected, Unavailable

_MARK = "Calico_configuration"


@dataclass(frozen=True, slots=True)
class BirdFiles:
    """Where the files of this host's BIRD are.

    Attributes:
        run_dir: The directory of all of them.
    """

    run_dir: Path

    @property
    def config(self) -> Path:
        """The configuration; BIRD is started when it is there."""
        return self.run_dir / "bird.conf"

    @property
    def candidate(self) -> Path:
        """A configuration that BIRD has not read yet."""
        return self.run_dir / "bird.conf.new"

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.run_dir / "bird.ctl"

    @property
    def pid(self) -> Path:
        """The file that BIRD writes its process id to."""
        return self.run_dir / "bird.pid"


class Outcome(Enum):
    """What became of a configuration.

    Attributes:
        UNCHANGED: BIRD had it already.
        TAKEN: BIRD has it now.
    """

    UNCHANGED = "unchanged"
    TAKEN = "taken"


def put_config(files: BirdFiles, text: str) -> Outcome:
    """Make a configuration the one that BIRD has, now or when it starts.

    Args:
        files: Where it is kept.
        text: All of it.

    Returns:
        Whether BIRD had to be told.

    Raises:
        NoBird: BIRD does not answer; it will start with this.
        RouterRejected: BIRD finds a mistake in it; nothing was changed.
        Unavailable: The file cannot be written.
    """
    signed, mark = _sign(text)
    is_same = _read(files.config) == signed
    try:
        control = BirdControl(files.socket)
    except Unavailable:
        if not is_same:
            _write(files.candidate, signed)
            _replace(files)
        raise
    with control:
        if not is_same:
            _write(files.candidate, signed)
            try:
                control.check(files.candidate)
            except RouterRejected:
                with suppress(OSError):
                    files.candidate.unlink()
                raise
            _replace(files)
        if _running_mark(control) == mark:
            return Outcome.UNCHANGED
        control.configure()
    return Outcome.TAKEN


def _sign(text: str) -> tuple[str, str]:
    """Add the mark that tells which configuration this is."""
    mark = hashlib.sha256(text.encode()).hexdigest()[:32]
    lines = (
        "",
        f"protocol static {_MARK} {{",
        "  disabled;",
        f'  description "{mark}";',
        "  ipv4;",
        "}",
    )
    return text + "\n".join(lines) + "\n", mark


def _running_mark(control: BirdControl) -> str | None:
    try:
        # Alone: with a thousand peers all of them are two megabytes.
        found = control.read_protocols(_MARK)
    except RouterRejected:
        return None
    return found[0].description if found else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _write(path: Path, text: str) -> None:
    try:
        with path.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Unavailable(str(path), error.strerror or str(error)) from None


def _replace(files: BirdFiles) -> None:
    try:
        files.candidate.replace(files.config)
    except OSError as error:
        raise Unavailable(str(files.config), error.strerror or str(error)) from None
