from ipaddress import ip_address

import pytest
from strategies import endpoint_key

from calico.compiler.local import assign_address, assign_interface, compile_endpoint
from calico.ir.state import LocalEndpoint, Route
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import InterfaceName, ProfileId

MAC = bytes.fromhex("020000000001")
SHARED = ip_address("10.0.0.1").packed


def endpoint(
    number: int, interface: str = "cali0", state: EndpointState = EndpointState.ACTIVE
) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        endpoint_key(number),
        state,
        InterfaceName(interface),
        MAC,
        tuple(ProfileId(name) for name in ("B", "A", "B")),
        tuple(ip_address(text) for text in ("fd00::1", "10.0.0.1", "fd00::1")),
    )


@pytest.mark.parametrize("state", EndpointState)
def test_normal_form_keeps_order_and_first_places(state: EndpointState) -> None:
    assert compile_endpoint(endpoint(0, state=state)) == LocalEndpoint(
        endpoint_key(0),
        InterfaceName("cali0"),
        MAC,
        is_active=state is EndpointState.ACTIVE,
        profiles=(ProfileId("B"), ProfileId("A")),
        addresses=(ip_address("fd00::1").packed, SHARED),
    )


def test_lower_key_owns_the_interface() -> None:
    lower, upper = endpoint(0), endpoint(1)
    owner, reasons = assign_interface((upper, lower), ("cali",))
    assert owner is lower
    assert reasons == {
        upper.key: "interface cali0 belongs to endpoint namespace/w0/eth0"
    }


def test_interface_without_a_prefix_belongs_to_nobody() -> None:
    one = endpoint(0, "eth0")
    owner, reasons = assign_interface((one,), ("cali", "tap"))
    assert owner is None
    assert reasons == {
        one.key: "interface eth0 does not start with cali or tap (InterfacePrefix)"
    }


def test_nobody_claims_nothing() -> None:
    assert assign_interface((), ("cali",)) == (None, {})


def test_route_to_a_shared_address_goes_to_the_lower_key() -> None:
    lower, upper = (compile_endpoint(endpoint(n, f"cali{n}")) for n in (0, 1))
    route = Route(lower.key, lower.interface, MAC)
    assert assign_address(SHARED, (lower,)) == (route, None)
    assert assign_address(SHARED, (upper, lower)) == (
        route,
        "10.0.0.1 is shared by endpoints namespace/w0/eth0, namespace/w1/eth0;"
        " the route goes to namespace/w0/eth0",
    )
