from ipaddress import IPv6Address

import pytest
from strategies import endpoint_key

from calico.ir.state import NO_TRANSLATION, DesiredState, LocalEndpoint
from calico.model.names import InterfaceName
from calico.model.network import DEFAULT_SETTINGS


@pytest.mark.parametrize(
    ("mac", "expected"),
    [
        (None, None),
        ("eeeeeeeeeeee", "fe80::ecee:eeff:feee:eeee"),
        ("020000000001", "fe80::ff:fe00:1"),
    ],
)
def test_link_local_address_belongs_to_the_mac(
    mac: str | None, expected: str | None
) -> None:
    packed = None if mac is None else bytes.fromhex(mac)
    endpoint = LocalEndpoint(
        endpoint_key(0),
        InterfaceName("cali0"),
        packed,
        is_active=True,
        profiles=(),
        addresses=(),
    )
    assert endpoint.link_local == (expected and IPv6Address(expected).packed)


def test_empty_state_has_nothing_and_default_settings() -> None:
    empty = DesiredState()
    assert empty.settings == DEFAULT_SETTINGS
    assert empty.endpoints == {}
    assert empty.problems == {}
    assert empty.translation == NO_TRANSLATION
