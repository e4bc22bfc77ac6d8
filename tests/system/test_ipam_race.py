"""Several processes take and give back addresses of one store at once."""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from etcd_servers import etcd_cluster
from ipam_worker import NOTE, POOL

from calico.codec.block_json import decode_block, decode_handle
from calico.codec.keys import (
    IPAM_HANDLE_PREFIX,
    decode_ipam_block_key,
    decode_ipam_handle_key,
    ipam_blocks_prefix,
)
from calico.ipam.blocks import allocated
from calico.ipam.check import Kind, check
from calico.ipam.mend import Mender
from calico.ipam.survey import read_survey
from calico.model.block import block_of
from calico.model.network import Pool
from calico.model.snapshot import PoolKey
from calico.netset import Family
from calico.settings import Settings
from calico.store.api import Store, Transaction
from calico.store.open import open_store
from calico.store.resources import put_resource

pytestmark = pytest.mark.system

WORKER = str(Path(__file__).parent.parent / "ipam_worker.py")
N_PROCESSES = 8


@pytest.fixture(params=["sqlite", "etcd"])
def environ(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Mapping[str, str]]:
    """Say where a store of each kind is, as users do."""
    base = {
        **{k: v for k, v in os.environ.items() if not k.startswith("ETCD_")},
        "PYTHONPATH": os.pathsep.join(sys.path),
        "CALICO_DATA_DIR": str(tmp_path / "data"),
        "HOSTNAME": "tester",
    }
    if request.param == "sqlite":
        yield base
        return
    with etcd_cluster(tmp_path / "etcd") as cluster:
        yield {**base, **cluster.environ()}


@contextmanager
def opened(environ: Mapping[str, str]) -> Generator[Store]:
    """Open the store, with a pool in it."""
    store = open_store(Settings.from_environment(environ))
    try:
        pool = put_resource(PoolKey(POOL), Pool(POOL))
        store.commit(Transaction((), (pool,), NOTE))
        yield store
    finally:
        store.close()


@contextmanager
def workers(
    environ: Mapping[str, str], n_addresses: int, kind: str
) -> Generator[list["subprocess.Popen[str]"]]:
    """Start the processes, and end them whatever happens."""
    program = (sys.executable, "-P", WORKER)
    started = [
        subprocess.Popen(
            (*program, str(number), str(n_addresses), kind),
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(N_PROCESSES)
    ]
    try:
        yield started
    finally:
        for worker in started:
            worker.kill()
            worker.communicate()


def test_racing_processes_never_share_an_address(environ: Mapping[str, str]) -> None:
    with opened(environ) as store, workers(environ, 100, "bare") as started:
        ended = [worker.communicate() for worker in started]
        failures = [error for _, error in ended if error]
        assert not failures, failures[0]
        kept: list[list[str]] = [json.loads(output) for output, _ in ended]
        verify(store, kept)


def verify(store: Store, kept: list[list[str]]) -> None:
    every = [address for each in kept for address in each]
    assert len(set(every)) == len(every)
    owners: dict[str, str | None] = {}
    hosts: set[str | None] = set()
    for item in store.list_prefix(ipam_blocks_prefix(Family.V4)).items:
        network = decode_ipam_block_key(item.key)
        assert network is not None
        block = decode_block(network, item.value)
        hosts.add(block.affinity)
        for address, known in allocated(block):
            owners[str(address)] = known.handle
    assert owners == {
        address: f"p{number}" for number, each in enumerate(kept) for address in each
    }
    assert len(hosts - {None}) > 1  # they have raced for blocks, too
    counts: dict[str, int] = {}
    for item in store.list_prefix(IPAM_HANDLE_PREFIX).items:
        handle = decode_ipam_handle_key(item.key)
        assert handle is not None
        counts[handle] = sum(decode_handle(handle, item.value).counts.values())
    assert counts == {f"p{number}": len(each) for number, each in enumerate(kept)}
    # Each block is one host's, and its mark says so: nothing is half done.
    found = {each.kind for each in check(read_survey(store))}
    # No endpoint was written, so nothing but blocks is known of these hosts.
    assert found <= {Kind.LEAK, Kind.GONE_HOST}


def test_killed_processes_leave_only_leaks_and_these_are_mended(
    environ: Mapping[str, str],
) -> None:
    with opened(environ) as store, workers(environ, 10_000, "live") as started:
        for number, worker in enumerate(started):
            assert worker.stdout is not None
            # Each gets somewhere else before it is killed in the middle of it.
            for _ in range(3 + 2 * number):
                assert worker.stdout.readline()
            worker.kill()
            assert worker.wait() < 0
        survey = read_survey(store)
        findings = check(survey)
        # Eight kills in the middle of a step or between two leave some.
        assert {each.kind for each in findings} <= {Kind.LEAK}
        assert len(survey.users) >= N_PROCESSES
        assert all(len(keys) == 1 for keys in survey.users.values())
        alive = set(survey.users)
        outcomes = Mender(store, NOTE, "now", lambda _: None).mend()
        assert {each.left for each in outcomes} <= {None}
        after = read_survey(store)
        assert check(after) == ()
        assert set(after.users) == alive
        for address in alive:
            assert after.blocks[block_of(address)].attributes_of(address) is not None
