"""Values under keys: decoded or undecodable, never an exception."""

from ipaddress import ip_network

import pytest
from any_values import endpoints
from hypothesis import given
from hypothesis import strategies as st

from calico.codec.resources import decode_resource, encode_resource
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    OrchestratorId,
    ProfileId,
    TagName,
    WorkloadId,
)
from calico.model.network import Pool
from calico.model.rule import Action, ProfileRules, Rule
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

WEB = ProfileId("WEB")
CIDR = ip_network("10.0.0.0/16")
ENDPOINT = EndpointKey(
    HostName("h"), OrchestratorId("o"), WorkloadId("w"), EndpointId("e")
)
KEYS: list[ResourceKey] = [
    ProfileTagsKey(WEB),
    ProfileRulesKey(WEB),
    ProfileLabelsKey(WEB),
    ENDPOINT,
    PoolKey(CIDR),
    SettingKey("x"),
    ReadyKey(),
    ReservedKey("tier"),
]
VALUES: list[tuple[ResourceKey, Resource, bytes]] = [
    (KEYS[0], (TagName("WEB"), TagName("APP_7890")), b'["WEB", "APP_7890"]'),
    (
        KEYS[1],
        ProfileRules((Rule(Action.DENY),), ()),
        b'{"inbound_rules": [{"action": "deny"}], "outbound_rules": []}',
    ),
    (KEYS[2], {"k": "v"}, b'{"k": "v"}'),
    (KEYS[2], {}, b"{}"),
    (KEYS[4], Pool(CIDR), b'{"cidr": "10.0.0.0/16"}'),
    (KEYS[5], "cali,tap", b"cali,tap"),
    (KEYS[6], True, b"true"),
    (KEYS[6], False, b"false"),
]


@pytest.mark.parametrize(("key", "resource", "text"), VALUES)
def test_resource_is_kept_as_documented(
    key: ResourceKey, resource: Resource, text: bytes
) -> None:
    assert encode_resource(key, resource) == text
    assert decode_resource(key, "k", text) == resource


@given(endpoints())
def test_endpoint_survives(endpoint: WorkloadEndpoint) -> None:
    text = encode_resource(endpoint.key, endpoint)
    assert decode_resource(endpoint.key, "k", text) == endpoint


def test_repeated_tag_counts_once_at_its_first_place() -> None:
    assert decode_resource(KEYS[0], "k", b'["B", "A", "B"]') == ("B", "A")


@pytest.mark.parametrize(
    ("key", "text", "complaint"),
    [
        (KEYS[0], b'["A", ""]', '$[1]: found ""'),
        (KEYS[0], b'{"A": 1}', "expected a list"),
        (KEYS[1], b"", "found nothing"),
        (KEYS[1], b"\xff\xfe", "UTF-8"),
        (
            KEYS[1],
            b'{"inbound_rules": [{"action": "log"}]}',
            "$.inbound_rules[0].action",
        ),
        (KEYS[2], b"[]", "expected an object"),
        (KEYS[3], b"{}", "no `state`"),
        (KEYS[4], b"{}", "no `cidr`"),
        (KEYS[6], b"True", "expected true or false"),
        (KEYS[7], b"{}", "found a tier"),
    ],
)
def test_bad_value_is_undecodable_with_key_and_reason(
    key: ResourceKey, text: bytes, complaint: str
) -> None:
    found = decode_resource(key, "/the/key", text)
    assert isinstance(found, Undecodable)
    assert found.store_key == "/the/key"
    assert complaint in found.reason


def test_setting_is_text_whatever_it_is() -> None:
    assert decode_resource(SettingKey("x"), "k", b"\xff1") == "\\xff1"


PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b":", b",", b'"inbound_rules"', b'"action"', b'"allow"',
     b"null", b"true", b"1e999", b"-0", b'"state"', b'"\\ud800"', b"\x00", b"\xff"]
)  # fmt: skip


@given(st.sampled_from(KEYS), st.lists(PIECES, max_size=12).map(b"".join) | st.binary())
def test_no_value_is_a_surprise(key: ResourceKey, text: bytes) -> None:
    found = decode_resource(key, "k", text)
    if not isinstance(found, Undecodable):
        again = decode_resource(key, "k", encode_resource(key, found))
        assert again == found


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        (ReadyKey(), "true"),
        (ReservedKey("tier"), "x"),
        (ProfileTagsKey(WEB), {}),
        (SettingKey("x"), Undecodable("k", "r")),
    ],
)
def test_resource_of_another_kind_is_not_written(
    key: ResourceKey, resource: Resource
) -> None:
    with pytest.raises(TypeError):
        encode_resource(key, resource)
