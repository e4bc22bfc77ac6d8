"""One of several processes that take and give back addresses of one store.

usage: ipam_worker.py NUMBER N_ADDRESSES (bare | live)

The environment says which store, as for `calicoctl`. A `bare` one prints the
addresses that it keeps, as JSON. A `live` one writes an endpoint for each, as
the attaching side does, and prints each address once its endpoint is written;
it may be killed. One that gets stuck prints where.
"""

import faulthandler
import json
import os
import sys
from ipaddress import ip_network

from calico.codec.keys import encode_key
from calico.ipam.assign import Claim, assign, assign_next
from calico.ipam.errors import AlreadyAssigned
from calico.ipam.handles import endpoint_handle, hold
from calico.ipam.release import release, release_handle
from calico.model.block import Attributes
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    WorkloadId,
)
from calico.netset import Family
from calico.settings import Settings
from calico.store.api import Delete, Note, Store, Transaction
from calico.store.open import open_store
from calico.store.resources import put_resource

NOTE = Note("tester", "h", "test")
POOL = ip_network("10.7.0.0/22")
STUCK_AFTER_S = 90


def take(store: Store, number: int, n_addresses: int) -> list[str]:
    """Take addresses, some by name, and give every third back."""
    kept: list[str] = []
    # Two processes each stand for one host.
    claim = Claim(HostName(f"h{number // 2}"), Attributes(f"p{number}"), NOTE)
    for n in range(n_addresses):
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
    return kept


def live(store: Store, number: int, n_addresses: int) -> None:
    """Connect workloads to the datastore, and take every third off again."""
    for n in range(n_addresses):
        key = EndpointKey(
            HostName(f"h{number // 2}"),
            OrchestratorId("namespace"),
            WorkloadId(f"w{number}-{n}"),
            EndpointId(f"e{number}-{n}"),
        )
        handle = endpoint_handle(key)
        claim = Claim(key.host, Attributes(handle, {"time": "now"}), NOTE)
        address = assign_next(store, Family.V4, claim)
        endpoint = WorkloadEndpoint(
            key, EndpointState.ACTIVE, InterfaceName("cali1"), None, (), (address,)
        )
        held = hold(store, handle, [address])
        put = put_resource(key, endpoint)
        store.commit(Transaction((held.compare,), (put, held.put), NOTE))
        print(address, flush=True)  # noqa: T201 -- for whoever kills us
        if n % 3 == 0:
            store.commit(Transaction((), (Delete(encode_key(key)),), NOTE))
            release_handle(store, handle, NOTE)


def main(number: int, n_addresses: int, kind: str) -> None:
    """Be the process."""
    store = open_store(Settings.from_environment(os.environ))
    if kind == "live":
        live(store, number, n_addresses)
    else:
        json.dump(take(store, number, n_addresses), sys.stdout)
    store.close()


if __name__ == "__main__":
    faulthandler.dump_traceback_later(STUCK_AFTER_S, exit=True)
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
