"""Which keys routing depends on, and what each of them holds.

The functions that build these keys are in `keys`. A host's name and an address
have one spelling in a key, so parsing accepts only what building produces.
"""

from ipaddress import AddressValueError, IPv4Address, IPv6Address

from calico.codec.keys import (
    BGP_GLOBAL_PREFIX,
    BGP_PREFIX,
    IPAM_HOST_PREFIX,
    POOL_PREFIXES,
    decode_ipam_affinity_key,
    decode_key,
)
from calico.model.errors import InvalidResource
from calico.model.names import HostName, parse_host_name
from calico.model.routing import (
    AffinityKey,
    AsNumberKey,
    BgpAddressKey,
    BgpLogLevelKey,
    BgpPeerKey,
    NodeMeshKey,
    RoutingKey,
    UnusableKey,
)
from calico.model.snapshot import PoolKey
from calico.netset import Address, Family

ROUTING_PREFIXES = (BGP_PREFIX, IPAM_HOST_PREFIX, *POOL_PREFIXES.values())
"""Everything that routing is computed from is below one of these."""

_BGP_HOST_PREFIX = BGP_PREFIX + "host/"
_FAMILIES = {f"v{family.value}": family for family in Family}


def decode_routing_key(text: str) -> RoutingKey | None:
    """Say what is kept at a place in the datastore.

    Returns:
        `None` when routing does not depend on it; an `UnusableKey` when it is a
        key of BGP that nothing can be made of.
    """
    if text.startswith(BGP_PREFIX):
        return _decode_bgp_key(text)
    if text.startswith(IPAM_HOST_PREFIX):
        found = decode_ipam_affinity_key(text)
        return None if found is None else AffinityKey(*found)
    key = decode_key(text)
    return key if isinstance(key, PoolKey) else None


def _decode_bgp_key(text: str) -> RoutingKey | None:
    if text.startswith(BGP_GLOBAL_PREFIX):
        return _global_key(text, text.removeprefix(BGP_GLOBAL_PREFIX))
    if text.startswith(_BGP_HOST_PREFIX):
        name, _, rest = text.removeprefix(_BGP_HOST_PREFIX).partition("/")
        try:
            return _host_key(text, parse_host_name(name), rest)
        except InvalidResource:
            return UnusableKey(text)
    return None


def _global_key(text: str, rest: str) -> RoutingKey | None:
    match rest.split("/"):
        case ["node_mesh"]:
            return NodeMeshKey()
        case ["custom_filters", *_]:
            return UnusableKey(text)
        case _:
            return _common_key(text, None, rest)


def _host_key(text: str, host: HostName, rest: str) -> RoutingKey | None:
    if rest.startswith("ip_addr_"):
        family = _FAMILIES.get(rest.removeprefix("ip_addr_"))
        return UnusableKey(text) if family is None else BgpAddressKey(host, family)
    return _common_key(text, host, rest)


def _common_key(text: str, host: HostName | None, rest: str) -> RoutingKey | None:
    match rest.split("/"):
        case ["as_num"]:
            return AsNumberKey(host)
        case ["loglevel"]:
            return BgpLogLevelKey(host)
        case ["peer_v4" | "peer_v6" as kind, peer]:
            address = _address(peer, _FAMILIES[kind.removeprefix("peer_")])
            return UnusableKey(text) if address is None else BgpPeerKey(address, host)
        case _:
            return None


def _address(text: str, family: Family) -> Address | None:
    make = IPv4Address if family is Family.V4 else IPv6Address
    try:
        address = make(text)
    except AddressValueError:
        return None
    # A zone is part of an IPv6 address for Python, and anything may stand there.
    return address if str(address) == text and "%" not in text else None
