"""The value under a key: bytes to a resource and back.

Decoding never raises. What cannot be used becomes `Undecodable` with its key
and the reason, and whoever depends on it denies.
"""

from collections.abc import Mapping
from typing import assert_never

from calico.codec.endpoint_json import decode_endpoint, decode_labels, encode_endpoint
from calico.codec.json_text import Field, Json, dump_json, parse_json
from calico.codec.pool_json import decode_pool, encode_pool
from calico.codec.rules_json import decode_rules, encode_rules
from calico.model.endpoint import WorkloadEndpoint
from calico.model.errors import InvalidResource
from calico.model.names import EndpointKey, TagName, parse_tag_name
from calico.model.network import Pool
from calico.model.rule import ProfileRules
from calico.model.snapshot import (
    PoolKey,
    ProfileLabelsKey,
    ProfileRulesKey,
    ProfileTagsKey,
    ReadyKey,
    ReservedKey,
    Resource,
    ResourceKey,
    SettingKey,
    Undecodable,
)


def decode_resource(key: ResourceKey, store_key: str, value: bytes) -> Resource:
    """Read the value under a key.

    Args:
        key: What `store_key` stands for.
        store_key: Where the value is, for the report if it cannot be used.
        value: As the datastore holds it.

    Returns:
        The resource, of the type that goes with the key.
    """
    try:
        return _decode(key, value)
    except InvalidResource as error:
        return Undecodable(store_key, str(error))


def _decode(key: ResourceKey, value: bytes) -> Resource:
    match key:
        case SettingKey():
            # Whoever knows the parameter finds out that it is no word of theirs.
            return value.decode("utf-8", "backslashreplace")
        case ReadyKey():
            return _decode_ready(value)
        case ReservedKey():
            raise InvalidResource("$", f"a {key.kind}", "a resource that is in use")
        case _:
            return _decode_json(key, parse_json(value))


def _decode_json(
    key: ProfileTagsKey | ProfileRulesKey | ProfileLabelsKey | EndpointKey | PoolKey,
    field: Field,
) -> Resource:
    match key:
        case ProfileTagsKey():
            return decode_tags(field)
        case ProfileRulesKey():
            return decode_rules(field, key.profile)
        case ProfileLabelsKey():
            return decode_labels(field)
        case EndpointKey():
            return decode_endpoint(field, key)
        case PoolKey():
            return decode_pool(field, key.cidr)
        case _:
            assert_never(key)


def _decode_ready(value: bytes) -> bool:
    words = {b"true": True, b"false": False}
    if value not in words:
        raise InvalidResource("$", repr(value[:20]), "true or false")
    return words[value]


def decode_tags(field: Field) -> tuple[TagName, ...]:
    """Read a profile's tags, each once, in the order written.

    Raises:
        InvalidResource: With the path of what cannot be used.
    """
    tags = (each.parsed_by(parse_tag_name) for each in field.items())
    return tuple(dict.fromkeys(tags))


def encode_resource(key: ResourceKey, resource: Resource) -> bytes:
    """Write the value under a key.

    Args:
        key: The key.
        resource: Of the type that goes with the key.

    Raises:
        InvalidResource: It is larger than the datastore accepts.
        TypeError: It does not go with the key; a mistake of the programmer.
    """
    if isinstance(resource, Undecodable):
        raise TypeError(f"{resource.store_key} cannot be written")
    if not isinstance(resource, _TYPES.get(type(key), ())):
        raise TypeError(f"{type(resource).__name__} under {key}")
    match resource:
        case bool():
            return b"true" if resource else b"false"
        case str():
            return resource.encode("utf-8")
        case _:
            return dump_json(_encode(resource))


_TYPES: Mapping[type, type] = {
    ProfileTagsKey: tuple,
    ProfileRulesKey: ProfileRules,
    ProfileLabelsKey: Mapping,
    EndpointKey: WorkloadEndpoint,
    PoolKey: Pool,
    SettingKey: str,
    ReadyKey: bool,
}


def _encode(
    resource: tuple[TagName, ...]
    | ProfileRules
    | Mapping[str, str]
    | WorkloadEndpoint
    | Pool,
) -> Json:
    match resource:
        case tuple():
            return list(resource)
        case ProfileRules():
            return encode_rules(resource)
        case WorkloadEndpoint():
            return encode_endpoint(resource)
        case Pool():
            return encode_pool(resource)
        case _:
            return dict(resource)
