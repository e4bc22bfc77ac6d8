"""Sets of headers in words and as JSON."""

import pytest

from calico.analysis.boxes import Box, canonical
from calico.analysis.space import every_header
from calico.cli.reach_words import NOT_DECIDED, describe, encode_traffic
from calico.codec.json_text import Json
from calico.netset import Family, Ranges

PORTS: Ranges = ((0, 65535),)
BYTE: Ranges = ((0, 255),)
ZERO: Ranges = ((0, 0),)
TCP: Ranges = ((6, 6),)
BOTH: Ranges = ((6, 6), (17, 17))


@pytest.mark.parametrize("family", Family)
def test_every_header_is_everything(family: Family) -> None:
    assert describe(every_header(family), family) == ("everything",)


def test_beyond_the_bound_it_is_not_decided() -> None:
    assert describe(None, Family.V4) == (NOT_DECIDED,)
    assert encode_traffic(None, Family.V4) is None


@pytest.mark.parametrize(
    ("boxes", "family", "words", "encoded"),
    [
        (
            [(BOTH, PORTS, ((53, 53), (80, 81)))],
            Family.V4,
            ("tcp to ports 53,80:81", "udp to ports 53,80:81"),
            [
                {"protocol": "tcp", "destination_ports": ["53", "80:81"]},
                {"protocol": "udp", "destination_ports": ["53", "80:81"]},
            ],
        ),
        (
            [(TCP, ((1, 2),), PORTS), (((58, 58),), ((128, 128),), ZERO)],
            Family.V6,
            ("tcp from ports 1:2", "icmpv6 type 128 code 0"),
            [
                {"protocol": "tcp", "source_ports": ["1:2"]},
                {"protocol": "icmpv6", "types": ["128"], "codes": ["0"]},
            ],
        ),
        # One box may hold protocols of every kind.
        (
            [(((1, 1), (6, 6), (47, 47)), ZERO, ZERO)],
            Family.V4,
            ("tcp from ports 0 to ports 0", "icmp type 0 code 0", "protocol 47"),
            [
                {
                    "protocol": "tcp",
                    "source_ports": ["0"],
                    "destination_ports": ["0"],
                },
                {"protocol": "icmp", "types": ["0"], "codes": ["0"]},
                {"protocol": "other", "numbers": ["47"]},
            ],
        ),
        # Of the other family, ICMP is a protocol like any other.
        (
            [(((58, 58),), ZERO, ZERO)],
            Family.V4,
            ("protocol 58",),
            [{"protocol": "other", "numbers": ["58"]}],
        ),
    ],
)
def test_headers_are_told_protocol_by_protocol(
    boxes: list[Box], family: Family, words: tuple[str, ...], encoded: Json
) -> None:
    region = canonical(boxes)
    assert describe(region, family) == words
    assert encode_traffic(region, family) == encoded


def test_all_protocols_without_fields_have_a_word() -> None:
    [*_, others] = sorted(every_header(Family.V4), key=lambda box: box[1] == ZERO)
    assert describe((others,), Family.V4) == ("other protocols",)


def test_type_of_icmp_is_told_with_every_code() -> None:
    region = canonical([(((1, 1),), ((8, 8),), BYTE)])
    assert describe(region, Family.V4) == ("icmp type 8",)
