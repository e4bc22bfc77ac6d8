"""Where the store may live."""

import os
from pathlib import Path

import pytest

from calico.model.errors import Unavailable
from calico.store.sqlite_files import (
    REMOTE_FILE_SYSTEMS,
    file_system_kind,
    open_beside,
    prepare_directory,
)

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
35 22 0:31 / /mnt/far rw shared:9 master:1 - nfs4 server:/export rw,vers=4.2
36 22 0:32 / /mnt/odd\\040name rw - tmpfs none rw
"""


@pytest.mark.parametrize(
    ("device", "kind"),
    [((254, 0), "ext4"), ((0, 31), "nfs4"), ((0, 32), "tmpfs"), ((0, 99), None)],
)
def test_kind_of_file_system_is_found_by_its_device(
    device: tuple[int, int], kind: str | None
) -> None:
    assert file_system_kind(MOUNTS, os.makedev(*device)) == kind


def test_network_file_systems_are_refused_and_local_ones_are_not() -> None:
    assert {"nfs", "nfs4", "cifs", "9p"} <= REMOTE_FILE_SYSTEMS
    assert REMOTE_FILE_SYSTEMS.isdisjoint({"ext4", "xfs", "btrfs", "tmpfs", "overlay"})


def test_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(Unavailable, match="is not a directory"):
        prepare_directory(place)


def test_small_files_do_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable):
        open_beside(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()
