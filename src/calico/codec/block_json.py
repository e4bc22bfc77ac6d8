"""Allocation blocks, handles and the settings of ipam as JSON.

Source:
    libcalico, calico_containers/pycalico/block.py and handle.py.
"""

from ipaddress import ip_network

from calico.codec.json_text import Decoded, Field, Json, dump_json, optional, parse_json
from calico.model.block import (
    N_BLOCK_ADDRESSES,
    Attributes,
    Block,
    Handle,
    IpamConfig,
)
from calico.model.errors import InvalidResource
from calico.model.names import HostName, parse_host_name
from calico.netset import Network

_AFFINITY = "host:"
_BLOCK_KEYS = (
    "cidr",
    "affinity",
    "strict_affinity",
    "allocations",
    "unallocated",
    "attributes",
)
_CONFIG_KEYS = ("auto_allocate_blocks", "strict_affinity")


def is_plainly_full(value: bytes) -> bool:
    """Tell of a block, without reading it, that no address of it is free.

    Args:
        value: As the datastore holds it. One written in another way than ours
            is never told to be full.
    """
    return b'"unallocated": []' in value


def decode_block(cidr: Network, value: bytes) -> Block:
    """Read a block.

    Args:
        cidr: The network in its key; the one in the value must be the same.
        value: As the datastore holds it.

    Raises:
        InvalidResource: With the path of what cannot be used.
    """
    root = parse_json(value)
    found = root.fields(_BLOCK_KEYS)
    if "cidr" not in found or found["cidr"].value != str(cidr):
        raise found.get("cidr", root).refuse(f'`cidr` to be "{cidr}", as in the key')
    block = Block(
        cidr=cidr,
        affinity=optional(found.get("affinity"), _decode_affinity),
        is_strict=optional(found.get("strict_affinity"), Field.boolean) or False,
        allocations=_decode_allocations(_required(root, found, "allocations")),
        unallocated=_decode_unallocated(_required(root, found, "unallocated")),
        attributes=tuple(
            _plain_attributes(each.value) or _decode_attributes(each)
            for each in _required(root, found, "attributes").items()
        ),
    )
    _verify_counts(block)
    return block


def _verify_counts(block: Block) -> None:
    """Refuse a block that would give one address away twice.

    Raises:
        InvalidResource: An ordinal is both free and taken, or neither.
    """
    free = [n for n, index in enumerate(block.allocations) if index is None]
    if sorted(block.unallocated) != free:
        raise InvalidResource(
            "$.unallocated",
            str(list(block.unallocated)),
            "every ordinal that is null in `allocations`, once",
        )
    used = {index for index in block.allocations if index is not None}
    if any(index >= len(block.attributes) for index in used):
        raise InvalidResource(
            "$.allocations", str(max(used)), "an index of `attributes`"
        )


def _required(root: Field, found: dict[str, Field], name: str) -> Field:
    if name not in found:
        raise InvalidResource(root.path, f"no `{name}`", f"a block with `{name}`")
    return found[name]


def _decode_affinity(field: Field) -> HostName | None:
    text = field.text()
    if not text:
        return None
    if not text.startswith(_AFFINITY):
        raise field.refuse('"host:" and a host, or ""')
    host = Field(field.path, text.removeprefix(_AFFINITY))
    return host.parsed_by(parse_host_name)


# A block is read for every address that is taken, and has 64 of everything. So
# what is plainly right is taken as it is, and the rest goes the long way, which
# says what is wrong with it.
_ORDINALS: frozenset[object] = frozenset(range(N_BLOCK_ADDRESSES))
_ATTRIBUTES = frozenset({"handle_id", "secondary"})
_OR_FREE: frozenset[object] = _ORDINALS | {None}


def _decode_unallocated(field: Field) -> tuple[int, ...]:
    value = field.value
    if isinstance(value, list):
        numbers = tuple(each for each in value if type(each) is int)
        if len(numbers) == len(value) and _ORDINALS.issuperset(numbers):
            return numbers
    return tuple(
        each.integer(N_BLOCK_ADDRESSES - 1, "an ordinal, 0 to 63")
        for each in field.items()
    )


