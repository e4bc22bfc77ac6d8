"""The values under the keys that routing depends on.

Nothing but an address, a number or a word out of a short list gets through: of
these a router's configuration is made, and a text that is more than that would
be configuration itself. Decoding never raises, as in `resources`.
"""

from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import assert_never

from calico.codec.json_text import Field, Json, dump_json, parse_json
from calico.codec.resources import decode_resource
from calico.model.bgp import AsNumber, BgpLogLevel, BgpPeer, parse_as_number
from calico.model.errors import InvalidResource
from calico.model.network import Pool
from calico.model.routing import (
    AffinityKey,
    AsNumberKey,
    BgpAddressKey,
    BgpLogLevelKey,
    BgpPeerKey,
    NodeMeshKey,
    RoutingKey,
    RoutingResource,
    UnusableKey,
)
from calico.model.snapshot import PoolKey, Undecodable
from calico.netset import Address, Family

_MAX_SHOWN = 60
_LOG_LEVELS = " or ".join(each.value for each in BgpLogLevel)


def decode_routing_value(
    key: RoutingKey, store_key: str, value: bytes
) -> RoutingResource | None:
    """Read the value under a key.

    Args:
        key: What `store_key` stands for.
        store_key: Where the value is, for the report if it cannot be used.
        value: As the datastore holds it.

    Returns:
        The resource that goes with the key; `None` for an address that is left
        empty, which means that there is none.
    """
    if isinstance(key, PoolKey):
        pool = decode_resource(key, store_key, value)
        return pool if isinstance(pool, Pool | Undecodable) else None
    try:
        return _decode(key, value)
    except InvalidResource as error:
        return Undecodable(store_key, str(error))


def _decode(
    key: AsNumberKey
    | BgpLogLevelKey
    | NodeMeshKey
    | BgpAddressKey
    | BgpPeerKey
    | AffinityKey
    | UnusableKey,
    value: bytes,
) -> RoutingResource | None:
    match key:
        case AsNumberKey():
            return parse_as_number(_word(value))
        case BgpLogLevelKey():
            return _decode_log_level(_word(value))
        case NodeMeshKey():
            return decode_node_mesh(parse_json(value))
        case BgpAddressKey():
            return _decode_address(_word(value), key.family) if value else None
        case BgpPeerKey():
            return decode_peer(parse_json(value), key.peer)
        case AffinityKey():
            return True
        case UnusableKey():
            raise InvalidResource(
                "the key",
                "one that is not used",
                "a key of the documented data model",
                "delete it",
            )
        case _:
            assert_never(key)


def decode_peer(field: Field, address: Address) -> BgpPeer:
    """Read a BGP peer.

    Args:
        field: The peer.
        address: The one in its key; the one in the value must be the same.

    Raises:
        InvalidResource: With the path of what cannot be used.
    """
    found = field.fields(("ip", "as_num"))
    for name, example in (("ip", str(address)), ("as_num", "64512")):
        if name not in found:
            raise InvalidResource(field.path, f"no `{name}`", f'`{name}`: "{example}"')
    if found["ip"].text() != str(address):
        raise found["ip"].refuse(f'"{address}", as in the key')
    return BgpPeer(address, found["as_num"].parsed_by(parse_as_number))


def encode_peer(peer: BgpPeer) -> bytes:
    """Write a BGP peer."""
    value: Json = {"ip": str(peer.address), "as_num": str(peer.as_number)}
    return dump_json(value)


def decode_node_mesh(field: Field) -> bool:
    """Read whether all hosts peer with each other.

    Raises:
        InvalidResource: With the path of what cannot be used.
    """
    found = field.fields(("enabled",))
    if "enabled" not in found:
        raise InvalidResource(field.path, "no `enabled`", "`enabled`: true or false")
    return found["enabled"].boolean()


def encode_node_mesh(*, is_on: bool) -> bytes:
    """Write whether all hosts peer with each other."""
    return dump_json({"enabled": is_on})


def encode_as_number(number: AsNumber) -> bytes:
    """Write an AS number."""
    return str(number).encode()


def _decode_log_level(word: str) -> BgpLogLevel:
    try:
        return BgpLogLevel(word)
    except ValueError:
        raise InvalidResource("log level", _quoted(word), _LOG_LEVELS) from None


def _decode_address(word: str, family: Family) -> Address:
    make = IPv4Address if family is Family.V4 else IPv6Address
    try:
        address = make(word)
    except AddressValueError:
        address = None
    # A zone is part of an IPv6 address for Python, and anything may stand there.
    if address is None or "%" in word:
        kind = f"IPv{family.value} address"
        raise InvalidResource(kind, _quoted(word), "an address and nothing else")
    return address


def _word(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _quoted(word: str) -> str:
    return repr(word if len(word) <= _MAX_SHOWN else word[: _MAX_SHOWN - 1] + "…")
