"""Which address a workload shall get."""

from dataclasses import dataclass
from time import gmtime, strftime

from calico.attach.errors import BadAddress, NoSuchPool
from calico.attach.site import Site, endpoint_handle
from calico.codec.keys import encode_key
from calico.codec.rule_parts import parse_address, parse_cidr
from calico.ipam.assign import Claim, assign, assign_next
from calico.model.block import Attributes
from calico.model.errors import InvalidResource
from calico.model.names import EndpointKey
from calico.model.snapshot import PoolKey
from calico.netset import Address, Family, Network, family_of
from calico.store.api import Store


@dataclass(frozen=True, slots=True)
class AnyAddress:
    """Whichever address is next.

    Attributes:
        family: Of this family.
        pool: From this pool; `None` means from any.
    """

    family: Family
    pool: Network | None = None


AddressChoice = Address | AnyAddress
"""One particular address, or the next one."""

_FAMILIES = {"ipv4": Family.V4, "ipv6": Family.V6}


def parse_choice(text: str) -> AddressChoice:
    """Read `ipv4`, `ipv6`, an address, or the network of a pool.

    Raises:
        BadAddress: It is none of these.
    """
    family = _FAMILIES.get(text.lower())
    if family is not None:
        return AnyAddress(family)
    try:
        if "/" not in text:
            return parse_address(text)
        network = parse_cidr(text).network
    except InvalidResource:
        raise BadAddress(text) from None
    return AnyAddress(family_of(network), network)


def require_pool(store: Store, choice: AddressChoice) -> None:
    """Make sure that the pool which a choice names exists.

    Raises:
        NoSuchPool: It does not.
        Unavailable: The datastore cannot be read.
    """
    pool = choice.pool if isinstance(choice, AnyAddress) else None
    if pool is not None and store.get(encode_key(PoolKey(pool))) is None:
        raise NoSuchPool(pool)


def assign_chosen(site: Site, key: EndpointKey, choice: AddressChoice) -> Address:
    """Take an address for an endpoint, under the endpoint's handle.

    Raises:
        CalicoError: As `assign` and `assign_next` do.
    """
    time = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
    attributes = Attributes(endpoint_handle(key), {"time": time})
    claim = Claim(key.host, attributes, site.note)
    if isinstance(choice, AnyAddress):
        return assign_next(site.store, choice.family, claim, choice.pool)
    assign(site.store, choice, claim)
    return choice
