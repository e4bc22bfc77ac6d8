from ipaddress import ip_address

from strategies import OTHER, endpoint_key

from calico.compiler.membership import Membership
from calico.compiler.roster import Roster
from calico.ir.match import TagSetId
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import InterfaceName, ProfileId, TagName
from calico.netset import Family

P, RED4 = ProfileId("P"), TagSetId(TagName("red"), Family.V4)
FIRST, SECOND = endpoint_key(0), endpoint_key(1, OTHER)


def endpoint(*addresses: str) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        FIRST,
        EndpointState.INACTIVE,
        InterfaceName("cali0"),
        None,
        (P, P),
        tuple(ip_address(text) for text in addresses),
    )


def members(membership: Membership) -> list[str]:
    membership.ask_for(frozenset({RED4}), frozenset())
    return sorted(str(ip_address(each)) for each in membership.tag_sets()[RED4])


def test_endpoints_count_while_they_are_there() -> None:
    membership = Membership()
    membership.set_tags(P, (RED4.tag,))
    roster = Roster(membership)
    roster.put(FIRST, endpoint("10.0.0.1", "10.0.0.1"))
    roster.put(SECOND, endpoint("10.0.0.1", "10.0.0.2"))
    roster.put(SECOND, endpoint("10.0.0.1", "10.0.0.2"))
    assert set(roster.keys()) == {FIRST, SECOND}
    assert members(membership) == ["10.0.0.1", "10.0.0.2"]
    roster.put(FIRST, endpoint("10.0.0.3"))
    assert members(membership) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    roster.put(SECOND, None)
    assert members(membership) == ["10.0.0.3"]
    roster.put(SECOND, None)
    roster.put(FIRST, None)
    assert members(membership) == []
    assert list(roster.keys()) == []
