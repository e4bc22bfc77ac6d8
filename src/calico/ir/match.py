"""What a compiled rule matches, in one address family, literals canonical."""

from dataclasses import dataclass

from calico.ir.origin import Origin
from calico.model.names import TagName
from calico.model.rule import Action
from calico.netset import AddressSet, Family, PortSet, ProtocolSet


@dataclass(frozen=True, slots=True)
class TagSetId:
    """The addresses of one family of every endpoint that carries a tag."""

    tag: TagName
    family: Family


@dataclass(frozen=True, slots=True)
class AddressMatch:
    """A condition on one address; both parts must hold.

    Attributes:
        networks: The address is in this set; everything when not restricted.
        tag_set: The address is in this tag set, when one is named.
    """

    networks: AddressSet
    tag_set: TagSetId | None = None


@dataclass(frozen=True, slots=True)
class IcmpMatch:
    """A condition on an ICMP header of the match's family.

    Attributes:
        icmp_type: 0 to 255.
        icmp_code: 0 to 255, or `None` for every code.
    """

    icmp_type: int
    icmp_code: int | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A condition on a packet of one family; every part must hold.

    Attributes:
        family: The family of the packet.
        protocols: The protocols admitted; never empty.
        source: The condition on the source address.
        destination: The condition on the destination address.
        source_ports: The ports admitted; everything when not restricted, and
            then packets without ports match too.
        destination_ports: Likewise.
        icmp: The ICMP header, when the rule names a type.
    """

    family: Family
    protocols: ProtocolSet
    source: AddressMatch
    destination: AddressMatch
    source_ports: PortSet
    destination_ports: PortSet
    icmp: IcmpMatch | None = None


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A match, what happens then, and where it was written."""

    match: Match
    action: Action
    origin: Origin
