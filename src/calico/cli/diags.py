"""`calicoctl diags`: one archive with everything that a maintainer needs.

What cannot be had is said and left out. Every part goes through the scrubber,
so that no secret of this machine is in it; the archive is its owner's alone.
"""

import io
import signal
import tarfile
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from types import FrameType
from typing import NoReturn

from calico.cli import output
from calico.cli.call import Call
from calico.cli.diags_parts import PartFailed, log_files, parts
from calico.cli.refusal import Refused, require_root
from calico.cli.secrets import Scrubber

_FOLDER = "diags"


def collect(call: Call) -> int:
    """Collect what is known of this host into an archive."""
    require_root()
    output.line("Collecting diagnostics")
    with _new_directory() as directory:
        output.line(f"Using temp dir: {directory}")
        archive = directory / time.strftime("diags-%d%m%y_%H%M%S.tar.gz")
        _write(call, archive)
    output.line(f"Diags saved to {archive}")
    output.line(
        "Secrets of this host are taken out as far as they are known. Addresses, names"
        " of workloads, and policy are in it: look at it before you hand it on."
    )
    return 0


@contextmanager
def _new_directory() -> Generator[Path]:
    """Make a directory that stays only if the block ends well."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        directory = Path(tempfile.mkdtemp(prefix="calico-diags-"))
    except OSError as error:
        raise _refused(error) from None
    try:
        yield directory
    except OSError as error:
        rmtree(directory, ignore_errors=True)
        raise _refused(error) from None
    except BaseException:
        rmtree(directory, ignore_errors=True)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _refused(error: OSError) -> Refused:
    where = tempfile.gettempdir()
    return Refused(
        f"{where}: {error.strerror or error}; no diagnostics were saved",
        "make room there, or set TMPDIR to another directory",
    )


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _write(call: Call, archive: Path) -> None:
    scrubber = Scrubber(call.environ)
    with archive.open("xb") as file:
        archive.chmod(0o600)
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for name, content in _contents(call, scrubber):
                _add(tar, name, scrubber.scrub(content))


def _contents(call: Call, scrubber: Scrubber) -> Iterator[tuple[str, bytes]]:
    """Yield every part that can be had; say which one cannot."""
    problems: list[str] = []
    for part in parts(call):
        output.line(f"Dumping {part.title}")
        output.flush()
        try:
            yield part.name, part.read()
        except PartFailed as error:
            reason = scrubber.scrub(str(error).encode()).decode(errors="replace")
            output.complain(f"Problem running command: {reason}")
            problems.append(f"{part.title}: {reason}")
    given = call.option("--log-dir")
    log_dir = call.settings.log_dir if given is None else Path(given)
    found = log_files(log_dir)
    if found:
        output.line("Copying Calico logs")
        for name, content in found:
            yield f"logs/{name}", content
    else:
        output.line(f"No logs found in {log_dir}; skipping log copying")
    if problems:
        yield "problems.txt", "\n".join(problems).encode()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(f"{_FOLDER}/{name}")
    member.size = len(content)
    member.mode = 0o600
    member.mtime = int(time.time())
    tar.addfile(member, io.BytesIO(content))
