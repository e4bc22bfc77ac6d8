"""What BIRD answers, taken apart; also what no BIRD answers."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.linux.bird_replies import (
    BirdProtocol,
    ReplyLine,
    ReplyReader,
    find_refusal,
    parse_protocols,
    parse_status,
)

PROTOCOLS = """\
2002-Name       Proto      Table      State  Since         Info
1002-device1    Device     ---        up     2026-11-25 11:30:37  
1006-
1002-Calico_configuration Static     master4    down   2026-11-25 11:35:56  
1006-  Description:    0123abcd
   Channel ipv4
     State:          DOWN
1006-
1002-Mesh_192_0_2_2 BGP        ---        up     2026-11-25 11:30:38  Established   
1006-  BGP state:          Established
     Neighbor address: 192.0.2.2
     Neighbor AS:      64511
   Channel ipv4
     State:          UP
1006-
1002-Node_fe80__9 BGP        ---        start  11:30:37.123  Active        Socket: No route to host
1006-  BGP state:          Active
     Neighbor address: fe80::9%eth0
     Neighbor AS:      many
     Last error:       Socket: No route to host
1006-
0000 
"""  # noqa: W291, E501 -- as BIRD writes it

STATUS = """\
1000-BIRD 2.0.12
1011-Router ID is 192.0.2.1
 Hostname is h
 Last reboot on 2026-11-25 11:31:03.804
0024-Graceful restart recovery in progress
   Waiting for 2 channels to recover
0013 Daemon is up and running
"""


def _lines(text: str) -> list[ReplyLine]:
    reader = ReplyReader()
    for line in text.splitlines():
        assert not reader.is_complete
        reader.take(line)
    assert reader.is_complete
    return reader.lines


def test_protocols_are_read_with_what_is_known_of_the_peer() -> None:
    device, mark, mesh, node = parse_protocols(_lines(PROTOCOLS))
    assert device == BirdProtocol(
        "device1", "Device", "---", "up", "2026-11-25 11:30:37", ""
    )
    assert (mark.description, mark.state, mark.is_bgp) == ("0123abcd", "down", False)
    assert mesh == BirdProtocol(
        name="Mesh_192_0_2_2",
        kind="BGP",
        table="---",
        state="up",
        since="2026-11-25 11:30:38",
        info="Established",
        neighbor=ip_address("192.0.2.2"),
        neighbor_as=64511,
        bgp_state="Established",
    )
    assert mesh.is_bgp
    assert node.since == "11:30:37.123"
    assert node.info == "Active Socket: No route to host"
    assert node.last_error == "Socket: No route to host"
    assert (node.neighbor, node.neighbor_as) == (ip_address("fe80::9"), None)


def test_status_is_read() -> None:
    status = parse_status(_lines(STATUS))
    assert status.version == "2.0.12"
    assert status.is_recovering
    assert "Router ID is 192.0.2.1" in status.lines
    assert "Daemon is up and running" in status.lines


def test_refusal_is_found_wherever_it_stands() -> None:
    text = "0002-Reading configuration from x\n8002 x:1:1 syntax error\n"
    assert find_refusal(_lines(text)) == "x:1:1 syntax error"
    assert find_refusal(_lines("0003 Reconfigured\n")) is None


@pytest.mark.parametrize(
    "text",
    ["1002 ", "1002 one two\n", "1002 a BGP --- up\n", "1006-orphan: 1\n0000 \n"],
)
def test_line_with_too_little_in_it_harms_nobody(text: str) -> None:
    for each in parse_protocols(_lines(text)):
        assert each.since == ""


@given(st.lists(st.text(max_size=40) | st.sampled_from(PROTOCOLS.splitlines())))
def test_no_answer_is_too_strange_to_be_read(lines: list[str]) -> None:
    reader = ReplyReader()
    for line in lines:
        reader.take(line)
    assert len(parse_protocols(reader.lines)) <= len(reader.lines)
    assert parse_status(reader.lines).lines is not None
    refusal = find_refusal(reader.lines)
    assert (refusal is None) is all(each.code < 8000 for each in reader.lines)
