"""The archive for maintainers: what is in it, what is not, and what stays."""

import json
import os
import signal
import stat
import subprocess
import tarfile
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_lines import ROOT, Outcome, environment, run_here

from calico.cli.secrets import Scrubber
from calico.codec.export_json import Export, ExportedItem, encode_export
from calico.model.names import Revision

pytestmark = pytest.mark.system

KEY_LINE = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ"
KEY = f"-----BEGIN PRIVATE KEY-----\n{KEY_LINE}\n-----END PRIVATE KEY-----\n"
OTHER_KEY = KEY.replace(KEY_LINE, "AnotherKeyThatNobodyHasNamedAAAA")
SECRETS = ("hunter22", "s3cr3t-token", "p%40ss-word", "p@ss-word", KEY_LINE)
SECRETS_IN_LOGS = ("AnotherKeyThatNobodyHasNamedAAAA", "in-the-log", "of-the-proxy")
SECRETS_IN_HISTORY = ("in-the-history", "in the history")


def surroundings(directory: Path) -> dict[str, str]:
    """Return an environment with secrets, and a datastore and logs that hold them."""
    (directory / "log").mkdir()
    (directory / "tmp").mkdir()
    (directory / "key.pem").write_text(KEY)
    pool = ["pool", "add", "10.0.0.0/24"]
    assert run_here(pool, directory).code == 0
    for value in ("in-the-history", "in the history"):
        setting = ["config", "felix", "EtcdPassword", value, "--force"]
        assert run_here(setting, directory).code == 0
    log = directory / "log" / "calico-agent.log"
    log.write_text(
        f"began\n{KEY_LINE}\n{OTHER_KEY}password=in-the-log\n"
        "via http://me:of-the-proxy@proxy:80/ and hunter22\n"
        f"encoded {b64encode(b'hunter22').decode()}\nended\n"
    )
    (directory / "log" / "a b\n.log").write_text("odd name")
    (directory / "log" / "link").symlink_to(directory / "key.pem")
    return {
        **environment(directory),
        "TMPDIR": str(directory / "tmp"),
        "ETCD_KEY_FILE": str(directory / "key.pem"),
        "CALICO_TEST_PASSWORD": "hunter22",
        "SOME_TOKEN": "s3cr3t-token",
    }


