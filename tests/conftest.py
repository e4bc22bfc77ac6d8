"""Settings that every layer of tests shares."""

import os
import signal
import tempfile

import pytest
from hypothesis import settings

IN_CI = os.environ.get("CI") == "true"

# No deadline: a test never asserts how long something takes.
settings.register_profile("save", deadline=None, max_examples=50, print_blob=True)
settings.register_profile("ci", deadline=None, max_examples=400, print_blob=True)
settings.load_profile(os.environ.get("CALICO_TEST_PROFILE", "ci" if IN_CI else "save"))

# A shell starts what it runs in the background with Ctrl-C ignored, and the
# programs that the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


_DIRECTORIES = {
    "CALICO_DATA_DIR": "data",
    "CALICO_RUN_DIR": "run",
    "CALICO_LOG_DIR": "log",
}


def pytest_configure(config: pytest.Config) -> None:
    """Keep off the machine's own datastore, agent and logs.

    A test that says nothing else, and what it starts, finds none of the three.
    """
    own = tempfile.TemporaryDirectory(prefix="calico-test-")
    config.add_cleanup(own.cleanup)
    for variable, name in _DIRECTORIES.items():
        os.environ[variable] = f"{own.name}/{name}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root on a laptop; in CI it runs, and fails by itself."""
    if IN_CI or os.geteuid() == 0:
        return
    needs_root = pytest.mark.skip(reason="needs root, or root of a user namespace")
    for item in items:
        if item.get_closest_marker("kernel") or item.get_closest_marker("system"):
            item.add_marker(needs_root)
