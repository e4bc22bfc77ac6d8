"""The ends of `calicoctl reach`: what a word means, and what an end is called."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from calico.analysis.parties import Outside, Party, Spot
from calico.analysis.reach import Matrix
from calico.cli.endpoint_names import (
    endpoint_name,
    find_endpoints,
    names_of,
    short_name,
)
from calico.cli.refusal import Refused
from calico.cli.usage import nearest
from calico.codec.json_text import Json
from calico.model.names import EndpointKey, HostName
from calico.netset import Address, family_of

OUTSIDE = "outside"
"""The word for addresses that no endpoint has."""

_N_EXCEPTIONS = 3


@dataclass(frozen=True, slots=True)
class End:
    """What a word picks of the parties.

    Attributes:
        keys: These endpoints; `None` for all.
        address: Only this address; `None` for all.
        has_outside: Addresses outside too.
    """

    keys: frozenset[EndpointKey] | None = None
    address: Address | None = None
    has_outside: bool = True

    def spots(self, party: Party) -> tuple[Spot, ...]:
        """Return the members of a party that are picked, none for one outside."""
        if isinstance(party.members, Outside):
            return ()
        return tuple(
            spot
            for spot in party.members
            if (self.keys is None or spot.endpoint in self.keys)
            and self.address in {None, spot.address}
        )

    def picks(self, party: Party) -> bool:
        """Report whether any of a party is picked."""
        if not isinstance(party.members, Outside):
            return bool(self.spots(party))
        address = self.address
        if address is None or not self.has_outside:
            return self.has_outside
        same = family_of(address) is family_of(party.sample)
        return same and party.members.has(address)

    def numbers(self, matrix: Matrix) -> tuple[int, ...]:
        """Return the numbers of the parties that are picked, ascending."""
        return tuple(n for n, party in enumerate(matrix.parties) if self.picks(party))


def find_end(
    keys: Iterable[EndpointKey],
    owners: Mapping[Address, Sequence[EndpointKey]],
    word: str | None,
) -> End:
    """Find what a user means by an end.

    Args:
        keys: Every endpoint of the cluster.
        owners: The endpoints that have each address.
        word: An endpoint's id, workload, namespace or whole name, an address, or
            `outside`; `None` for everything.

    Raises:
        Refused: Nothing has that name.
    """
    if word is None:
        return End()
    if word == OUTSIDE:
        return End(frozenset())
    address = _address(word)
    if address is not None:
        those = owners.get(address)
        if those is None:
            return End(frozenset(), address)
        return End(frozenset(those), address, has_outside=False)
    candidates = tuple(keys)
    found = frozenset(find_endpoints(candidates, word))
    if not found:
        known = {name for key in candidates for name in names_of(key)}
        raise unknown("endpoint, workload or address", word, {*known, OUTSIDE})
    return End(found, has_outside=False)


def refuse_host(hosts: Mapping[HostName, Sequence[Address]], word: str | None) -> None:
    """Refuse a word that means a host: its traffic goes by other rules.

    Raises:
        Refused: It is the name or an address of one.
    """
    if word is None:
        return
    address = _address(word)
    for host, addresses in hosts.items():
        if word == host or address in addresses:
            raise Refused(
                f"{word} is host {host}: `reach` is about workloads and what is"
                " outside.",
                "`calicoctl explain` answers for a host.",
            )


def unknown(kind: str, word: str, known: Iterable[str]) -> Refused:
    """Say that nothing has a name, and what was likely meant."""
    near = nearest(word, known)
    hint = f" Did you mean {near}?" if near else ""
    return Refused(f"There is no {kind} {word}.{hint}")


def outside_name(outside: Outside) -> str:
    """Name addresses outside by the smallest network that has them."""
    return f"{OUTSIDE}:{outside.network}"


def encode_outside(outside: Outside) -> Json:
    """Write down what is behind the name."""
    return {
        "name": outside_name(outside),
        "network": str(outside.network),
        "without": [str(each) for each in outside.without],
    }


def describe_outside(outside: Outside) -> str:
    """Say in words which addresses outside are meant."""
    if not outside.without:
        return (
            OUTSIDE
            if outside.network.prefixlen == 0
            else f"{OUTSIDE} {outside.network}"
        )
    shown = [str(each) for each in outside.without[:_N_EXCEPTIONS]]
    more = len(outside.without) - len(shown)
    without = ", ".join(shown) + (f" and {more} more" if more else "")
    return f"{OUTSIDE} {outside.network} except {without}"


@dataclass(frozen=True, slots=True)
class Names:
    """How the endpoints of a cluster are called.

    Attributes:
        short: A name for people, which no other endpoint has.
    """

    short: Mapping[EndpointKey, str]

    @classmethod
    def of(cls, keys: Iterable[EndpointKey]) -> "Names":
        """Call endpoints by their workloads where these are told apart so."""
        tails: dict[str, list[EndpointKey]] = {}
        for key in keys:
            tails.setdefault(short_name(key), []).append(key)
        return cls(
            {
                key: tail if len(those) == 1 else endpoint_name(key)
                for tail, those in tails.items()
                for key in those
            }
        )


def labels(
    matrix: Matrix,
    end: End,
    name: Callable[[EndpointKey], str],
    name_outside: Callable[[Outside], str],
) -> list[list[str]]:
    """Name the members of each party that an end picks.

    An endpoint is named with its address where its addresses are of different
    parties: there policy tells them apart.
    """
    n_parties: dict[EndpointKey, int] = {}
    for party in matrix.parties:
        for key in {spot.endpoint for spot in End().spots(party)}:
            n_parties[key] = n_parties.get(key, 0) + 1
    found: list[list[str]] = []
    for party in matrix.parties:
        if isinstance(party.members, Outside):
            found.append([name_outside(party.members)])
            continue
        words = (
            name(spot.endpoint)
            if n_parties[spot.endpoint] == 1
            else f"{name(spot.endpoint)} {spot.address}"
            for spot in end.spots(party)
        )
        found.append(list(dict.fromkeys(words)))
    return found


def _address(word: str) -> Address | None:
    try:
        return ip_address(word)
    except ValueError:
        return None
