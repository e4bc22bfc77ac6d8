"""The group `calico` that is made after the datastore, with real users.

Each case has a mount namespace of its own, with an `/etc/group` and an empty
`/var/lib`: the machine's own directory is the one that is given to the group.
"""

import subprocess
from pathlib import Path

import pytest
from lab_user import CALICOCTL, NOBODY

pytestmark = pytest.mark.system

GROUP_ID = 64007
_BEGIN = f"""
set -eu
mount -t tmpfs tmpfs /var/lib
grep -v '^calico:' /etc/group >"$1/group" || true
mount --bind "$1/group" /etc/group
root() {{ "$calicoctl" "$@"; }}
as_nobody() {{ setpriv --reuid={NOBODY} --regid={NOBODY} "$@"; }}
member() {{ as_nobody --groups={GROUP_ID} "$calicoctl" "$@"; }}
stranger() {{ as_nobody --clear-groups "$calicoctl" "$@"; }}
make_group() {{ echo calico:x:{GROUP_ID}: >>/etc/group; }}
root profile add WEB
"""


def run(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    kept = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": "h1"}
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", _BEGIN + script, "sh", str(directory)],
        env={**kept, "calicoctl": CALICOCTL},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_group_that_comes_later_gets_the_datastore(tmp_path: Path) -> None:
    ended = run(
        """
        member profile show && exit 9
        make_group
        root profile show -o name
        member profile add APP
        root profile show -o name
        stat -c '%a %u %g' /var/lib/calico /var/lib/calico/*
        stranger profile show && exit 9
        exit 0
        """,
        tmp_path,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Created profile APP\nAPP\nWEB\n" in ended.stdout
    facts = ended.stdout.rpartition("WEB\n")[2].splitlines()
    assert facts[0] == f"2770 0 {GROUP_ID}"
    assert set(facts[1:]) == {f"660 0 {GROUP_ID}"}
    assert "let root make the group calico (`groupadd --system calico`)" in ended.stderr
    assert "let root add you to the group calico (`usermod " in ended.stderr


@pytest.mark.parametrize(
    "narrowed",
    [
        "chmod 0750 /var/lib/calico",
        "chown 1:0 /var/lib/calico",
        "chgrp 1 /var/lib/calico",
    ],
)
def test_directory_that_was_changed_is_left_alone(
    narrowed: str, tmp_path: Path
) -> None:
    ended = run(
        f"""
        {narrowed}
        before=$(stat -c '%a %u %g' /var/lib/calico /var/lib/calico/*)
        make_group
        root profile show -o name
        test "$before" = "$(stat -c '%a %u %g' /var/lib/calico /var/lib/calico/*)"
        """,
        tmp_path,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_directory_of_another_place_is_left_alone(tmp_path: Path) -> None:
    ended = run(
        """
        make_group
        mkdir -m 0700 /var/lib/other
        CALICO_DATA_DIR=/var/lib/other root profile add WEB
        stat -c '%a %u %g' /var/lib/other
        """,
        tmp_path,
    )
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "700 0 0")