def run(environ: Mapping[str, str], *words: str) -> Outcome:
    program = [str(ROOT / "calicoctl"), "diags", *words]
    done = subprocess.run(
        program, env=environ, capture_output=True, text=True, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def archive_in(directory: Path) -> Path:
    (found,) = directory.glob("tmp/calico-diags-*/diags-*.tar.gz")
    return found


def read(archive: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            assert member.isreg()
            assert member.name.startswith("diags/")
            assert ".." not in member.name
            assert member.mode == 0o600
            file = tar.extractfile(member)
            assert file is not None
            found[member.name.removeprefix("diags/")] = file.read()
    return found


def test_archive_holds_what_is_needed_and_no_secret(tmp_path: Path) -> None:
    outcome = run(surroundings(tmp_path))
    archive = archive_in(tmp_path)
    assert outcome.code == 0
    assert f"Diags saved to {archive}\n" in outcome.out
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert stat.S_IMODE(archive.parent.stat().st_mode) == 0o700
    content = read(archive)
    assert b"lo:" in content["links.txt"]
    assert b"net/ipv4/ip_forward = " in content["sysctls.txt"]
    assert b"calicoctl " in content["versions.txt"]
    keys = json.loads(content["datastore.json"])["keys"]
    assert any("10.0.0.0-24" in each["key"] for each in keys)
    assert b"calicoctl pool add 10.0.0.0/24" in content["history.txt"]
    # A part that cannot be had is said, and the others are there.
    assert "Problem running command: the agent: " in outcome.err
    assert b"there is no agent" in content["problems.txt"]
    log = content["logs/calico-agent.log"]
    assert log.startswith(b"began\n")
    assert log.endswith(b"ended\n")
    assert b"odd name" in content["logs/0-a_b_.log"]
    assert "logs/link" not in content

    everything = b"\n".join(content.values())
    for secret in (
        *SECRETS,
        *SECRETS_IN_LOGS,
        *SECRETS_IN_HISTORY,
        b64encode(b"hunter22").decode(),
    ):
        assert secret.encode() not in everything, secret
    # The search would have found them: what they stand beside is there.
    assert content["history.txt"].count(b"EtcdPassword (removed)") == 2
    assert b"password=(removed)" in log
    assert b"via http://(removed)@proxy:80/ and (removed)\n" in log
    assert b"/key.pem: -rw" in content["settings.txt"] or (
        b"ETCD_KEY_FILE = " in content["settings.txt"]
    )


def test_credentials_of_an_etcd_that_does_not_answer_are_not_told(
    tmp_path: Path,
) -> None:
    environ = surroundings(tmp_path)
    environ["ETCD_ENDPOINTS"] = "http://root:p%40ss-word@127.0.0.1:1"
    outcome = run(environ)
    assert outcome.code == 0
    content = read(archive_in(tmp_path))
    assert "datastore.json" not in content
    assert b"the datastore: " in content["problems.txt"]
    assert b"ETCD_ENDPOINTS = http://(removed)@127.0.0.1:1" in content["settings.txt"]
    everything = b"\n".join([*content.values(), outcome.err.encode()])
    for secret in SECRETS:
        assert secret.encode() not in everything, secret


def test_nothing_stays_when_it_is_ended(tmp_path: Path) -> None:
    environ = surroundings(tmp_path)
    # A large log keeps it busy.
    (tmp_path / "log" / "big.log").write_bytes(os.urandom(8 << 20))
    process = subprocess.Popen(
        [str(ROOT / "calicoctl"), "diags"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("Dumping links"):
                break
        # It is in the middle of its work, and has begun the archive.
        assert archive_in(tmp_path).exists()
        process.send_signal(signal.SIGTERM)
        said.append(process.communicate(timeout=20)[0])
        assert process.returncode == 130
        assert "Aborted command." in "".join(said)
        assert list((tmp_path / "tmp").iterdir()) == []
    finally:
        process.kill()
        process.communicate()


def test_nothing_stays_when_there_is_no_room(tmp_path: Path) -> None:
    environ = surroundings(tmp_path)
    environ["TMPDIR"] = str(tmp_path / "small")
    (tmp_path / "small").mkdir()
    (tmp_path / "log" / "big.log").write_bytes(os.urandom(4 << 20))
    # In a mount namespace of its own, which ends with the shell.
    script = (
        'mount -t tmpfs -o size=64k none "$TMPDIR" && "$0" diags; code=$?;'
        ' ls -A "$TMPDIR"; exit $code'
    )
    program = ["unshare", "--mount", "sh", "-c", script, str(ROOT / "calicoctl")]
    done = subprocess.run(
        program, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "No space left on device; no diagnostics were saved" in done.stderr
    assert "calico-diags-" not in done.stdout.splitlines()[-1]
    assert "Diags saved" not in done.stdout


def test_no_logs_are_said(tmp_path: Path) -> None:
    environ = surroundings(tmp_path)
    outcome = run(environ, f"--log-dir={tmp_path / 'nowhere'}")
    assert outcome.code == 0
    assert f"No logs found in {tmp_path}/nowhere; skipping log copying" in outcome.out


def test_datastore_without_secrets_is_still_a_document() -> None:
    scrub = Scrubber({}).scrub
    text = json.dumps({"text": json.dumps({"token": "abcdef", "kept": "x"})})
    value = json.loads(json.loads(scrub(text.encode()))["text"])
    assert value == {"token": "(removed)", "kept": "x"}
    assert scrub(b'{"secret": "a b", "n": 1}') == b'{"secret": "(removed)", "n": 1}'
    assert scrub(b"http://h/a@b c") == b"http://h/a@b c"


@pytest.mark.parametrize("value", [b"hunter22", b'a"hunter22\\"', b"\xffhunter22"])
def test_value_under_a_key_named_after_a_secret_is_not_told(value: bytes) -> None:
    kept = ExportedItem(
        "/calico/v1/policy/profile/token/rules", b"hunter21", Revision(3)
    )
    key = "/calico/v1/config/EtcdPassword"
    items = (ExportedItem(key, value, Revision(4)), kept)
    export = Export("id", Revision(4), Revision(4), items)
    lines = Scrubber({}).scrub("\n".join(encode_export(export)).encode())
    told = json.loads(lines)["keys"]
    assert [each["key"] for each in told] == [key, kept.key]
    assert "(removed)" in told[0].values()
    assert told[1]["text"] == "hunter21"


def test_credentials_are_found_after_a_long_word() -> None:
    long = b"a" * 200_000 + b"://user:word@x"
    assert Scrubber({}).scrub(long) == b"a" * 200_000 + b"://(removed)@x"
