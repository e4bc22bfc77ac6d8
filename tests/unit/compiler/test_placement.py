from ipaddress import ip_address

from strategies import endpoint_key

from calico.compiler.local import compile_endpoint
from calico.compiler.placement import Placement
from calico.ir.delta import Change
from calico.ir.state import Route
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import InterfaceName

ADDRESS = ip_address("10.0.0.1")


def endpoint(
    number: int,
    interface: str = "cali0",
    state: EndpointState = EndpointState.ACTIVE,
    address: str = "10.0.0.1",
) -> WorkloadEndpoint:
    key, name = endpoint_key(number), InterfaceName(interface)
    return WorkloadEndpoint(key, state, name, None, (), (ip_address(address),))


def route(of: WorkloadEndpoint) -> Route:
    return Route(of.key, of.interface, None)


def test_endpoint_that_comes_and_goes_takes_its_route_along() -> None:
    placement, one = Placement(("cali",)), endpoint(0)
    local = compile_endpoint(one)
    placement.put(one.key, one)
    placement.put(one.key, one)
    assert placement.take_changes() == (
        {one.key: Change(None, local)},
        {ADDRESS: Change(None, route(one))},
    )
    assert (placement.endpoints, placement.routes) == (
        {one.key: local},
        {ADDRESS: route(one)},
    )
    placement.put(one.key, one)
    assert placement.take_changes() == ({}, {})
    placement.put(one.key, None)
    placement.put(one.key, None)
    assert placement.take_changes() == (
        {one.key: Change(local, None)},
        {ADDRESS: Change(route(one), None)},
    )
    assert placement.endpoints == {}
    assert placement.routes == {}


def test_inactive_endpoint_has_no_route() -> None:
    placement, one = Placement(("cali",)), endpoint(0, state=EndpointState.INACTIVE)
    placement.put(one.key, one)
    placement.take_changes()
    assert list(placement.endpoints) == [one.key]
    assert placement.routes == {}


def test_endpoint_can_move_to_another_interface_and_address() -> None:
    placement = Placement(("cali",))
    before, after = endpoint(0), endpoint(0, "cali1", address="10.0.0.2")
    placement.put(before.key, before)
    placement.take_changes()
    placement.put(after.key, after)
    _, routes = placement.take_changes()
    assert routes == {
        ADDRESS: Change(route(before), None),
        ip_address("10.0.0.2"): Change(None, route(after)),
    }


def test_interface_goes_on_to_the_next_when_its_owner_goes() -> None:
    placement = Placement(("cali",))
    lower, upper = endpoint(0), endpoint(1)
    placement.put(upper.key, upper)
    placement.take_changes()
    placement.put(lower.key, lower)
    placement.take_changes()
    assert list(placement.endpoints) == [lower.key]
    assert list(placement.problems()) == ["endpoint namespace/w1/eth0"]
    placement.put(lower.key, None)
    placement.take_changes()
    assert list(placement.endpoints) == [upper.key]
    assert placement.problems() == {}


def test_shared_address_is_a_problem_while_it_is_shared() -> None:
    placement = Placement(("cali",))
    lower, upper = endpoint(0), endpoint(1, "cali1")
    for one in (upper, lower):
        placement.put(one.key, one)
    placement.take_changes()
    assert placement.routes == {ADDRESS: route(lower)}
    assert list(placement.problems()) == ["address 10.0.0.1"]
    placement.put(upper.key, None)
    assert placement.take_changes()[1] == {}
    assert placement.problems() == {}
    placement.put(upper.key, upper)
    placement.take_changes()
    placement.put(lower.key, None)
    _, routes = placement.take_changes()
    assert routes == {ADDRESS: Change(route(lower), route(upper))}
    assert placement.problems() == {}


def test_new_prefixes_decide_every_interface_anew() -> None:
    placement = Placement(("cali",))
    one, other = endpoint(0, "cali0"), endpoint(1, "tap0", address="10.0.0.2")
    for each in (one, other):
        placement.put(each.key, each)
    placement.take_changes()
    assert list(placement.endpoints) == [one.key]
    placement.set_prefixes(("tap",))
    placement.take_changes()
    assert list(placement.endpoints) == [other.key]
    assert list(placement.problems()) == ["endpoint namespace/w0/eth0"]
