"""Which datastore this machine uses."""

import os

from calico.model.errors import Unavailable
from calico.settings import DEFAULT_DATA_DIR, EtcdSettings, Settings
from calico.store.api import Store


def open_store(settings: Settings) -> Store:
    """Open the datastore that the settings name.

    Raises:
        InvalidResource: The settings do not say where etcd is.
        Unavailable: It cannot be reached, or refuses us. If etcd is asked for,
            another datastore is never used instead.
    """
    if settings.etcd is not None:
        return _open_etcd(settings.etcd, may_make=True)
    from calico.store.sqlite import SqliteStore  # noqa: PLC0415 -- one backend is loaded

    if settings.data_dir == DEFAULT_DATA_DIR:
        from calico.store.sqlite_group import (  # noqa: PLC0415 -- as above
            share_with_group,
        )

        share_with_group(settings.data_dir)
    return SqliteStore.open(settings.data_dir)


def open_existing_store(settings: Settings) -> Store:
    """Open the datastore that the settings name, and never make one.

    For whoever only follows or shows it: an empty datastore in place of one that
    is lost, or in a mistyped directory, would look as if all were well.

    Raises:
        InvalidResource: As for `open_store`.
        Unavailable: Likewise, or there is none.
    """
    if settings.etcd is not None:
        return _open_etcd(settings.etcd, may_make=False)
    from calico.store.sqlite_files import StoreFiles  # noqa: PLC0415 -- as above
    from calico.store.sqlite_schema import must_create  # noqa: PLC0415 -- as above

    files = StoreFiles(settings.data_dir)
    if must_create(files):
        raise Unavailable(
            str(files.database),
            "does not exist",
            (
                f"see whether CALICO_DATA_DIR should be {files.directory}",
                f"put a backup of {files.directory} in its place",
                "begin with an empty one: `calicoctl node`, or any command that"
                " adds something, makes it",
            ),
        )
    return open_store(settings)


def _open_etcd(settings: EtcdSettings, *, may_make: bool) -> Store:
    # Before the import: gRPC prints what it makes of a broken handshake otherwise,
    # and whatever of it matters is in our own errors.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from calico.store.etcd import open_etcd  # noqa: PLC0415 -- one backend is loaded
    from calico.store.etcd_place import read_place  # noqa: PLC0415 -- as above

    return open_etcd(read_place(settings), may_make=may_make)
