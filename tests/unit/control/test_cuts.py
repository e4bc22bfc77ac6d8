"""The file of cut flows: what is written is read, whatever happens in between."""

import os
import signal
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from agent_host import until

from calico.control.cuts import (
    FILE_NAME,
    MAX_FILE_BYTES,
    N_KEPT,
    OLDER_FILE_NAME,
    CutFile,
    CutFlow,
    CutsUnreadable,
    Side,
    decode_cut,
    encode_cut,
    read_cuts,
)
from calico.control.protocol import BadMessage

TCP = CutFlow(
    at="2026-11-25T10:00:00Z",
    protocol="tcp",
    source="10.65.0.1",
    destination="10.65.0.2",
    source_port=40000,
    destination_port=80,
    icmp_type=None,
    icmp_code=None,
    rule="profile A inbound rule 1",
    profile="A",
    direction="inbound",
    number=1,
    endpoint="namespace/w1/eth0",
    side=Side.DESTINATION,
)
ECHO = replace(
    TCP,
    protocol="icmpv6",
    source="fd80::1",
    destination="fd80::2",
    source_port=None,
    destination_port=None,
    icmp_type=128,
    icmp_code=0,
    rule="inactive endpoint namespace/w1/eth0",
    profile=None,
    direction=None,
    number=None,
    side=Side.SOURCE,
)


def numbered(first: int, last: int) -> list[CutFlow]:
    return [replace(TCP, source_port=n) for n in range(first, last + 1)]


def ports(directory: Path) -> list[int | None]:
    return [each.source_port for each in read_cuts(directory).cuts]


@pytest.mark.parametrize("cut", [TCP, ECHO])
def test_record_is_read_as_it_was_written(cut: CutFlow) -> None:
    assert decode_cut(encode_cut(cut)) == cut


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        (TCP, "tcp 10.65.0.1:40000 > 10.65.0.2:80"),
        (
            replace(TCP, source="fd80::1", destination="fd80::2"),
            "tcp [fd80::1]:40000 > [fd80::2]:80",
        ),
        (ECHO, "icmpv6 fd80::1 > fd80::2 type 128 code 0"),
    ],
)
def test_flow_is_told_in_words(cut: CutFlow, text: str) -> None:
    assert cut.flow == text


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b"{}",
        encode_cut(TCP).replace(b"40000", b"true"),
        encode_cut(TCP).replace(b"40000", b'"40000"'),
        encode_cut(TCP).replace(b'"destination"}', b'"middle"}'),
        encode_cut(TCP)[: len(encode_cut(TCP)) // 2],
    ],
)
def test_line_that_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_cut(line)


def test_member_of_a_later_version_is_passed_over() -> None:
    assert decode_cut(encode_cut(TCP).replace(b"{", b'{"new":[1],', 1)) == TCP


def test_what_a_terminal_would_obey_is_escaped() -> None:
    read = decode_cut(encode_cut(replace(TCP, endpoint="a\x1b[2Jb")))
    assert read.endpoint == "a\\x1b[2Jb"


def test_without_files_nothing_was_cut(tmp_path: Path) -> None:
    assert read_cuts(tmp_path / "nowhere").cuts == ()
    CutFile(tmp_path / "nowhere").append([])
    assert not (tmp_path / "nowhere").exists()


def test_last_thousand_are_kept_across_writers_and_files_stay_small(
    tmp_path: Path,
) -> None:
    total, file = 0, CutFile(tmp_path)
    for number in range(70):
        # A writer now and then is a new one, as after a restart of the agent.
        if number % 7 == 0:
            file = CutFile(tmp_path)
        size = 1 + number * 37 % 100
        file.append(numbered(total + 1, total + size))
        total += size
        wanted = range(max(1, total - N_KEPT + 1), total + 1)
        assert ports(tmp_path) == list(wanted)
    assert total > 3 * N_KEPT
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= N_KEPT * len(encode_cut(TCP)) <= MAX_FILE_BYTES


def test_more_than_fits_at_once_leaves_its_last(tmp_path: Path) -> None:
    CutFile(tmp_path).append(numbered(1, 3 * N_KEPT))
    assert ports(tmp_path) == list(range(2 * N_KEPT + 1, 3 * N_KEPT + 1))


def test_torn_and_broken_lines_are_counted_and_cost_no_other(tmp_path: Path) -> None:
    CutFile(tmp_path).append(numbered(1, 2))
    path = tmp_path / FILE_NAME
    with path.open("ab") as raw:
        raw.write(b"no record\n\x00\xff\n" + encode_cut(TCP)[:-20])
    file = CutFile(tmp_path)
    file.append(numbered(3, 4))
    file.append(numbered(5, 5))
    history = read_cuts(tmp_path)
    assert [each.source_port for each in history.cuts] == [1, 2, 3, 4, 5]
    assert history.n_unreadable == 3


def test_garbage_does_not_make_the_file_grow(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"x" * MAX_FILE_BYTES)
    CutFile(tmp_path).append(numbered(1, 2))
    CutFile(tmp_path).append(numbered(3, 3))
    assert ports(tmp_path)[-1] == 3
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert total < 2 * MAX_FILE_BYTES


def test_file_that_somebody_removes_is_made_anew(tmp_path: Path) -> None:
    file = CutFile(tmp_path)
    file.append(numbered(1, 1))
    (tmp_path / FILE_NAME).unlink()
    file.append(numbered(2, 2))
    assert ports(tmp_path) == [2]


def test_files_are_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = CutFile(tmp_path)
        for number in (1, 2):
            file.append(numbered(1, N_KEPT + number))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()]
    assert modes == [0o640, 0o640]


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(CutsUnreadable, match=f"{FILE_NAME}.*group calico"):
        read_cuts(tmp_path)


def test_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"")
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic"):
        CutFile(tmp_path).append(numbered(1, 1))
    assert (tmp_path / "theirs").read_bytes() == b""


def test_full_disk_is_told_and_the_next_record_stands_alone(tmp_path: Path) -> None:
    file = CutFile(tmp_path)
    file.append(numbered(1, 1))
    size = (tmp_path / FILE_NAME).stat().st_size
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(OSError):
            _limit_files(size + 30)
            try:
                file.append(numbered(2, 2))
            except OSError:
                code = 0
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    CutFile(tmp_path).append(numbered(3, 3))
    history = read_cuts(tmp_path)
    assert [each.source_port for each in history.cuts] == [1, 3]
    assert history.n_unreadable == 1


def _limit_files(size: int) -> None:
    import resource  # noqa: PLC0415 -- in the child only

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_writer_that_is_killed_loses_what_it_was_writing_at_most(
    tmp_path: Path,
) -> None:
    """Killed at any point, the rotation included; read all the while."""
    last = 0
    for _ in range(15):
        child = os.fork()
        if child == 0:
            file = CutFile(tmp_path)
            number = last
            while True:
                number += 1
                file.append(numbered(number, number))
        started = last

        def has_gone_on(past: int = started + 300) -> bool:
            found = ports(tmp_path)
            assert found == sorted(found, key=int)  # type: ignore[arg-type]
            return bool(found) and (found[-1] or 0) > past

        try:
            until(has_gone_on, "the writer writes")
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        history = read_cuts(tmp_path)
        found = [each.source_port or 0 for each in history.cuts]
        assert history.n_unreadable <= 1
        assert found == list(range(found[-1] - len(found) + 1, found[-1] + 1))
        last = found[-1]
    assert last > 3 * N_KEPT
    assert {path.name for path in tmp_path.iterdir()} == {FILE_NAME, OLDER_FILE_NAME}
