"""Who can be at the ends of a packet, put together where policy sees no difference.

Two addresses of endpoints are alike when their endpoints list the same profiles,
the same tag sets have them, and they are in the same of the networks that rules
name. Addresses that no endpoint has are in no tag set, so only the networks tell
them apart. Networks contain each other or have nothing in common, so the
smallest one that has an address says which others have it.

Not here: inactive and unusable endpoints. They are closed both ways, and no
packet that policy judges comes from them or goes to them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from calico.analysis.space import address_at
from calico.ir.match import AddressMatch, TagSetId
from calico.ir.state import DesiredState, PackedAddress
from calico.model.names import EndpointKey, HostName, ProfileId
from calico.netset import Address, AddressSet, Family, Network, family_of

_EVERYTHING = {
    Family.V4: ip_network("0.0.0.0/0"),
    Family.V6: ip_network("::/0"),
}
_NO_TAGS: frozenset[TagSetId] = frozenset()

States = Mapping[HostName, DesiredState]
"""What each host of a cluster must do."""


@dataclass(frozen=True, slots=True)
class Spot:
    """One address of one endpoint."""

    endpoint: EndpointKey
    address: Address


@dataclass(frozen=True, slots=True)
class Outside:
    """Addresses of a network that no endpoint has.

    Attributes:
        network: They are all in here.
        without: And in none of these networks, each within `network`, in order.
    """

    network: Network
    without: tuple[Network, ...]

    def has(self, address: Address) -> bool:
        """Report whether an address that no endpoint has is among them."""
        return address in self.network and not any(address in n for n in self.without)


@dataclass(frozen=True, slots=True)
class Judge:
    """Whose policy an endpoint's packets meet.

    Attributes:
        host: The host of the endpoint.
        profiles: The endpoint's list.
    """

    host: HostName
    profiles: tuple[ProfileId, ...]


@dataclass(frozen=True, slots=True)
class Party:
    """Addresses of one family that policy cannot tell apart.

    Attributes:
        members: Those of endpoints in the order of their keys, or some outside.
        judge: Whose policy they meet; `None` for those outside.
        sample: One of the addresses.
        tag_sets: The tag sets that have them.
    """

    members: tuple[Spot, ...] | Outside
    judge: Judge | None
    sample: Address
    tag_sets: frozenset[TagSetId]

    def fits(self, match: AddressMatch) -> bool:
        """Report whether a condition holds for the addresses, as for any of them."""
        is_tagged = match.tag_set is None or match.tag_set in self.tag_sets
        return is_tagged and self.sample in match.networks


def find_parties(
    states: States, taken: Iterable[Address], family: Family
) -> tuple[Party, ...]:
    """Put the addresses of a family together where no policy tells them apart.

    Args:
        states: What each host must do.
        taken: Every address that an endpoint has, usable or not.
        family: The family.

    Returns:
        The parties of endpoints, in the order of their first members, and then
        those outside, by network. Each address of a usable endpoint is in one.
    """
    nest = _Nest.of_states(states, family)
    tag_sets = _tag_sets(states)
    found: dict[object, list[Spot]] = {}
    judges: dict[object, tuple[Judge, frozenset[TagSetId]]] = {}
    for spot, judge in sorted(_spots(states, family), key=_order):
        tagged = tag_sets.get(spot.address.packed, _NO_TAGS)
        alike = (judge, tagged, nest.smallest(spot.address))
        found.setdefault(alike, []).append(spot)
        judges[alike] = (judge, tagged)
    parties = [
        Party(tuple(spots), judges[alike][0], spots[0].address, judges[alike][1])
        for alike, spots in found.items()
    ]
    return (*parties, *nest.outside(taken))


def _spots(states: States, family: Family) -> Iterable[tuple[Spot, Judge]]:
    for host, state in states.items():
        for endpoint in state.endpoints.values():
            judge = Judge(host, endpoint.profiles)
            for packed in endpoint.addresses if endpoint.is_active else ():
                address = ip_address(packed)
                if family_of(address) is family:
                    yield Spot(endpoint.key, address), judge


def _order(each: tuple[Spot, Judge]) -> tuple[EndpointKey, int]:
    return each[0].endpoint, int(each[0].address)


def _tag_sets(states: States) -> dict[PackedAddress, frozenset[TagSetId]]:
    """Say of each tagged address which of the sets that rules name have it."""
    members: dict[TagSetId, set[PackedAddress]] = {}
    for state in states.values():
        for tag_set, those in state.tag_sets.items():
            members.setdefault(tag_set, set()).update(those)
    found: dict[PackedAddress, set[TagSetId]] = {}
    for tag_set, each in members.items():
        for address in each:
            found.setdefault(address, set()).add(tag_set)
    shared: dict[frozenset[TagSetId], frozenset[TagSetId]] = {}
    frozen = {address: frozenset(sets) for address, sets in found.items()}
    return {address: shared.setdefault(sets, sets) for address, sets in frozen.items()}


@dataclass(frozen=True, slots=True)
class _Nest:
    """The networks of one family that rules name, one within the other.

    Attributes:
        family: The family.
        networks: Every one of them, and the whole family.
        lengths: The prefix lengths that occur, longest first.
    """

    family: Family
    networks: frozenset[Network]
    lengths: tuple[int, ...]

    @classmethod
    def of_states(cls, states: States, family: Family) -> "_Nest":
        """Collect the networks from the rules of every host."""
        admitted = {
            side.networks
            for state in states.values()
            for profile in state.profiles.values()
            for (_, of), rules in profile.rules.items()
            for rule in (rules if of is family else ())
            for side in (rule.match.source, rule.match.destination)
            if not side.networks.is_everything()
        }
        named = {network for each in admitted for network in each.networks()}
        networks = frozenset((*named, _EVERYTHING[family]))
        lengths = sorted({n.prefixlen for n in networks}, reverse=True)
        return cls(family, networks, tuple(lengths))

    def smallest(self, address: Address, *, below: int = 129) -> Network:
        """Return the smallest network around an address, shorter than `below`."""
        around = (
            ip_network((address, length), strict=False)
            for length in self.lengths
            if length < below
        )
        return next(each for each in around if each in self.networks)

    def outside(self, taken: Iterable[Address]) -> tuple[Party, ...]:
        """Make the parties of the addresses that no endpoint has."""
        inner: dict[Network, list[Network]] = {n: [] for n in self.networks}
        for network in self.networks:
            if network.prefixlen:
                address, length = network.network_address, network.prefixlen
                inner[self.smallest(address, below=length)].append(network)
        numbers = {int(a) for a in taken if family_of(a) is self.family}
        nobodys = ~AddressSet(self.family, tuple((n, n) for n in numbers))
        found: list[Party] = []
        for network in sorted(inner, key=_network_order):
            without = sorted(inner[network], key=_network_order)
            whole = AddressSet.of(self.family, (network,))
            free = whole & nobodys & ~AddressSet.of(self.family, without)
            if free:
                sample = address_at(self.family, free.ranges[0][0])
                members = Outside(network, tuple(without))
                found.append(Party(members, None, sample, _NO_TAGS))
        return tuple(found)


def _network_order(network: Network) -> tuple[int, int]:
    return int(network.network_address), network.prefixlen
