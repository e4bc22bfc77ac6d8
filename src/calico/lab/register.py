"""Find labs by name.

Each user has a directory with one file per lab. A file says which process
holds the lab: process ID, start time and boot, which no other process ever
shares, so a file left by a holder that died is known for what it is and is
removed by whoever comes across it. A lock beside it keeps two commands from
starting or ending a lab of one name at once.

Inside a lab (`lab shell`, `lab run`) a file of its own says so, and that lab
is the one that is found.
"""

import fcntl
import json
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from calico.lab.errors import LabError, NoSuchLab
from calico.lab.plan import DEFAULT_LAB, LAB_VARIABLE, MARK, LabHost, hosts, name_option

DIRECTORY_VARIABLE = "CALICO_LAB_DIR"
"""Names the one directory of labs to use, for labs that others do not see."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that was running when it was looked up.

    Attributes:
        name: How the user calls it.
        n_hosts: How many hosts it has.
        pid: Its holder, as seen from where the lab was looked up.
        started: When the holder started, in clock ticks since the boot.
        boot: The kernel's identifier of that boot.
        space: The PID namespace that `pid` is a number of.
        has_etcd: Its datastore is an etcd of its own.
        has_bird: BIRD carries its routes; without it the lab's commands do.
        is_inside: This process lives in the lab already.
    """

    name: str
    n_hosts: int
    pid: int
    started: int
    boot: str
    space: int
    has_etcd: bool = False
    has_bird: bool = False
    is_inside: bool = False

    @property
    def hosts(self) -> tuple[LabHost, ...]:
        """Its hosts in order."""
        return hosts(self.n_hosts)

    def is_running(self) -> bool:
        """Tell whether the holder is the process that it was.

        From another PID namespace nobody can tell, and it counts as not.
        """
        return not self.is_elsewhere() and (self.boot, self.started) == (
            boot_id(),
            start_time(self.pid),
        )

    def is_elsewhere(self) -> bool:
        """Tell whether the lab was started in another PID namespace.

        So are all others for a command inside a lab, and those of a container
        that shares a directory with us.
        """
        return self.boot == boot_id() and self.space != pid_space()

    def host(self, name: str) -> LabHost:
        """Look a host up.

        Raises:
            LabError: The lab has none of this name.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise LabError(f"host `{name}`", f"lab `{self.name}` has {known}")


def find_lab(name: str | None = None) -> Lab:
    """Look a running lab up.

    Args:
        name: As given by the user; without it the lab that this process is in,
            else the one with the default name.

    Raises:
        NoSuchLab: It is not running.
        LabError: The directory of labs cannot be used.
    """
    inside = _read(MARK) if LAB_VARIABLE in os.environ else None
    if inside is not None and name in {None, inside.name}:
        return inside
    wanted = name or DEFAULT_LAB
    running = list_labs()
    for lab in running:
        if lab.name == wanted:
            return lab
    steps = [f"start it with `calicoctl lab up{name_option(wanted)}`"]
    if running:
        others = ", ".join(f"`--name={lab.name}`" for lab in running)
        steps.append(f"name one that is: {others}")
    raise NoSuchLab(f"lab `{wanted}`", "is not running", steps)


def list_labs() -> tuple[Lab, ...]:
    """List this user's running labs by name; forget those that are not."""
    found: dict[str, Lab] = {}
    for directory in _directories():
        for path in sorted(directory.glob("*.json")):
            lab = _read(path)
            if lab is not None and lab.is_running():
                found.setdefault(lab.name, lab)
            elif lab is None or not lab.is_elsewhere():
                path.unlink(missing_ok=True)
    return tuple(found[name] for name in sorted(found))


def put_record(lab: Lab, path: Path | None = None) -> None:
    """Write down that a lab runs.

    Args:
        lab: The lab.
        path: Where; by default in the user's directory of labs.
    """
    target = path or _directory() / f"{lab.name}.json"
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.write_text(json.dumps(asdict(lab)), "utf-8")
    draft.replace(target)


def delete_record(lab: Lab) -> None:
    """Forget a lab, and only that one: another of its name may run by now."""
    for directory in _directories():
        path = directory / f"{lab.name}.json"
        if _read(path) == lab:
            path.unlink(missing_ok=True)


@contextmanager
def claim(name: str) -> Generator[None]:
    """Keep others from starting or ending the lab `name` meanwhile.

    Raises:
        LabError: Another command is doing that just now.
    """
    path = _directory() / f"{name}.lock"
    number = _lock(path)
    if number is None:
        reason = "another command is starting or ending it just now"
        raise LabError(f"lab `{name}`", reason, ("try again",))
    try:
        yield
    finally:
        path.unlink()
        os.close(number)
        _remove_empty()


def _lock(path: Path) -> int | None:
    """Lock a file by its name; `None` when somebody else has it."""
    while True:
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            # Whoever ended the last lab has taken the directory along.
            _directory()
            continue
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before removed it when done; then what is locked
            # here is no longer what others find under this name.
            if path.exists() and path.samefile(f"/proc/self/fd/{number}"):
                return number
        except BlockingIOError:
            os.close(number)
            return None
        except FileNotFoundError:
            pass
        os.close(number)


def start_time(pid: int) -> int | None:
    """Read when a process started, in clock ticks since the boot.

    Returns:
        `None` when there is no such process, or it has ended.

    Source:
        proc_pid_stat(5), fields 3 and 22. The name before them may hold
        anything, so they are counted from its closing parenthesis.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def boot_id() -> str:
    """Read what tells this boot of the machine from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def pid_space() -> int:
    """Read which PID namespace this process is in."""
    return Path("/proc/self/ns/pid").stat().st_ino


def _read(path: Path) -> Lab | None:
    try:
        fields = json.loads(path.read_text("utf-8"))
        return Lab(**fields)
    except (OSError, ValueError, TypeError):
        return None


def _candidates() -> Iterator[Path]:
    """List where this user's labs may be written down; new ones in the first.

    A session may have a runtime directory while another of the same user has
    none, so both places are looked at.
    """
    chosen = os.environ.get(DIRECTORY_VARIABLE)
    if chosen:
        yield Path(chosen).absolute()
        return
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and Path(given).is_dir() and os.access(given, os.W_OK):
        yield Path(given) / "calico-lab"
    yield Path("/tmp") / f"calico-lab-{os.getuid()}"  # noqa: S108 -- owner and mode are checked


def _directories() -> list[Path]:
    return [path for path in _candidates() if path.is_dir() and _is_ours(path)]


def _remove_empty() -> None:
    """Take our directories away when nothing is in them; not one that was chosen."""
    if not os.environ.get(DIRECTORY_VARIABLE):
        for directory in _directories():
            with suppress(OSError):
                directory.rmdir()


def _directory() -> Path:
    path = next(_candidates())
    while True:
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise LabError(str(path), f"cannot be made: {error.strerror}") from error
        try:
            facts = path.lstat()
        except FileNotFoundError:
            # It went with the last lab of another command.
            continue
        if _is_of_us_alone(facts):
            return path
        reason = "is not a directory of this user alone"
        raise LabError(str(path), reason, ("remove it",))


def _is_ours(path: Path) -> bool:
    try:
        return _is_of_us_alone(path.lstat())
    except FileNotFoundError:
        return False


def _is_of_us_alone(facts: os.stat_result) -> bool:
    return (
        stat.S_ISDIR(facts.st_mode)
        and facts.st_uid == os.getuid()
        and not facts.st_mode & 0o022
    )
