"""A backup is a file that brings back every key, and that others can ask."""

import json
from pathlib import Path

import pytest
from command_lines import environment, run_here

from calico.codec.keys import STATUS_HOST_PREFIX
from calico.settings import Settings
from calico.store.api import KeyValue, Note, Put, Transaction
from calico.store.open import open_store

NOTE = Note("test", "h", "test")


def put(data_dir: Path, *puts: Put) -> None:
    store = open_store(Settings.from_environment(environment(data_dir)))
    store.commit(Transaction((), puts, NOTE))
    store.close()


def read(data_dir: Path) -> dict[str, bytes]:
    store = open_store(Settings.from_environment(environment(data_dir)))
    items: tuple[KeyValue, ...] = store.list_prefix("").items
    store.close()
    return {item.key: item.value for item in items}


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A datastore with a profile, a value nobody can read, and a status."""
    data = tmp_path / "data"
    run_here(["profile", "add", "WEB"], data)
    run_here(["profile", "WEB", "rule", "add", "inbound", "allow", "tcp"], data)
    put(
        data,
        Put("/calico/v1/policy/profile/ODD/rules", b"\xff\x00"),
        Put(STATUS_HOST_PREFIX + "h/status", b"{}"),
    )
    return data


def test_export_and_import_bring_back_every_key(filled: Path, tmp_path: Path) -> None:
    backup, other = tmp_path / "backup.json", tmp_path / "other"
    outcome = run_here(["datastore", "export", "-f", str(backup)], filled)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "Exported 4 keys at revision 3.\n"
    assert backup.stat().st_mode & 0o777 == 0o600
    assert backup.read_text() == run_here(["datastore", "export"], filled).out
    outcome = run_here(["datastore", "import", "-f", str(backup)], other)
    assert outcome.code == 0
    assert outcome.out == "Imported 4 keys: 4 changes, revision 1.\n"
    assert outcome.err.startswith("Warning: /calico/v1/policy/profile/ODD/rules ")
    kept = read(filled)
    del kept[STATUS_HOST_PREFIX + "h/status"]
    assert read(other) == kept


def test_import_replaces_in_one_revision_and_leaves_what_agents_report(
    filled: Path,
) -> None:
    backup = run_here(["datastore", "export"], filled).out.encode()
    before = read(filled)
    run_here(["profile", "add", "APP"], filled)
    run_here(["profile", "remove", "WEB"], filled)
    assert run_here(["datastore", "import"], filled, backup).code == 1
    outcome = run_here(["datastore", "import", "--replace"], filled, backup)
    assert outcome.out == "Imported 4 keys: 6 changes, revision 6.\n"
    assert read(filled) == before


def test_policy_revision_of_an_export_counts_deletions(tmp_path: Path) -> None:
    run_here(["profile", "add", "WEB"], tmp_path)
    run_here(["profile", "add", "APP"], tmp_path)
    run_here(["profile", "remove", "APP"], tmp_path)
    exported = json.loads(run_here(["datastore", "export"], tmp_path).out)
    assert exported["policy_revision"] == exported["revision"] == 3
    assert {each["modified"] for each in exported["keys"]} == {1}


def test_file_that_cannot_be_written_stays_as_it_was(
    filled: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "there"
    directory.mkdir()
    outcome = run_here(["datastore", "export", "-f", str(directory)], filled)
    assert (outcome.code, outcome.out) == (1, "")
    assert "nothing was written" in outcome.err
    assert list(directory.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "there"]


def test_device_is_not_replaced_by_an_export(filled: Path) -> None:
    outcome = run_here(["datastore", "export", "-f", "/dev/null"], filled)
    assert (outcome.code, outcome.out) == (1, "")
    assert "/dev/null: is no regular file; nothing was written" in outcome.err
    assert Path("/dev/null").is_char_device()
