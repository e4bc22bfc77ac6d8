"""Sets of ports, protocols and addresses, each in one canonical form.

A set is a sorted tuple of inclusive ranges of integers that neither overlap
nor touch, so two sets with the same members compare equal and a recompilation
that changes nothing yields an empty delta. Every kind is closed under union,
intersection and complement.

Not here: what the sets are used for, and any text form.
"""

from calico.netset.address import Address, AddressSet, Family, Network, family_of
from calico.netset.number import PortSet, ProtocolSet
from calico.netset.ranges import Ranges

__all__ = [
    "Address",
    "AddressSet",
    "Family",
    "Network",
    "PortSet",
    "ProtocolSet",
    "Ranges",
    "family_of",
]
