from ipaddress import ip_address

from strategies import endpoint_key

from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import InterfaceName
from calico.netset import Family


def test_addresses_of_one_family_keep_their_order() -> None:
    texts = ("10.0.0.2", "fd00::1", "10.0.0.1")
    endpoint = WorkloadEndpoint(
        endpoint_key(0),
        EndpointState.ACTIVE,
        InterfaceName("cali0"),
        None,
        (),
        tuple(ip_address(text) for text in texts),
    )
    assert [str(a) for a in endpoint.addresses_of(Family.V4)] == [texts[0], texts[2]]
    assert [str(a) for a in endpoint.addresses_of(Family.V6)] == [texts[1]]
    assert endpoint.labels == {}