def _plain_attributes(value: Decoded) -> Attributes | None:
    """Read attributes that have nothing unusual; `None` for all others."""
    if not isinstance(value, dict) or not _ATTRIBUTES.issuperset(value):
        return None
    handle, secondary = value.get("handle_id"), value.get("secondary")
    if not isinstance(secondary, dict):
        return None
    texts = {key: each for key, each in secondary.items() if isinstance(each, str)}
    if len(texts) != len(secondary) or not isinstance(handle, str):
        return None
    return Attributes(handle, texts)


def _decode_allocations(field: Field) -> tuple[int | None, ...]:
    value = field.value
    if isinstance(value, list) and len(value) == N_BLOCK_ADDRESSES:
        numbers = tuple(each for each in value if type(each) is int or each is None)
        if len(numbers) == len(value) and _OR_FREE.issuperset(numbers):
            return numbers
    allocations = tuple(
        None
        if each.value is None
        else each.integer(N_BLOCK_ADDRESSES - 1, "null or an index of `attributes`")
        for each in field.items()
    )
    if len(allocations) != N_BLOCK_ADDRESSES:
        raise InvalidResource(
            field.path, f"{len(allocations)} members", f"{N_BLOCK_ADDRESSES} members"
        )
    return allocations


def _decode_attributes(field: Field) -> Attributes:
    found = field.fields(("handle_id", "secondary"))
    secondary = found.get("secondary")
    return Attributes(
        handle=optional(found.get("handle_id"), Field.text),
        secondary={}
        if secondary is None
        else {key: each.text() for key, each in secondary.members().items()},
    )


def encode_block(block: Block) -> bytes:
    """Write a block."""
    fields: dict[str, Json] = {
        "cidr": str(block.cidr),
        "affinity": "" if block.affinity is None else _AFFINITY + block.affinity,
        "strict_affinity": block.is_strict,
        "allocations": list(block.allocations),
        "unallocated": list(block.unallocated),
        "attributes": [encode_attributes(each) for each in block.attributes],
    }
    return dump_json(fields)


def encode_attributes(attributes: Attributes) -> dict[str, Json]:
    """Write what is known about an allocation."""
    return {
        "handle_id": attributes.handle,
        "secondary": dict(attributes.secondary),
    }


def decode_handle(handle: str, value: bytes) -> Handle:
    """Read a handle.

    Args:
        handle: The one in its key; the one in the value must be the same.
        value: As the datastore holds it.

    Raises:
        InvalidResource: With the path of what cannot be used.
    """
    root = parse_json(value)
    found = root.fields(("id", "block"))
    if "id" not in found or found["id"].value != handle:
        raise found.get("id", root).refuse(f"`id` to be {handle!r}, as in the key")
    counts = optional(found.get("block"), Field.members) or {}
    return Handle(
        handle,
        {
            _decode_network(key, each): each.integer(N_BLOCK_ADDRESSES, "1 to 64")
            for key, each in counts.items()
        },
    )


def _decode_network(text: str, field: Field) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        raise InvalidResource(field.path, text, "the network of a block") from None


def encode_handle(handle: Handle) -> bytes:
    """Write a handle."""
    counts: dict[str, Json] = {str(key): n for key, n in handle.counts.items()}
    return dump_json({"id": handle.handle, "block": counts})


def decode_ipam_config(value: bytes) -> IpamConfig:
    """Read the settings of ipam.

    Raises:
        InvalidResource: With the path of what cannot be used.
    """
    found = parse_json(value).fields(_CONFIG_KEYS)
    auto = optional(found.get("auto_allocate_blocks"), Field.boolean)
    strict = optional(found.get("strict_affinity"), Field.boolean)
    return IpamConfig(auto is not False, strict or False)
