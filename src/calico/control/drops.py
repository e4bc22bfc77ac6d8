"""A dropped packet as the agent tells it, and the answer to `DROPS` as a line.

The numbers of drops ascend and begin at 1 with each agent. Whoever asks names
the last one it knows; an agent that has not come so far yet was started anew
and tells everything that it keeps.
"""

from dataclasses import asdict, dataclass
from enum import Enum

from calico.control.protocol import Reader, encode_line, read_result


class DropReason(Enum):
    """Why a packet was dropped; the value is what people read."""

    RULE = "rule"
    UNUSABLE_PROFILE = "unusable profile"
    END_OF_PROFILES = "end of profiles"
    SPOOFED_SOURCE = "spoofed source"
    INACTIVE_ENDPOINT = "inactive endpoint"
    INVALID_STATE = "invalid state"
    NOT_YET_PROGRAMMED = "not yet programmed"
    UNKNOWN_INTERFACE = "unknown interface"
    NO_ENDPOINT = "no endpoint"
    TO_HOST = "traffic to the host is off"
    FOREIGN_TUNNEL = "tunnel packet of a stranger"


class DropPlace(Enum):
    """What was being judged; the value is what people read."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"
    TO_HOST = "to host"
    SOURCE_CHECK = "source check"


@dataclass(frozen=True, slots=True)
class Drop:
    """One packet that this host dropped.

    Attributes:
        sequence: Its number.
        at: When the agent heard of it, ISO 8601 in UTC.
        direction: A `DropPlace` in words.
        reason: A `DropReason` in words.
        rule: The origin of the verdict, as everywhere else.
        profile: The profile, if the verdict is one's.
        number: Of the rule in its direction, if it is a rule's.
        interface: Of the endpoint that was judged.
        orchestrator: Of that endpoint; empty where none is known.
        workload: Likewise.
        endpoint: Likewise.
        source: Address, if it can be read.
        destination: Likewise.
        protocol: Number, if it can be read.
        source_port: If there is one that can be read.
        destination_port: Likewise.
        icmp_type: Likewise.
        icmp_code: Likewise.
        n_lost: How many the kernel logged just before, and nobody heard of.
    """

    sequence: int
    at: str
    direction: str
    reason: str
    rule: str = ""
    profile: str = ""
    number: int | None = None
    interface: str = ""
    orchestrator: str = ""
    workload: str = ""
    endpoint: str = ""
    source: str = ""
    destination: str = ""
    protocol: int | None = None
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    n_lost: int = 0


@dataclass(frozen=True, slots=True)
class Drops:
    """What has been dropped since a number.

    Attributes:
        newest: The number of the last one; 0 before any.
        drops: Those after the number that was asked for, as far as they are
            kept, oldest first.
        silence: Why no more are heard of, in words; empty when they are.
    """

    newest: int
    drops: tuple[Drop, ...] = ()
    silence: str = ""


def encode_drops(drops: Drops) -> bytes:
    """Write the answer to `DROPS` as a line."""
    return encode_line({"result": asdict(drops)})


def decode_drops(line: bytes) -> Drops:
    """Read the answer to `DROPS`.

    Raises:
        BadMessage: It is no such answer.
    """
    result = read_result(line)
    return Drops(
        result.number("newest"),
        tuple(_decode_drop(each) for each in result.objects("drops")),
        result.text("silence"),
    )


def _decode_drop(each: Reader) -> Drop:
    return Drop(
        sequence=each.number("sequence"),
        at=each.text("at"),
        direction=each.text("direction"),
        reason=each.text("reason"),
        rule=each.text("rule"),
        profile=each.text("profile"),
        number=each.number_if_any("number"),
        interface=each.text("interface"),
        orchestrator=each.text("orchestrator"),
        workload=each.text("workload"),
        endpoint=each.text("endpoint"),
        source=each.text("source"),
        destination=each.text("destination"),
        protocol=each.number_if_any("protocol"),
        source_port=each.number_if_any("source_port"),
        destination_port=each.number_if_any("destination_port"),
        icmp_type=each.number_if_any("icmp_type"),
        icmp_code=each.number_if_any("icmp_code"),
        n_lost=each.number("n_lost"),
    )
