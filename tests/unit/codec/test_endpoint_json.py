"""Endpoints as JSON: what is refused and where, and the way back."""

import json
from ipaddress import ip_address

import pytest
from any_values import endpoints
from hypothesis import given

from calico.codec.endpoint_json import (
    decode_endpoint,
    decode_labels,
    encode_endpoint,
    replace_profiles,
)
from calico.codec.json_text import dump_json, parse_json
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.errors import InvalidResource
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    WorkloadId,
)

KEY = EndpointKey(
    HostName("h"),
    OrchestratorId("namespace"),
    WorkloadId("/run/netns/w"),
    EndpointId("e"),
)
GOOD: dict[str, object] = {"state": "active", "name": "cali0"}


def decoded(**fields: object) -> WorkloadEndpoint:
    return decode_endpoint(parse_json(json.dumps({**GOOD, **fields}).encode()), KEY)


def test_endpoint_as_the_original_writes_it() -> None:
    assert decoded(
        mac="ee:EE:00:00:00:0f",
        profile_ids=["A", "B", "A"],
        labels={"k": "v"},
        ipv4_nets=["10.0.0.1/32", "10.0.0.1/32"],
        ipv6_nets=["fd80::1/128"],
        ipv4_gateway="10.0.0.254",
        ipv6_gateway=None,
        ipv4_nat=[],
        ipv6_nat=None,
    ) == WorkloadEndpoint(
        KEY,
        EndpointState.ACTIVE,
        InterfaceName("cali0"),
        bytes.fromhex("eeee0000000f"),
        (ProfileId("A"), ProfileId("B"), ProfileId("A")),
        (ip_address("10.0.0.1"), ip_address("fd80::1")),
        {"k": "v"},
    )


def test_what_is_absent_or_null_is_empty() -> None:
    bare = WorkloadEndpoint(
        KEY, EndpointState.INACTIVE, InterfaceName("cali0"), None, (), ()
    )
    assert decoded(state="inactive") == bare
    assert bare == decoded(
        state="inactive", profile_ids=None, labels=None, ipv4_nets=None, ipv6_nets=[]
    )


@pytest.mark.parametrize(
    ("fields", "profiles"),
    [
        ({"profile_id": "A"}, ["A"]),
        ({"profile_id": "A", "profile_ids": ["B"]}, ["B"]),
        ({"profile_id": None}, []),
    ],
)
def test_legacy_profile_id_is_accepted(
    fields: dict[str, object], profiles: list[str]
) -> None:
    assert list(decoded(**fields).profile_ids) == profiles


@pytest.mark.parametrize("mac", ["EE-EE-EE-EE-EE-EE", "ee:ee:ee:ee:ee:ee"])
def test_mac_is_read(mac: str) -> None:
    assert decoded(mac=mac).mac == b"\xee" * 6


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"state": "up"}, '$.state: found "up", expected "active" or "inactive"'),
        ({"state": None}, "$: found no `state`"),
        ({"name": None}, "$: found no `name`"),
        ({"name": 5}, "$.name: found 5"),
        ({"name": "a/b"}, '$.name: found "a/b"'),
        ({"name": "x" * 16}, "$.name: found"),
        ({"mac": None}, "$.mac: found null"),
        ({"mac": "ee:ee:ee:ee:ee"}, "$.mac: found"),
        ({"mac": "ee:ee-ee:ee:ee:ee"}, "$.mac: found"),
        ({"mac": "eeeeeeeeeeee"}, "$.mac: found"),
        ({"mac": "gg:ee:ee:ee:ee:ee"}, "$.mac: found"),
        ({"mac": "ee:ee:ee:ee:ee:ee\n"}, "$.mac: found"),
        ({"profile_ids": "A"}, '$.profile_ids: found "A", expected a list'),
        ({"profile_ids": ["A", "a b"]}, '$.profile_ids[1]: found "a b"'),
        ({"profile_ids": ["A"] * 101}, "101 profiles, expected at most 100"),
        ({"profile_id": ".."}, '$.profile_id: found ".."'),
        ({"labels": ["k"]}, "$.labels: found"),
        ({"labels": {"a b": "v"}}, "$.labels: found the label 'a b'"),
        ({"labels": {"k": 1}}, "$.labels.k: found 1"),
        ({"ipv4_nets": ["10.0.0.0/24"]}, '$.ipv4_nets[0]: found "10.0.0.0/24"'),
        ({"ipv4_nets": ["fd80::1/128"]}, "$.ipv4_nets[0]: found"),
        ({"ipv4_nets": ["10.0.0.1/32", 5]}, "$.ipv4_nets[1]: found 5"),
        ({"ipv6_nets": ["fd80::1/64"]}, "$.ipv6_nets[0]: found"),
        ({"ipv6_nets": ["10.0.0.1/32"]}, "$.ipv6_nets[0]: found"),
        ({"ipv6_nets": ["fe80::1%eth0/128"]}, "$.ipv6_nets[0]: found"),
        ({"ipv4_gateway": "fd80::1"}, "$.ipv4_gateway: found"),
        ({"ipv4_nat": [{"int_ip": "10.0.0.1"}]}, "$.ipv4_nat: found"),
        ({"ipv6_nat": {}}, "$.ipv6_nat: found {}, expected a list"),
        ({"expected_ipv4_addrs": []}, "$.expected_ipv4_addrs: found an unknown key"),
        ({"profiles": []}, "expected `profile_ids`?"),
    ],
)
def test_bad_endpoint_is_refused_with_its_path(
    fields: dict[str, object], complaint: str
) -> None:
    with pytest.raises(InvalidResource) as caught:
        decoded(**fields)
    assert complaint in str(caught.value)


def test_address_without_a_length_is_that_address() -> None:
    assert decoded(ipv4_nets=["10.0.0.1"]).addresses == (ip_address("10.0.0.1"),)


@given(endpoints())
def test_endpoint_survives_json(endpoint: WorkloadEndpoint) -> None:
    text = dump_json(encode_endpoint(endpoint))
    assert decode_endpoint(parse_json(text), endpoint.key) == endpoint


def test_nets_are_written_sorted_by_number() -> None:
    endpoint = decoded(ipv4_nets=["10.0.0.10/32", "10.0.0.9/32"])
    fields = encode_endpoint(endpoint)
    assert isinstance(fields, dict)
    assert fields["ipv4_nets"] == ["10.0.0.9/32", "10.0.0.10/32"]
    assert list(fields) == [
        "state", "name", "profile_ids", "labels", "ipv4_nets", "ipv6_nets",
    ]  # fmt: skip


def test_other_profiles_leave_everything_else_as_it_was() -> None:
    text = b'{"profile_id": "A", "ipv6_gateway": "fe80::1", "x": 5}'
    assert replace_profiles(parse_json(text), (ProfileId("B"),)) == {
        "ipv6_gateway": "fe80::1", "x": 5, "profile_ids": ["B"],
    }  # fmt: skip


def test_labels() -> None:
    assert decode_labels(parse_json(b'{"a.b/c-d_E": ""}')) == {"a.b/c-d_E": ""}
