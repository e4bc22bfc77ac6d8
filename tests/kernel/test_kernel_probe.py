"""What the kernel is tried for, and that nothing of it stays."""

import subprocess

import pytest

from calico.linux.kernel_probe import probe_kernel, probe_link

pytestmark = pytest.mark.kernel


def links_and_tables() -> str:
    shown = ""
    for words in (["ip", "-br", "link"], ["nft", "list", "tables"]):
        shown += subprocess.run(
            words, capture_output=True, text=True, check=True
        ).stdout
    return shown


def test_this_kernel_has_what_is_needed_and_nothing_stays() -> None:
    before = links_and_tables()
    assert probe_kernel() == ()
    assert links_and_tables() == before


def test_kind_that_no_kernel_has_is_missing() -> None:
    missing = probe_link("nonsense")
    assert missing is not None
    assert missing.options == "CONFIG_NONSENSE"
    assert missing.reason == "it does not know this kind"
    assert probe_link("veth") is None
