"""Several processes take and give back addresses of one store at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ipam_worker import NOTE, POOL

from calico.codec.block_json import decode_block, decode_handle
from calico.codec.keys import (
    IPAM_HANDLE_PREFIX,
    decode_ipam_block_key,
    decode_ipam_handle_key,
    ipam_blocks_prefix,
)
from calico.ipam.blocks import allocated
from calico.model.network import Pool
from calico.model.snapshot import PoolKey
from calico.netset import Family
from calico.store.api import Transaction
from calico.store.resources import put_resource
from calico.store.sqlite import SqliteStore

pytestmark = pytest.mark.system

WORKER = str(Path(__file__).parent.parent / "ipam_worker.py")
N_PROCESSES = 8


def take_all_at_once(data: Path) -> list[list[str]]:
    """Let all processes take addresses and return what each has kept."""
    program = (sys.executable, "-P", WORKER, str(data))
    workers = [
        subprocess.Popen(
            (*program, str(number)),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(N_PROCESSES)
    ]
    ended = [worker.communicate() for worker in workers]
    failures = [error for _, error in ended if error]
    assert not failures, failures[0]
    return [json.loads(output) for output, _ in ended]


def test_racing_processes_never_share_an_address(tmp_path: Path) -> None:
    data = tmp_path / "data"
    store = SqliteStore.open(data)
    pool = put_resource(PoolKey(POOL), Pool(POOL))
    store.commit(Transaction((), (pool,), NOTE))
    kept = take_all_at_once(data)
    every = [address for each in kept for address in each]
    assert len(set(every)) == len(every)

    owners: dict[str, str | None] = {}
    for item in store.list_prefix(ipam_blocks_prefix(Family.V4)).items:
        network = decode_ipam_block_key(item.key)
        assert network is not None
        for address, known in allocated(decode_block(network, item.value)):
            owners[str(address)] = known.handle
    assert owners == {
        address: f"p{number}" for number, each in enumerate(kept) for address in each
    }
    counts: dict[str, int] = {}
    for item in store.list_prefix(IPAM_HANDLE_PREFIX).items:
        handle = decode_ipam_handle_key(item.key)
        assert handle is not None
        counts[handle] = sum(decode_handle(handle, item.value).counts.values())
    assert counts == {f"p{number}": len(each) for number, each in enumerate(kept)}
    store.close()
