from dataclasses import replace
from ipaddress import ip_address, ip_network

from analysed import addresses_in, states_of
from policies import endpoint, profile, snapshot

from calico.analysis.parties import Outside, Party, Spot, find_parties
from calico.ir.match import AddressMatch, TagSetId
from calico.model.endpoint import EndpointState
from calico.model.names import HostName, TagName
from calico.model.snapshot import Snapshot
from calico.netset import AddressSet, Family

OTHER = HostName("h2")
CLUSTER = snapshot(
    [
        endpoint("a", "WEB", "10.0.0.1 fd00::1"),
        endpoint("b", "WEB", "10.0.0.2"),
        endpoint("c", "WEB", "10.0.0.3 10.1.0.3"),
        endpoint("d", "DB WEB", "10.0.0.4", host=OTHER),
        endpoint("off", "WEB", "10.0.0.5", state=EndpointState.INACTIVE),
    ],
    {
        "WEB": profile(["allow from cidr 10.1.0.0/16", "allow from cidr 10.0.0.0/8"]),
        "DB": profile(["allow from tag DB", "deny from cidr 10.1.2.0/24"]),
    },
)


def parties(cluster: Snapshot, family: Family = Family.V4) -> list[Party]:
    return list(find_parties(states_of(cluster), addresses_in(cluster), family))


def named(party: Party) -> list[str]:
    if isinstance(party.members, Outside):
        without = [str(each) for each in party.members.without]
        return [str(party.members.network), *without]
    return [f"{s.endpoint.workload} {s.address}" for s in party.members]


def test_addresses_are_together_unless_a_rule_can_tell_them_apart() -> None:
    assert [named(party) for party in parties(CLUSTER)] == [
        ["a 10.0.0.1", "b 10.0.0.2", "c 10.0.0.3"],
        ["c 10.1.0.3"],
        ["d 10.0.0.4"],
        ["0.0.0.0/0", "10.0.0.0/8"],
        ["10.0.0.0/8", "10.1.0.0/16"],
        ["10.1.0.0/16", "10.1.2.0/24"],
        ["10.1.2.0/24"],
    ]


def test_other_family_has_its_own_parties() -> None:
    assert [named(party) for party in parties(CLUSTER, Family.V6)] == [
        ["a fd00::1"],
        ["::/0"],
    ]


def test_tags_tell_members_apart() -> None:
    tagged = [party.tag_sets for party in parties(CLUSTER) if party.judge is not None]
    db = TagSetId(TagName("DB"), Family.V4)
    assert tagged == [frozenset(), frozenset(), frozenset({db})]


def test_network_without_an_address_left_is_nobody() -> None:
    rules = profile(["allow from cidr 10.0.0.0/31", "allow from cidr 10.0.0.0/30"])
    full = [
        endpoint("a", "WEB", "10.0.0.0"),
        endpoint("b", "WEB", "10.0.0.1", state=EndpointState.INACTIVE),
    ]
    cluster = snapshot(full, {"WEB": rules})
    assert [named(each) for each in parties(cluster)] == [
        ["a 10.0.0.0"],
        ["0.0.0.0/0", "10.0.0.0/30"],
        ["10.0.0.0/30", "10.0.0.0/31"],
    ]


def test_outside_has_what_its_networks_leave() -> None:
    outside = Outside(ip_network("10.0.0.0/8"), (ip_network("10.1.0.0/16"),))
    assert outside.has(ip_address("10.2.0.0"))
    assert not outside.has(ip_address("10.1.0.0"))
    assert not outside.has(ip_address("11.0.0.0"))


def test_party_fits_what_its_addresses_fit() -> None:
    everywhere = AddressMatch(AddressSet.everything(Family.V4))
    red = TagSetId(TagName("red"), Family.V4)
    address = ip_address("10.0.0.1")
    spot = Spot(endpoint("a").key, address)
    party = Party((spot,), None, address, frozenset())
    assert party.fits(everywhere)
    assert not party.fits(AddressMatch(everywhere.networks, red))
    tagged = replace(party, tag_sets=frozenset({red}))
    assert tagged.fits(AddressMatch(everywhere.networks, red))
    assert not tagged.fits(AddressMatch(AddressSet(Family.V4, ()), red))
