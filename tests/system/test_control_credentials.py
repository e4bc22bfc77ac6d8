"""Who may ask the agent: the control socket against other users and groups.

The server runs under an `/etc/group` of its own, in a mount namespace, so that
the group it admits exists whatever the machine's own file says. Where the mode
of the socket keeps a client out already, the socket is opened to all, so that
what refuses is the server.
"""

import subprocess
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from lab_user import NOBODY, require_other_user

from calico.control.protocol import SOCKET_NAME

pytestmark = pytest.mark.system

GROUP_ID = 64007
OTHER_GROUP_ID = 64008
_TIMEOUT_S = 60
_SERVER = """
import sys
from pathlib import Path
from calico.control.protocol import encode_map
from calico.control.server import ControlServer
server = ControlServer(
    Path(sys.argv[1]), lambda _, answer: answer(encode_map({"some": "answer"}))
)
print("listens", flush=True)
server.serve()
"""
_CLIENT = """
import sys
from pathlib import Path
from calico.control.client import ask_problems
from calico.model.errors import CalicoError
try:
    print(*ask_problems(Path(sys.argv[1])).values())
except CalicoError as error:
    print(error)
"""
_WITH_GROUP_FILE = 'mount --bind "$1" /etc/group && shift && exec "$@"'


@contextmanager
def _server(group_file: str) -> Generator[Path]:
    """Serve in a directory that everybody can enter."""
    require_other_user(NOBODY)
    with TemporaryDirectory(prefix="calico-socket-", dir="/tmp") as name:
        run_dir = Path(name)
        run_dir.chmod(0o755)
        groups = run_dir / "group"
        groups.write_text(group_file, encoding="ascii")
        argv = ["unshare", "--mount", "sh", "-c", _WITH_GROUP_FILE, "sh", str(groups)]
        serving = subprocess.Popen(
            [*argv, sys.executable, "-I", "-c", _SERVER, name],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert serving.stdout is not None
            assert serving.stdout.readline() == "listens\n"
            yield run_dir
            assert serving.poll() is None
        finally:
            serving.kill()
            serving.communicate()


@pytest.fixture
def run_dir() -> Generator[Path]:
    with _server(f"root:x:0:\ncalico:x:{GROUP_ID}:\n") as made:
        yield made


def _ask(run_dir: Path, uid: int, gid: int, groups: Iterable[int] = ()) -> str:
    """Ask as somebody; return the answer, or why there is none."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _CLIENT, str(run_dir)],
        user=uid,
        group=gid,
        extra_groups=list(groups),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def _open_to_all(run_dir: Path) -> None:
    (run_dir / SOCKET_NAME).chmod(0o666)


@pytest.mark.parametrize(
    ("uid", "gid", "groups"),
    [
        (0, 0, ()),
        (0, NOBODY, ()),
        (NOBODY, GROUP_ID, ()),
        (NOBODY, NOBODY, (OTHER_GROUP_ID, GROUP_ID)),
    ],
    ids=["root", "root-of-another-group", "own-group", "supplementary-group"],
)
def test_root_and_the_group_are_answered(
    run_dir: Path, uid: int, gid: int, groups: tuple[int, ...]
) -> None:
    assert (run_dir / SOCKET_NAME).stat().st_gid == GROUP_ID
    assert _ask(run_dir, uid, gid, groups) == "answer"


@pytest.mark.parametrize("groups", [(), (OTHER_GROUP_ID,)])
def test_anybody_else_is_refused_even_where_the_mode_lets_him(
    run_dir: Path, groups: tuple[int, ...]
) -> None:
    assert "Permission denied" in _ask(run_dir, NOBODY, NOBODY, groups)
    _open_to_all(run_dir)
    refusal = _ask(run_dir, NOBODY, NOBODY, groups)
    assert f"user {NOBODY} is neither root nor in the group calico" in refusal
    # It is he who is refused, and nobody else.
    assert _ask(run_dir, 0, 0) == "answer"
    assert _ask(run_dir, NOBODY, GROUP_ID) == "answer"


def test_group_without_a_name_admits_nobody() -> None:
    with _server("root:x:0:\n") as run_dir:
        _open_to_all(run_dir)
        refusal = _ask(run_dir, NOBODY, GROUP_ID, (GROUP_ID,))
        assert "neither root nor in the group calico" in refusal
        assert _ask(run_dir, 0, 0) == "answer"
