"""Policy tests as a document: hypothetical ends, and cases with what is expected.

Not here: what the names stand for. A profile, an endpoint or a host is looked
up by who has the datastore; only how they are written is checked.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from calico.codec.json_text import Field, optional
from calico.codec.rule_parts import LAST_ICMP, LAST_PORT, parse_address, parse_ports
from calico.model.endpoint import MAX_PROFILES
from calico.model.errors import InvalidResource
from calico.model.names import (
    HostName,
    ProfileId,
    parse_endpoint_id,
    parse_host_name,
    parse_profile_id,
)
from calico.model.rule import Action, Protocol
from calico.netset import Address, Family

MAX_TEST_BYTES = 8 * 1024 * 1024
"""The largest document that is read."""

MAX_CASES = 1_000_000
"""The most cases, one for each port of each test, that a document may ask for."""

T = TypeVar("T")

_FIELDS = ("endpoints", "hosts", "tests")
_ENDPOINT_FIELDS = ("name", "profiles", "like", "addresses", "host")
_HOST_FIELDS = ("name", "addresses")
_TEST_FIELDS = (
    "name",
    "from",
    "to",
    "protocol",
    "port",
    "ports",
    "sport",
    "type",
    "code",
    "family",
    "expect",
    "rule",
)
_PORT = f"a port from 1 to {LAST_PORT}"
_PORTS = f'{_PORT}, or two as "first:last"'
_ICMP = f"an integer from 0 to {LAST_ICMP}"
_FAMILY_OF_ICMP = {Protocol.ICMP: Family.V4, Protocol.ICMPV6: Family.V6}
_PROTOCOLS = tuple(each.value for each in Protocol)
_ACTIONS = tuple(each.value for each in Action)
_MAX_TEXT = 1000


@dataclass(frozen=True, slots=True)
class HypotheticalEndpoint:
    """An endpoint that is only there for the tests of one document.

    Attributes:
        path: Where it stands in the document.
        name: What the tests call it.
        profiles: In evaluation order; `None` means those of `like`.
        like: An existing endpoint that it copies host and profiles from.
        addresses: Empty means one of each family that nothing else has.
        host: `None` means that of `like`, or else this host.
    """

    path: str
    name: str
    profiles: tuple[ProfileId, ...] | None = None
    like: str | None = None
    addresses: tuple[Address, ...] = ()
    host: HostName | None = None


@dataclass(frozen=True, slots=True)
class HypotheticalHost:
    """A host that is only there for the tests of one document.

    Attributes:
        name: Its name; it stands in for a host of that name.
        addresses: At least one.
    """

    name: HostName
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """What is asked, and what is expected.

    Attributes:
        path: Where it stands in the document.
        name: No other test of the document has it.
        source: Where the flow begins, as the user names it.
        destination: Where it ends, likewise.
        protocol: Of its packets.
        ports: Destination ports, ascending, each one a case; empty for ICMP.
        source_port: `None` means any client's.
        icmp_type: `None` means an echo request.
        icmp_code: For ICMP, else 0.
        family: `None` means each family that both ends have.
        expected: The action that policy should take.
        rule: What should decide, as `explain` or `rule show` names it.
    """

    path: str
    name: str
    source: str
    destination: str
    protocol: Protocol
    ports: tuple[int, ...]
    source_port: int | None
    icmp_type: int | None
    icmp_code: int
    family: Family | None
    expected: Action
    rule: str | None

    @property
    def n_cases(self) -> int:
        """How many cases it stands for."""
        return max(1, len(self.ports))


@dataclass(frozen=True, slots=True)
class PolicyTests:
    """One document.

    Attributes:
        endpoints: The hypothetical endpoints, each name once.
        hosts: The hypothetical hosts, each name once.
        tests: In order, at least one.
    """

    endpoints: tuple[HypotheticalEndpoint, ...]
    hosts: tuple[HypotheticalHost, ...]
    tests: tuple[PolicyTest, ...]


def decode_policy_tests(field: Field) -> PolicyTests:
    """Read a document of policy tests.

    Raises:
        InvalidResource: With the path of what cannot be used.
    """
    found = field.fields(_FIELDS)
    tests = _named(_required(found, "tests", field), _decode_test, lambda t: t.name)
    if not tests:
        raise found["tests"].refuse("at least one test")
    n_cases = sum(each.n_cases for each in tests)
    if n_cases > MAX_CASES:
        raise InvalidResource(
            found["tests"].path, f"{n_cases} cases", f"at most {MAX_CASES}"
        )
    return PolicyTests(
        _optional_named(found, "endpoints", _decode_endpoint, lambda e: e.name),
        _optional_named(found, "hosts", _decode_host, lambda h: h.name),
        tests,
    )


def _optional_named(
    found: Mapping[str, Field],
    name: str,
    decode: Callable[[Field], T],
    name_of: Callable[[T], str],
) -> tuple[T, ...]:
    return _named(found[name], decode, name_of) if name in found else ()


def _named(
    field: Field, decode: Callable[[Field], T], name_of: Callable[[T], str]
) -> tuple[T, ...]:
    """Read a list in which each name comes once."""
    by_name: dict[str, T] = {}
    for each in field.items():
        made = decode(each)
        name = name_of(made)
        if name in by_name:
            raise each.members()["name"].refuse("a name that stands here once")
        by_name[name] = made
    return tuple(by_name.values())


def _decode_endpoint(field: Field) -> HypotheticalEndpoint:
    found = field.fields(_ENDPOINT_FIELDS)
    if "profiles" not in found and "like" not in found:
        raise InvalidResource(
            field.path, "neither `profiles` nor `like`", "an endpoint with one of them"
        )
    return HypotheticalEndpoint(
        path=field.path,
        name=_required(found, "name", field).parsed_by(parse_endpoint_id),
        profiles=optional(found.get("profiles"), _decode_profiles),
        like=optional(found.get("like"), _text),
        addresses=optional(found.get("addresses"), _decode_addresses) or (),
        host=optional(found.get("host"), lambda each: each.parsed_by(parse_host_name)),
    )


def _decode_host(field: Field) -> HypotheticalHost:
    found = field.fields(_HOST_FIELDS)
    return HypotheticalHost(
        _required(found, "name", field).parsed_by(parse_host_name),
        _decode_addresses(_required(found, "addresses", field)),
    )


def _decode_profiles(field: Field) -> tuple[ProfileId, ...]:
    found = tuple(each.parsed_by(parse_profile_id) for each in field.items())
    if len(found) > MAX_PROFILES:
        raise InvalidResource(
            field.path, f"{len(found)} profiles", f"at most {MAX_PROFILES}"
        )
    return found


def _decode_addresses(field: Field) -> tuple[Address, ...]:
    found = tuple(each.parsed_by(parse_address) for each in field.items())
    if not found:
        raise field.refuse("at least one address")
    return tuple(dict.fromkeys(found))


def _decode_test(field: Field) -> PolicyTest:
    found = field.fields(_TEST_FIELDS)
    protocol = Protocol(_required(found, "protocol", field).one_of(_PROTOCOLS))
    _verify_fields(found, protocol)
    return PolicyTest(
        path=field.path,
        name=_text(_required(found, "name", field)),
        source=_text(_required(found, "from", field)),
        destination=_text(_required(found, "to", field)),
        protocol=protocol,
        ports=_decode_ports(field, found) if protocol.has_ports else (),
        source_port=optional(found.get("sport"), _decode_port),
        icmp_type=optional(found.get("type"), _decode_icmp),
        icmp_code=optional(found.get("code"), _decode_icmp) or 0,
        family=optional(
            found.get("family"), lambda each: _decode_family(each, protocol)
        ),
        expected=Action(_required(found, "expect", field).one_of(_ACTIONS)),
        rule=optional(found.get("rule"), _text),
    )


def _verify_fields(found: Mapping[str, Field], protocol: Protocol) -> None:
    """Make sure that what a test says of its packet goes with the protocol."""
    without: Iterable[str] = ("type", "code")
    accepted = "icmp or icmpv6 with it"
    if protocol.is_icmp:
        without, accepted = ("port", "ports", "sport"), "tcp or udp with it"
    for name in without:
        if name in found:
            text = f"`{name}` with {protocol.value}"
            raise InvalidResource(found[name].path, text, accepted)
    if "code" in found and "type" not in found:
        raise InvalidResource(found["code"].path, "a code alone", "a type with it")


def _decode_ports(field: Field, found: Mapping[str, Field]) -> tuple[int, ...]:
    if ("port" in found) == ("ports" in found):
        both = "both `port` and `ports`"
        text = both if "port" in found else "neither `port` nor `ports`"
        raise InvalidResource(field.path, text, "one of them with tcp or udp")
    if "port" in found:
        return (_decode_port(found["port"]),)
    ports: set[int] = set()
    for each in found["ports"].items():
        ports.update(_decode_range(each))
    if not ports:
        raise found["ports"].refuse("at least one port")
    return tuple(sorted(ports))


def _decode_range(field: Field) -> range:
    if not isinstance(field.value, str):
        port = field.integer(LAST_PORT, _PORTS)
        ports = range(port, port + 1)
    else:
        try:
            found = parse_ports(field.value)
        except InvalidResource:
            raise field.refuse(_PORTS) from None
        ports = range(found.first, found.last + 1)
    if ports.start == 0:
        raise field.refuse(_PORTS)
    return ports


def _decode_port(field: Field) -> int:
    port = field.integer(LAST_PORT, _PORT)
    if port == 0:
        raise field.refuse(_PORT)
    return port


def _decode_icmp(field: Field) -> int:
    return field.integer(LAST_ICMP, _ICMP)


def _decode_family(field: Field, protocol: Protocol) -> Family:
    version = field.integer(Family.V6.value, "4 or 6")
    if version not in {each.value for each in Family}:
        raise field.refuse("4 or 6")
    family = Family(version)
    if _FAMILY_OF_ICMP.get(protocol, family) is not family:
        other = _FAMILY_OF_ICMP[protocol].value
        raise field.refuse(f"{other}, the only family of {protocol.value}")
    return family


def _text(field: Field) -> str:
    accepted = f"1 to {_MAX_TEXT} printable characters"
    text = field.text(accepted)
    if not 0 < len(text) <= _MAX_TEXT or not text.isprintable():
        raise field.refuse(accepted)
    return text


def _required(found: Mapping[str, Field], name: str, field: Field) -> Field:
    if name not in found:
        raise InvalidResource(field.path, f"no `{name}`", f"`{name}` here")
    return found[name]
