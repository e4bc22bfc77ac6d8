"""What commands about BGP have in common: how its numbers and addresses are read."""

from calico.cli import output
from calico.cli.refusal import Refused
from calico.codec.rule_parts import parse_address
from calico.compiler.routing import is_reserved_as, is_speakable
from calico.model.bgp import AsNumber, parse_as_number
from calico.model.errors import InvalidResource
from calico.netset import Address

INVALID_AS = "Invalid AS Number specified."
INVALID_IP = "Invalid IP address specified."


def read_as_number(text: str) -> AsNumber:
    """Take a word as an AS number, and warn of one that nobody speaks with.

    Raises:
        Refused: It is none.
    """
    try:
        number = parse_as_number(text)
    except InvalidResource:
        raise Refused(INVALID_AS) from None
    if is_reserved_as(number):
        output.complain(
            f"WARNING: AS {number} is reserved, and no router takes it: BGP is not"
            " spoken with it."
        )
    return number


def read_peer(address: str, as_number: str) -> tuple[Address, AsNumber]:
    """Take two words as a BGP peer.

    Raises:
        Refused: One of them, or both, cannot be used; each is named.
    """
    lines: list[str] = []
    found: Address | None = None
    number: AsNumber | None = None
    try:
        found = read_address(address)
    except Refused as error:
        lines += error.lines
    try:
        number = read_as_number(as_number)
    except Refused as error:
        lines += error.lines
    if found is None or number is None:
        raise Refused(*lines)
    if not is_speakable(found):
        raise Refused(
            INVALID_IP,
            f"{found} cannot be a BGP peer; accepted is a unicast address that is"
            " neither loopback nor link-local.",
        )
    return found, number


def read_address(text: str) -> Address:
    """Take a word as an address.

    Raises:
        Refused: It is none, or belongs to one interface only.
    """
    try:
        return parse_address(text)
    except InvalidResource:
        raise Refused(INVALID_IP) from None
