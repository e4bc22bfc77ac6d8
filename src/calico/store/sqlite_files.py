"""The files of the SQLite store: where they are, whose, and on what.

    calico.db          the store itself; `-wal` and `-shm` are SQLite's
    calico.db-lock     locked by whoever writes or checkpoints, and names it
    calico.db-notify   the newest revision, written after it is durable
    STORE-ID           says that a store was made here, and which

The marker is what tells an emptied or vanished store from one that was never
made: without it, a file cut to nothing would be taken for a new, empty store,
and every policy would be gone without an error.

Everything is readable and writable for the owner, and for the group where the
directory is: the directory decides, so that a lab's own directory stays
private.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from calico.model.errors import StoreCorrupt, StoreNotPermitted, Unavailable
from calico.settings import GROUP, how_to_join

REMOTE_FILE_SYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "fuse.glusterfs",
        "fuse.sshfs",
        "gfs2",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
        "virtiofs",
    }
)
"""Kinds of file system whose locks or shared memory SQLite cannot rely on."""

_MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class StoreFiles:
    """The paths of one store.

    Attributes:
        directory: Holds all of them and nothing that matters to us otherwise.
    """

    directory: Path

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.directory / "calico.db"

    @property
    def wal(self) -> Path:
        """SQLite's log of what is not yet in the database file."""
        return self.directory / "calico.db-wal"

    @property
    def lock(self) -> Path:
        """The file that writers lock."""
        return self.directory / "calico.db-lock"

    @property
    def notify(self) -> Path:
        """The file that holds the newest revision."""
        return self.directory / "calico.db-notify"

    @property
    def fresh(self) -> Path:
        """A database that is being made."""
        return self.directory / "calico.db-new"

    @property
    def marker(self) -> Path:
        """The file that holds the store's identifier."""
        return self.directory / "STORE-ID"


def prepare_directory(directory: Path) -> None:
    """Make the directory if it is missing, and refuse one we cannot work in.

    Raises:
        StoreNotPermitted: This user may not make it or write in it.
        Unavailable: It cannot be used by anybody.
    """
    try:
        directory.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not directory.is_dir():
            raise Unavailable(str(directory), "is not a directory") from None
    except PermissionError:
        raise not_permitted(directory, "cannot be created by this user") from None
    except OSError as error:
        if error.errno == errno.EROFS:
            raise _read_only(directory) from None
        raise Unavailable(str(directory), error.strerror or str(error)) from error
    else:
        _give_to_group(directory)
    _refuse_remote(directory)
    check_writable(directory)


def check_writable(path: Path) -> None:
    """Refuse a file or directory that this user may not read and write.

    Raises:
        StoreNotPermitted: It may not.
    """
    mode = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
    if not os.access(path, mode, effective_ids=True):
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            raise _read_only(path)
        raise not_permitted(path, _denied(path))


def not_permitted(path: Path, found: str) -> StoreNotPermitted:
    """Build the error for a user who may not use the store."""
    return StoreNotPermitted(
        str(path),
        found,
        (
            "use sudo",
            how_to_join("run any calicoctl command that uses the datastore"),
            "try it in a lab of your own: calicoctl lab up",
        ),
    )


def file_size(path: Path) -> int | None:
    """Return the size of a regular file in bytes, or `None` if it is absent.

    Raises:
        StoreNotPermitted: This user may not look.
        StoreCorrupt: Something else than a file is there.
        Unavailable: Nobody can look, as below a file in place of a directory.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    except PermissionError:
        raise not_permitted(path, "cannot be seen by this user") from None
    except OSError as error:
        raise Unavailable(str(path), error.strerror or str(error)) from error
    if not stat.S_ISREG(found.st_mode):
        raise StoreCorrupt(str(path), "is not a regular file")
    return found.st_size


def open_beside(path: Path) -> int:
    """Open one of our small files for reading and writing; make it if absent.

    Returns:
        A descriptor that is not inherited by other programs.

    Raises:
        StoreNotPermitted: This user may not.
        Unavailable: The file system does not let us.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            descriptor = os.open(path, flags | os.O_CREAT, 0o600)
            share(descriptor, path.parent)
            return descriptor
    except PermissionError:
        raise not_permitted(path, "cannot be opened by this user") from None
    except OSError as error:
        raise Unavailable(str(path), error.strerror or str(error)) from error


def share(descriptor: int, directory: Path) -> None:
    """Give a new file the group of its directory, and the group's rights."""
    holder = directory.stat()
    shared = holder.st_mode & stat.S_IWGRP
    try:
        if shared and os.fstat(descriptor).st_gid != holder.st_gid:
            os.fchown(descriptor, -1, holder.st_gid)
    except OSError:
        # Only root, or a member, can pass the group on. Somebody who can do
        # neither keeps the file to himself rather than show it to his group.
        shared = 0
    os.fchmod(descriptor, 0o660 if shared else 0o600)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(directory: Path) -> int:
    """Return what a process without privileges can still write there."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def file_system_kind(mounts: str, device: int) -> str | None:
    """Return what kind of file system a device number stands for.

    Args:
        mounts: The text of /proc/self/mountinfo.
        device: `st_dev` of a file on it.

    Returns:
        The kind, such as `ext4`; `None` if no mount shows that number, which
        is so for subvolumes.

    Source:
        proc_pid_mountinfo(5).
    """
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2:3] == [wanted]:
            return rest.split()[0]
    return None


def _refuse_remote(directory: Path) -> None:
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # Without /proc nobody can tell; SQLite's own locks still work.
    kind = file_system_kind(mounts, directory.stat().st_dev)
    if kind in REMOTE_FILE_SYSTEMS:
        raise Unavailable(
            str(directory),
            f"is on a {kind} file system, where several processes cannot share "
            "a SQLite store safely",
            ("set CALICO_DATA_DIR to a directory on a local disk",),
        )


def _give_to_group(directory: Path) -> None:
    """Open a new directory to the group, if we are root and it exists."""
    if os.geteuid() != 0:
        return
    import grp  # noqa: PLC0415 -- only ever needed once on a machine

    try:
        group = grp.getgrnam(GROUP).gr_gid
        os.chown(directory, -1, group)
    except (KeyError, OSError):
        return  # No such group, or one that this user namespace does not map.
    directory.chmod(0o2770)


def _read_only(path: Path) -> StoreNotPermitted:
    return StoreNotPermitted(
        str(path),
        "is on a read-only file system",
        (
            "see the kernel's log for why it is (dmesg), and mount it writable",
            "set CALICO_DATA_DIR to a directory that can be written",
        ),
    )


def _denied(path: Path) -> str:
    found = path.stat()
    return (
        "may not be read and written by this user "
        f"(owner {found.st_uid}, group {found.st_gid}, "
        f"mode {stat.S_IMODE(found.st_mode):04o})"
    )
