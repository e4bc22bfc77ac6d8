"""nftables objects as values, one step above the kernel's expressions.

A `Ruleset` is a whole table or a part of one. Names are plain text that goes to
the kernel as netlink attributes and never through a parser.

Keys and data are in network order. In a concatenation each field is padded
with zeros to a multiple of four bytes, as the kernel's registers are.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum

from calico.netset import Ranges


class Field(Enum):
    """A part of a packet that a statement can look at.

    The value is how nft(8) writes it; `n_bytes` is its length.
    """

    IIFNAME = "iifname"
    OIFNAME = "oifname"
    NFPROTO = "meta nfproto"
    L4PROTO = "meta l4proto"
    ETHER_SOURCE = "ether saddr"
    IP4_SOURCE = "ip saddr"
    IP4_DESTINATION = "ip daddr"
    IP6_SOURCE = "ip6 saddr"
    IP6_DESTINATION = "ip6 daddr"
    SOURCE_PORT = "th sport"
    DESTINATION_PORT = "th dport"
    VXLAN_ID = "@th,96,24"
    ICMP_TYPE = "icmp type"
    ICMP_CODE = "icmp code"

    @property
    def n_bytes(self) -> int:
        """The length of the field in bytes."""
        return _N_BYTES[self]


_N_BYTES = {
    Field.IIFNAME: 16,
    Field.OIFNAME: 16,
    Field.NFPROTO: 1,
    Field.L4PROTO: 1,
    Field.ETHER_SOURCE: 6,
    Field.IP4_SOURCE: 4,
    Field.IP4_DESTINATION: 4,
    Field.IP6_SOURCE: 16,
    Field.IP6_DESTINATION: 16,
    Field.SOURCE_PORT: 2,
    Field.DESTINATION_PORT: 2,
    Field.VXLAN_ID: 3,
    Field.ICMP_TYPE: 1,
    Field.ICMP_CODE: 1,
}


class VerdictKind(Enum):
    """nftables' verdicts; the value is nft's word."""

    ACCEPT = "accept"
    DROP = "drop"
    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a rule or of a map element; `chain` for jump and goto only."""

    kind: VerdictKind
    chain: str | None = None


@dataclass(frozen=True, slots=True)
class Compare:
    """The field equals `value`; a shorter value compares the leading bytes.

    Attributes:
        look_at: The field.
        value: Network order. An interface name is compared whole when it is
            padded to 16 bytes and as a prefix when it is not.
        mask: When present, as long as `value`; the field is masked first.
        is_negated: The field differs instead.
    """

    look_at: Field
    value: bytes
    mask: bytes | None = None
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class InRanges:
    """The field, as a number, lies in one of several inclusive ranges."""

    look_at: Field
    ranges: Ranges
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class InSet:
    """The concatenated fields are (or are not) an element of a named set."""

    look_at: tuple[Field, ...]
    set_name: str
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class LookUpVerdict:
    """The verdict that a named verdict map holds for the concatenated fields."""

    look_at: tuple[Field, ...]
    map_name: str


class CtState(Enum):
    """Connection states that a rule can test; the value is the kernel's bit."""

    INVALID = 1
    ESTABLISHED = 2
    RELATED = 4
    NEW = 8


@dataclass(frozen=True, slots=True)
class CtStateIs:
    """Connection tracking says this about the packet."""

    state: CtState


@dataclass(frozen=True, slots=True)
class LimitEach:
    """Go on only so often for each value of the fields; else the rule ends here.

    Attributes:
        look_at: The fields; each of their values has a limit of its own.
        set_name: A set with a timeout, where the kernel keeps them.
        per_second: How often in the long run.
        burst: How often beyond that after a pause.
    """

    look_at: tuple[Field, ...]
    set_name: str
    per_second: int
    burst: int


@dataclass(frozen=True, slots=True)
class Log:
    """Tell whoever listens to a group of the kernel's packet log.

    Attributes:
        prefix: What names the rule there; at most 127 bytes.
        group: Which group.
    """

    prefix: str
    group: int


@dataclass(frozen=True, slots=True)
class Count:
    """Count packets and bytes here."""


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Leave with the address of the outgoing interface."""


Statement = (
    Compare
    | InRanges
    | InSet
    | LookUpVerdict
    | CtStateIs
    | LimitEach
    | Log
    | Count
    | Masquerade
    | Verdict
)


@dataclass(frozen=True, slots=True)
class NftRule:
    """Statements in order, and the comment that names the rule."""

    statements: tuple[Statement, ...]
    comment: str = ""


class HookType(Enum):
    """Types of base chains; the value is nft's word."""

    FILTER = "filter"
    NAT = "nat"


class HookPoint(Enum):
    """Hooks of the inet family; the value is the kernel's number."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4


@dataclass(frozen=True, slots=True)
class Hook:
    """What makes a chain a base chain; its policy is always accept.

    Attributes:
        hook_type: Filter or nat.
        point: Where in the packet's way.
        priority: Lower runs first.
    """

    hook_type: HookType
    point: HookPoint
    priority: int


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain with all its rules; `hook` for base chains only."""

    name: str
    rules: tuple[NftRule, ...]
    hook: Hook | None = None


@dataclass(frozen=True, slots=True)
class SetSpec:
    """A named set or verdict map, without its elements.

    Attributes:
        name: Unique in the table.
        key: The fields of a key, concatenated.
        is_verdict_map: Elements carry a verdict.
        is_interval: Elements are ranges; then `key` is a single field.
        has_counters: Each element counts its hits.
        timeout_s: When positive, packets put the elements in, which leave
            again when none has come for so long. They are nobody's to list.
    """

    name: str
    key: tuple[Field, ...]
    is_verdict_map: bool = False
    is_interval: bool = False
    has_counters: bool = False
    timeout_s: int = 0


@dataclass(frozen=True, slots=True)
class MapElement:
    """The verdict and the comment of a verdict map's element."""

    verdict: Verdict
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A table, or a part of one.

    Attributes:
        chains: By name.
        sets: Sets and verdict maps, by name.
        members: Keys of plain sets, by set name.
        ranges: Inclusive ranges of interval sets, by set name.
        elements: Elements of verdict maps, by map name and key.
    """

    chains: Mapping[str, Chain] = field(default_factory=dict[str, Chain])
    sets: Mapping[str, SetSpec] = field(default_factory=dict[str, SetSpec])
    members: Mapping[str, AbstractSet[bytes]] = field(
        default_factory=dict[str, AbstractSet[bytes]]
    )
    ranges: Mapping[str, Ranges] = field(default_factory=dict[str, Ranges])
    elements: Mapping[str, Mapping[bytes, MapElement]] = field(
        default_factory=dict[str, Mapping[bytes, MapElement]]
    )
