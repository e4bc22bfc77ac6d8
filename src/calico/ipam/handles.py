"""The handles that endpoints' addresses are taken under, and a hold on them.

An address is taken before the endpoint that has it is written. Whoever writes
the endpoint compares the handle in the same transaction, and puts it again. Had
the address been taken for a leak and given back meanwhile, the endpoint is not
written; and whoever judged it a leak before and gives it back now is refused.
"""

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from calico.codec.block_json import decode_handle
from calico.codec.keys import ipam_handle_key
from calico.ipam.errors import NotHeld
from calico.model.block import block_of
from calico.model.names import EndpointKey, HostName, OrchestratorId, WorkloadId
from calico.netset import Address
from calico.store.api import Compare, Put, Store


def endpoint_handle(key: EndpointKey) -> str:
    """Return the handle that an endpoint's addresses are taken under."""
    return handle_prefix(key.host, key.orchestrator, key.workload) + key.endpoint


def handle_prefix(
    host: HostName, orchestrator: OrchestratorId, workload: WorkloadId
) -> str:
    """Return what the handles of all endpoints of a workload start with."""
    return f"{host}.{orchestrator}.{workload}."


def tunnel_handle(host: HostName) -> str:
    """Return the handle that the addresses a host has itself are taken under."""
    return f"{host}.calico.tunnel.address"


class Hold(NamedTuple):
    """What holds addresses while the endpoint that has them is written.

    Attributes:
        compare: Goes into the transaction that writes the endpoint.
        put: So does this: whoever judged the addresses before it is too late.
    """

    compare: Compare
    put: Put


def hold(store: Store, handle: str, addresses: Collection[Address]) -> Hold:
    """Return what makes sure that addresses are still taken under their handle.

    Raises:
        NotHeld: They no longer are.
        InvalidResource: The handle in the datastore cannot be read.
        Unavailable: The datastore cannot be read.
    """
    key = ipam_handle_key(handle)
    item = store.get(key)
    if item is None:
        raise NotHeld(handle)
    counts = decode_handle(handle, item.value).counts
    for block, number in Counter(map(block_of, addresses)).items():
        if counts.get(block, 0) < number:
            raise NotHeld(handle)
    return Hold(Compare(key, item.modified), Put(key, item.value))
