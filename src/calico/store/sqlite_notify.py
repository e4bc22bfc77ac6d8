"""How one process tells the others that there is a new revision.

A writer writes the revision into the notify file after its commit is durable,
and inotify wakes whoever watches. A writer that dies in between is covered
twice: SQLite's own log was written to before the commit, so a change of that
file schedules another look 20 ms later; and everyone looks once a second.

The notify file is also a witness: it is never ahead of the database, so a
database that is behind it has lost something that was acknowledged.
"""

import os
from pathlib import Path

from calico.model.names import Revision
from calico.store.sqlite_files import open_beside

_BYTES = 8


class NotifyFile:
    """The newest revision, where other processes see it change.

    Args:
        path: The file; made if it is absent.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = open_beside(path)

    def read(self) -> Revision:
        """Return a revision that has been durable; 0 if none was announced."""
        content = os.pread(self._descriptor, _BYTES, 0)
        known = len(content) == _BYTES
        return Revision(int.from_bytes(content, "big") if known else 0)

    def announce(self, revision: Revision) -> None:
        """Tell everyone who watches that this revision is durable."""
        try:
            os.pwrite(self._descriptor, revision.to_bytes(_BYTES, "big"), 0)
        except OSError:
            # The change is made and must not be reported as failed. Watchers
            # find it through SQLite's log or their next look.
            return

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
