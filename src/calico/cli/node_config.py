"""What `calicoctl node` writes to the datastore, decided on what is there."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from calico.cli.refusal import Refused
from calico.codec.keys import (
    BGP_PREFIX,
    CONFIG_PREFIX,
    POOL_PREFIXES,
    READY_KEY,
    bgp_address_key,
    bgp_as_number_key,
    bgp_node_mesh_key,
    bird_ip_key,
    config_prefix,
    encode_key,
)
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.snapshot import PoolKey, SettingKey
from calico.netset import Family
from calico.store.api import Delete, Note, Operation, Put, Scope, Transaction, View
from calico.store.resources import put_resource

DEFAULT_POOLS = (
    Pool(IPv4Network("192.168.0.0/16")),
    Pool(IPv6Network("fd80:24e2:f998:72d6::/64")),
)
DEFAULT_AS_NUMBER = "64511"
WORKLOAD_PREFIX = "cali"

_BGP_HOSTS = BGP_PREFIX + "host/"
_INTERFACE_PREFIX = "InterfacePrefix"
_ENDPOINT_TO_HOST = "DefaultEndpointToHostAction"
_GLOBAL_DEFAULTS = {
    "LogSeverityFile": "none",
    "LogSeverityScreen": "info",
    "LogFilePath": "none",
    "IpInIpEnabled": "false",
    "ReportingIntervalSecs": "0",
}


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What this host is told to be.

    Attributes:
        host: Its name.
        ipv4: Its IPv4 address.
        ipv6: Its IPv6 address, if it has one.
        as_number: Its own AS number; absent to share that of all.
        with_default_pools: Make the usual pools of a family that has none.
    """

    host: HostName
    ipv4: IPv4Address
    ipv6: IPv6Address | None
    as_number: str | None
    with_default_pools: bool

    def scope(self) -> Scope:
        """Return what the change is decided on."""
        return Scope(
            keys=(READY_KEY, bgp_as_number_key(None), bgp_node_mesh_key()),
            prefixes=(
                *POOL_PREFIXES.values(),
                CONFIG_PREFIX,
                config_prefix(self.host),
                _BGP_HOSTS,
            ),
        )


def decide_node(
    view: View, config: NodeConfig, note: Note
) -> tuple[Transaction, tuple[str, ...]]:
    """Say what to write, and what to warn of.

    Raises:
        Refused: Another host has the address.
    """
    warnings = tuple(_conflicts(view, config))
    operations = (
        *_pools(view, config),
        *_global_defaults(view),
        Put(READY_KEY, b"true"),
        *_host(view, config),
    )
    return Transaction((), _changing(view, operations), note), warnings


def _changing(view: View, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """Leave out what is so already, so that starting again changes nothing."""
    return tuple(
        each
        for each in operations
        if not isinstance(each, Put)
        or (found := view.get(each.key)) is None
        or found.value != each.value
    )


def _conflicts(view: View, config: NodeConfig) -> Iterator[str]:
    own_key = bgp_address_key(config.host, Family.V4)
    address = str(config.ipv4).encode()
    _require_own_addresses(view, config)
    before = view.get(own_key)
    if before is not None and before.value != address:
        yield (
            f"WARNING: Hostname '{config.host}' is already in use with IP address"
            f" {before.value.decode(errors='replace')}. Calico requires each compute"
            " host to have a unique hostname. If your IP address has recently changed,"
            " this message is harmless."
        )


def _require_own_addresses(view: View, config: NodeConfig) -> None:
    """Refuse an address of either family that another host has."""
    for family, own in ((Family.V4, config.ipv4), (Family.V6, config.ipv6)):
        own_key = bgp_address_key(config.host, family)
        for item in view.below(_BGP_HOSTS) if own is not None else ():
            host, _, name = item.key.removeprefix(_BGP_HOSTS).partition("/")
            is_other = name == f"ip_addr_v{family.value}" and item.key != own_key
            if is_other and item.value == str(own).encode():
                raise Refused(
                    f"ERROR: IP address {own} is already in use by host {host}."
                    " Calico requires each compute host to have a unique IP. If this"
                    " is the same host under a new name, remove the old one:"
                    f" `calicoctl node remove --hostname={host}`."
                )


def _pools(view: View, config: NodeConfig) -> Iterator[Operation]:
    for pool in DEFAULT_POOLS if config.with_default_pools else ():
        if not view.below(POOL_PREFIXES[pool.family]):
            yield put_resource(PoolKey(pool.cidr), pool)


def _global_defaults(view: View) -> Iterator[Operation]:
    key = encode_key(SettingKey(_INTERFACE_PREFIX))
    found = view.get(key)
    prefixes = found.value.decode(errors="replace").split(",") if found else []
    prefixes = [each.strip() for each in prefixes if each.strip()]
    if WORKLOAD_PREFIX not in prefixes:
        yield Put(key, ",".join([*prefixes, WORKLOAD_PREFIX]).encode())
    yield from _absent(view, bgp_as_number_key(None), DEFAULT_AS_NUMBER)
    yield from _absent(view, bgp_node_mesh_key(), '{"enabled": true}')
    for name, value in _GLOBAL_DEFAULTS.items():
        yield from _absent(view, encode_key(SettingKey(name)), value)
    guid_key = encode_key(SettingKey("ClusterGUID"))
    yield from _absent(view, guid_key, uuid.uuid4().hex)


def _host(view: View, config: NodeConfig) -> Iterator[Operation]:
    host = config.host
    yield Put(bird_ip_key(host), str(config.ipv4).encode())
    yield Put(bgp_address_key(host, Family.V4), str(config.ipv4).encode())
    ipv6 = "" if config.ipv6 is None else str(config.ipv6)
    yield Put(bgp_address_key(host, Family.V6), ipv6.encode())
    if config.as_number is None:
        yield Delete(bgp_as_number_key(host))
    else:
        yield Put(bgp_as_number_key(host), config.as_number.encode())
    # A value for all hosts is somebody's wish, and a host's own would beat it.
    if view.get(encode_key(SettingKey(_ENDPOINT_TO_HOST))) is None:
        action_key = encode_key(SettingKey(_ENDPOINT_TO_HOST, host))
        yield from _absent(view, action_key, "RETURN")
    yield from _absent(view, encode_key(SettingKey("marker", host)), "created")


def _absent(view: View, key: str, value: str) -> Iterator[Operation]:
    if view.get(key) is None:
        yield Put(key, value.encode())
