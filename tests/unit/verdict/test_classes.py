"""What rules can tell apart, and what they cannot."""

from ipaddress import ip_address

from agent_host import rules
from strategies import HOST, endpoint_key

from calico.compiler.host import compile_host
from calico.ir.state import DesiredState
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import InterfaceName, ProfileId, Revision, TagName
from calico.model.snapshot import Snapshot
from calico.verdict.classes import FlowClasses

A, T = ProfileId("A"), ProfileId("T")


def state(*words: str, n_tags: int = 1) -> DesiredState:
    tags = tuple(TagName(f"T{n}") for n in range(n_tags))
    endpoints = (
        WorkloadEndpoint(
            endpoint_key(number),
            EndpointState.ACTIVE,
            InterfaceName(f"cali{number}"),
            None,
            (each,),
            (ip_address(text),),
        )
        for number, each, text in ((0, A, "10.0.0.1"), (1, T, "10.0.0.2"))
    )
    return compile_host(
        Snapshot(
            Revision(1),
            tags={T: tags},
            rules={A: rules(words), T: rules()},
            endpoints={each.key: each for each in endpoints},
        ),
        HOST,
    )


def test_ports_at_the_edges_of_ranges_are_told_apart() -> None:
    made = FlowClasses(state("allow tcp from ports 10:20 to ports 80,90:99"))
    destinations = [79, 80, 81, 89, 90, 99, 100]
    cells = [made.ports(1, each)[1] for each in destinations]
    assert cells[2] == cells[3]
    assert cells[4] == cells[5]
    assert len(set(cells)) == 5
    sources = [made.ports(each, 1)[0] for each in (9, 10, 20, 21)]
    assert sources[1] == sources[2]
    assert len(set(sources)) == 3


def test_addresses_are_told_apart_by_networks_tags_and_family() -> None:
    made = FlowClasses(state("allow from cidr 192.0.2.0/25", "deny from tag T0"))
    texts = ("192.0.1.255", "192.0.2.0", "192.0.2.127", "192.0.2.128", "10.0.0.2")
    found = [made.address(ip_address(text)) for text in texts]
    assert found[1] == found[2]
    assert len(set(found)) == 4
    assert made.address(ip_address("::c000:200")) not in found


def test_address_stands_for_itself_among_many_tag_sets() -> None:
    n_tags = 65
    words = [f"deny from tag T{n}" for n in range(n_tags)]
    made = FlowClasses(state(*words, n_tags=n_tags))
    one, other = ip_address("192.0.2.1"), ip_address("192.0.2.2")
    assert made.address(one) != made.address(other)
    assert made.address(one) == made.address(ip_address("192.0.2.1"))
