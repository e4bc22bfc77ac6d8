"""Give the machine's own datastore to the group, once that exists.

Whoever makes the datastore gives it to the group at once; root, who usually is
the first, may make the group only later. Until then the directory is as we
make it without a group, and that is how it is known: a directory with any
other owner, group or mode is as an administrator wants it. It is done for the
machine's own directory alone, because anywhere else root may have made such a
directory himself.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from calico.settings import GROUP
from calico.store.sqlite_files import StoreFiles

_ROOT = 0


def share_with_group(directory: Path) -> None:
    """Give the group a directory that has been root's alone since it was made.

    Nothing happens when it is not, when the group does not exist, or when this
    process is not root.
    """
    if os.geteuid() != _ROOT or not _is_as_made(directory, stat.S_IFDIR | 0o700):
        return
    import grp  # noqa: PLC0415 -- only ever needed once on a machine

    # No such group, or one that this user namespace does not map.
    with suppress(KeyError, OSError):
        group = grp.getgrnam(GROUP).gr_gid
        # The directory is the last one: before it nobody else gets at the files,
        # and whoever is interrupted begins again.
        for path in _files(directory):
            if _is_as_made(path, stat.S_IFREG | 0o600):
                os.chown(path, -1, group)
                path.chmod(0o660)
        os.chown(directory, -1, group)
        directory.chmod(0o2770)


def _files(directory: Path) -> tuple[Path, ...]:
    files = StoreFiles(directory)
    shared_memory = files.database.with_name(f"{files.database.name}-shm")
    beside = (files.wal, shared_memory, files.lock, files.notify, files.marker)
    return (files.database, *beside)


def _is_as_made(path: Path, mode: int) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return (found.st_uid, found.st_gid, found.st_mode) == (_ROOT, _ROOT, mode)
