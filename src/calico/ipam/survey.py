"""Everything that says who has which address, at one revision."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from calico.codec.block_json import decode_block, decode_handle
from calico.codec.keys import (
    HOST_PREFIX,
    IPAM_PREFIX,
    POOL_PREFIXES,
    STATUS_HOST_PREFIX,
    decode_host_status_key,
    decode_ipam_affinity_key,
    decode_ipam_block_key,
    decode_ipam_handle_key,
)
from calico.codec.rule_parts import parse_address
from calico.ipam.handles import endpoint_handle, tunnel_handle
from calico.model.block import Block, Handle
from calico.model.endpoint import WorkloadEndpoint
from calico.model.errors import Compacted, InvalidResource, Unavailable
from calico.model.names import EndpointKey, HostName
from calico.model.network import Pool
from calico.model.snapshot import PoolKey, SettingKey, Undecodable
from calico.netset import Address, Family, Network
from calico.store.api import KeyValue, Listing, Store, View
from calico.store.resources import decode_item

_TUNNEL_SUFFIX = "TunnelAddr"
_N_TRIES = 5


@dataclass(frozen=True, slots=True)
class Survey:
    """Who has which address, as the datastore says at one revision.

    Attributes:
        view: The items of ipam.
        blocks: The blocks that can be read.
        unreadable: The key of each block that cannot be read, with the reason.
        marks: The marks of affinity.
        handles: The handles; `None` for one that cannot be read.
        pools: The pools.
        users: The endpoints that have an address, by address.
        of_hosts: The addresses that hosts say they use themselves.
        handles_of_hosts: What hosts that there are take such addresses under.
        owners: The endpoint of each handle that an endpoint could use.
        endpoints: The items of the endpoints.
        obscure: The values of the endpoints that cannot be read.
        hosts: The hosts that there are.
    """

    view: View
    blocks: Mapping[Network, Block]
    unreadable: Mapping[str, str]
    marks: frozenset[tuple[HostName, Network]]
    handles: Mapping[str, Handle | None]
    pools: Mapping[Network, Pool | Undecodable]
    users: Mapping[Address, tuple[EndpointKey, ...]]
    of_hosts: frozenset[Address]
    handles_of_hosts: frozenset[str]
    owners: Mapping[str, EndpointKey]
    endpoints: Mapping[EndpointKey, KeyValue]
    obscure: tuple[bytes, ...]
    hosts: frozenset[HostName]

    def is_obscured(self, address: Address) -> bool:
        """Tell whether an endpoint that cannot be read may have an address."""
        if address.version == Family.V6.value:
            # It has several spellings.
            return bool(self.obscure)
        text = str(address).encode()
        return any(text in value for value in self.obscure)

    def pool_of(self, network: Address | Network) -> Pool | Undecodable | None:
        """Return the pool that an address or a block belongs to."""
        first = network if isinstance(network, Address) else network.network_address
        return next((pool for cidr, pool in self.pools.items() if first in cidr), None)


def read_survey(store: Store) -> Survey:
    """Read who has which address, at one revision.

    Raises:
        Unavailable: The datastore cannot be read.
    """
    for _ in range(_N_TRIES):
        ipam = store.list_prefix(IPAM_PREFIX)
        try:
            others = [
                store.list_prefix(prefix, ipam.revision)
                for prefix in (HOST_PREFIX, *POOL_PREFIXES.values(), STATUS_HOST_PREFIX)
            ]
        except Compacted:
            continue
        return make_survey(ipam, [item for each in others for item in each.items])
    reason = f"forgot what was being read {_N_TRIES} times"
    raise Unavailable("the datastore", reason, ("try again",))


def make_survey(ipam: Listing, others: Iterable[KeyValue]) -> Survey:
    """Put together what was read of ipam, and of hosts, endpoints and pools."""
    blocks: dict[Network, Block] = {}
    unreadable: dict[str, str] = {}
    marks: set[tuple[HostName, Network]] = set()
    handles: dict[str, Handle | None] = {}
    for item in ipam.items:
        if (network := decode_ipam_block_key(item.key)) is not None:
            try:
                blocks[network] = decode_block(network, item.value)
            except InvalidResource as error:
                unreadable[item.key] = str(error)
        elif (mark := decode_ipam_affinity_key(item.key)) is not None:
            marks.add(mark)
        elif (handle := decode_ipam_handle_key(item.key)) is not None:
            handles[handle] = _handle(handle, item.value)
    people = _People()
    for item in others:
        people.add(item)
    return Survey(
        view=View({item.key: item for item in ipam.items}, ipam.revision),
        blocks=blocks,
        unreadable=unreadable,
        marks=frozenset(marks),
        handles=handles,
        pools=people.pools,
        users={a: tuple(keys) for a, keys in people.users.items()},
        of_hosts=frozenset(people.of_hosts),
        handles_of_hosts=frozenset(map(tunnel_handle, people.hosts)),
        owners={endpoint_handle(key): key for key in people.endpoints},
        endpoints=people.endpoints,
        obscure=tuple(people.obscure),
        hosts=frozenset(people.hosts),
    )


def _handle(handle: str, value: bytes) -> Handle | None:
    try:
        return decode_handle(handle, value)
    except InvalidResource:
        return None


class _People:
    """Hosts, endpoints and pools, as their items come."""

    def __init__(self) -> None:
        self.pools: dict[Network, Pool | Undecodable] = {}
        self.users: dict[Address, list[EndpointKey]] = {}
        self.of_hosts: set[Address] = set()
        self.endpoints: dict[EndpointKey, KeyValue] = {}
        self.obscure: list[bytes] = []
        self.hosts: set[HostName] = set()

    def add(self, item: KeyValue) -> None:
        """Take one item in."""
        live = decode_host_status_key(item.key)
        if live is not None:
            self.hosts.add(live)
        match decode_item(item):
            case (EndpointKey() as key, value):
                self.hosts.add(key.host)
                self.endpoints[key] = item
                if isinstance(value, WorkloadEndpoint):
                    for address in dict.fromkeys(value.addresses):
                        self.users.setdefault(address, []).append(key)
                else:
                    self.obscure.append(item.value)
            case (PoolKey(cidr), (Pool() | Undecodable()) as pool):
                self.pools[cidr] = pool
            case (SettingKey() as key, value) if key.host is not None:
                self.hosts.add(key.host)
                if key.name.endswith(_TUNNEL_SUFFIX) and isinstance(value, str):
                    self._add_tunnel(value)
            case _:
                pass

    def _add_tunnel(self, text: str) -> None:
        try:
            self.of_hosts.add(parse_address(text))
        except InvalidResource:
            return
