"""One of several processes that take and give back addresses of one store.

usage: ipam_worker.py DATA_DIRECTORY NUMBER

Prints the addresses that it keeps, as JSON. One that gets stuck prints where.
"""

import faulthandler
import json
import sys
from ipaddress import ip_network
from pathlib import Path

from calico.ipam.assign import Claim, assign, assign_next
from calico.ipam.errors import AlreadyAssigned
from calico.ipam.release import release
from calico.model.block import Attributes
from calico.model.names import HostName
from calico.netset import Family
from calico.store.api import Note
from calico.store.sqlite import SqliteStore

NOTE = Note("tester", "h", "test")
POOL = ip_network("10.7.0.0/22")
N_ADDRESSES = 100
STUCK_AFTER_S = 90


def take(data: Path, number: int) -> list[str]:
    """Take addresses, some by name, and give every third back."""
    store = SqliteStore.open(data)
    kept: list[str] = []
    # Two processes each stand for one host.
    claim = Claim(HostName(f"h{number // 2}"), Attributes(f"p{number}"), NOTE)
    for n in range(N_ADDRESSES):
        address = POOL[n * 7]
        if n % 4:
            address = assign_next(store, Family.V4, claim)
        else:
            try:
                assign(store, address, claim)
            except AlreadyAssigned:
                continue
        if n % 3:
            kept.append(str(address))
        else:
            assert release(store, [address], NOTE) == frozenset()
    store.close()
    return kept


if __name__ == "__main__":
    faulthandler.dump_traceback_later(STUCK_AFTER_S, exit=True)
    json.dump(take(Path(sys.argv[1]), int(sys.argv[2])), sys.stdout)
