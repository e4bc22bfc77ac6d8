import json
from dataclasses import replace
from ipaddress import ip_network

import pytest

from calico.codec.block_json import (
    decode_block,
    decode_handle,
    decode_ipam_config,
    encode_block,
    encode_handle,
    is_plainly_full,
)
from calico.model.block import Attributes, Handle, IpamConfig, make_block
from calico.model.errors import InvalidResource
from calico.model.names import HostName

CIDR = ip_network("192.168.1.0/26")
FRESH = make_block(CIDR, HostName("h"), is_strict=False)
USED = replace(
    FRESH,
    allocations=(0, 1, *[None] * 62),
    unallocated=tuple(range(2, 64)),
    attributes=(Attributes(), Attributes("h.namespace./run/x.1", {"time": "t"})),
)


def test_block_is_written_with_the_documented_fields() -> None:
    assert json.loads(encode_block(USED)) == {
        "cidr": "192.168.1.0/26",
        "affinity": "host:h",
        "strict_affinity": False,
        "allocations": [0, 1, *[None] * 62],
        "unallocated": list(range(2, 64)),
        "attributes": [
            {"handle_id": None, "secondary": {}},
            {"handle_id": "h.namespace./run/x.1", "secondary": {"time": "t"}},
        ],
    }


@pytest.mark.parametrize(
    "block", [FRESH, USED, replace(USED, affinity=None, is_strict=True)]
)
def test_block_survives_writing_and_reading(block: object) -> None:
    assert block in (FRESH, USED, replace(USED, affinity=None, is_strict=True))
    assert isinstance(block, type(FRESH))
    assert decode_block(CIDR, encode_block(block)) == block


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"cidr": "192.168.2.0/26"}, "$.cidr"),
        ({"cidr": None}, "$"),
        ({"affinity": "h"}, "$.affinity"),
        ({"affinity": "host:/"}, "$.affinity"),
        ({"allocations": [None]}, "$.allocations"),
        ({"allocations": None}, "$"),
        ({"allocations": [True] + [None] * 63}, "$.allocations[0]"),
        ({"allocations": [7] + [None] * 63}, "$.allocations"),
        ({"unallocated": list(range(1, 64))}, "$.unallocated"),
        ({"unallocated": [1, *range(1, 64)]}, "$.unallocated"),
        ({"unallocated": [64, *range(1, 64)]}, "$.unallocated[0]"),
        ({"attributes": [{"handle_id": 1}]}, "$.attributes[0].handle_id"),
        ({"attributes": [{"secondary": {"a": 1}}]}, "$.attributes[0].secondary.a"),
        ({"more": 1}, "$.more"),
    ],
)
def test_bad_block_is_refused_with_its_path(
    change: dict[str, object], where: str
) -> None:
    value = json.loads(encode_block(FRESH)) | change
    if where == "$.allocations" and change["allocations"] != [None]:
        value["unallocated"] = list(range(1, 64))
    with pytest.raises(InvalidResource) as caught:
        decode_block(CIDR, json.dumps(value).encode())
    assert caught.value.where == where


def test_handle_survives_writing_and_reading() -> None:
    handle = Handle("a", {CIDR: 3, ip_network("fd80::/122"): 1})
    text = encode_handle(handle)
    assert json.loads(text) == {
        "id": "a",
        "block": {"192.168.1.0/26": 3, "fd80::/122": 1},
    }
    assert decode_handle("a", text) == handle


@pytest.mark.parametrize(
    "text",
    [
        b'{"block": {}}',
        b'{"id": "b"}',
        b'{"id": "a", "block": {"x": 1}}',
        b'{"id": "a", "block": {"10.0.0.0/26": 65}}',
        b"[]",
    ],
)
def test_bad_handle_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidResource):
        decode_handle("a", text)


def test_config_has_the_usual_values_where_it_says_nothing() -> None:
    assert decode_ipam_config(b"{}") == IpamConfig()
    assert decode_ipam_config(
        b'{"auto_allocate_blocks": false, "strict_affinity": true}'
    ) == IpamConfig(auto_allocate_blocks=False, strict_affinity=True)


def test_config_with_another_word_is_refused() -> None:
    with pytest.raises(InvalidResource):
        decode_ipam_config(b'{"strict_affinity": 1}')


def test_block_is_told_to_be_full_without_being_read() -> None:
    full = replace(
        FRESH,
        allocations=(0,) * 64,
        unallocated=(),
        attributes=(Attributes("h"),),
    )
    assert is_plainly_full(encode_block(full))
    assert not is_plainly_full(encode_block(USED))
    assert decode_block(CIDR, encode_block(full)) == full


@pytest.mark.parametrize(
    ("attributes", "where"),
    [
        ({"handle_id": "h", "secondary": {"n": 1}}, "$.attributes[1].secondary.n"),
        ({"handle_id": 1, "secondary": {}}, "$.attributes[1].handle_id"),
        ({"handle_id": "h", "other": {}}, "$.attributes[1].other"),
        ([], "$.attributes[1]"),
    ],
)
def test_unusual_attributes_are_refused_where_they_stand(
    attributes: object, where: str
) -> None:
    value = json.loads(encode_block(USED))
    value["attributes"][1] = attributes
    with pytest.raises(InvalidResource) as refused:
        decode_block(CIDR, json.dumps(value).encode())
    assert refused.value.where == where


def test_attributes_without_handle_or_anything_else_are_read() -> None:
    value = json.loads(encode_block(USED))
    value["attributes"] = [{"handle_id": None}, {"handle_id": "h", "secondary": None}]
    block = decode_block(CIDR, json.dumps(value).encode())
    assert block.attributes == (Attributes(), Attributes("h"))
