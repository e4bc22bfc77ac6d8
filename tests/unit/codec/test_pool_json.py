"""Pools as JSON."""

import json
from ipaddress import ip_network

import pytest

from calico.codec.json_text import parse_json
from calico.codec.pool_json import decode_pool, encode_pool
from calico.model.errors import InvalidResource
from calico.model.network import Pool

CIDR = ip_network("10.0.0.0/16")


@pytest.mark.parametrize(
    ("fields", "pool"),
    [
        ({}, Pool(CIDR)),
        (
            {"ipip": None, "masquerade": None, "ipam": None, "disabled": None},
            Pool(CIDR),
        ),
        (
            {"ipip": "tunl0", "masquerade": True, "ipam": False, "disabled": True},
            Pool(
                CIDR,
                ipip=True,
                masquerade=True,
                is_for_ipam=False,
                is_disabled=True,
            ),
        ),
        ({"vxlan": "vxlan.calico"}, Pool(CIDR, vxlan=True)),
        ({"masquerade": False, "ipam": True, "disabled": False}, Pool(CIDR)),
    ],
)
def test_pool_is_read_and_written(fields: dict[str, object], pool: Pool) -> None:
    text = json.dumps({"cidr": "10.0.0.0/16", **fields}).encode()
    assert decode_pool(parse_json(text), CIDR) == pool
    written = json.dumps(encode_pool(pool)).encode()
    assert decode_pool(parse_json(written), CIDR) == pool


def test_usual_pool_is_written_short() -> None:
    assert encode_pool(Pool(CIDR)) == {"cidr": "10.0.0.0/16"}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"cidr": None}, "$: found no `cidr`"),
        (
            {"cidr": "10.0.0.0/17"},
            '$.cidr: found "10.0.0.0/17", expected "10.0.0.0/16"',
        ),
        ({"cidr": "10.0.0.1/16"}, "expected a network without host bits"),
        ({"cidr": "x"}, '$.cidr: found "x"'),
        ({"cidr": "fd00::/64"}, "as in the key"),
        ({"vxlan": True}, "$.vxlan: found true"),
        ({"ipip": "tunl0", "vxlan": "vxlan.calico"}, "no `vxlan` beside `ipip`"),
        ({"masquerade": 1}, "$.masquerade: found 1, expected true or false"),
        ({"masquerade": "true"}, "$.masquerade: found"),
        ({"ipip": True}, "$.ipip: found true"),
        ({"ipip": "tunl1"}, '$.ipip: found "tunl1"'),
        ({"nat": True}, "$.nat: found an unknown key"),
    ],
)
def test_bad_pool_is_refused(fields: dict[str, object], complaint: str) -> None:
    text = json.dumps({"cidr": "10.0.0.0/16", **fields}).encode()
    with pytest.raises(InvalidResource) as caught:
        decode_pool(parse_json(text), CIDR)
    assert complaint in str(caught.value)
