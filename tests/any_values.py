"""How to generate any rule or endpoint at all, for what reads and writes them.

The strategies for policies, where values collide often, are in `strategies`.
"""

from ipaddress import ip_address

from hypothesis import strategies as st

from calico.codec.rule_parts import families_of, parse_cidr
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    TagName,
    WorkloadId,
)
from calico.model.rule import (
    Action,
    Cidr,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)

NAME_CHARACTERS = "ABCabc019_.-"

names = st.text(NAME_CHARACTERS, min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."} and not name.startswith("-")
)
tags = names.map(TagName)
profile_ids = names.map(ProfileId)
ports = st.integers(0, 65535)
port_ranges = st.tuples(ports, ports).map(lambda p: PortRange(min(p), max(p)))


def _cidr(address: int, length: int) -> Cidr:
    return parse_cidr(f"{ip_address(address)}/{length}")


v4_cidrs = st.builds(_cidr, st.integers(0, 2**32 - 1), st.integers(0, 32))
v6_cidrs = st.builds(_cidr, st.integers(2**32, 2**128 - 1), st.integers(0, 128))


def _peers(
    cidrs: st.SearchStrategy[Cidr], *, with_ports: bool
) -> st.SearchStrategy[Peer]:
    some_ports = st.lists(port_ranges, min_size=1, max_size=4).map(tuple)
    return st.builds(
        Peer,
        ports=st.none() | some_ports if with_ports else st.none(),
        tag=st.none() | tags,
        cidr=st.none() | cidrs,
    )


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Draw any rule that is valid."""
    protocol = draw(st.none() | st.sampled_from(Protocol))
    cidrs = draw(st.sampled_from([v4_cidrs, v6_cidrs]))
    if protocol is not None and protocol.is_icmp:
        cidrs = v4_cidrs if protocol is Protocol.ICMP else v6_cidrs
        icmp_type = draw(st.none() | st.integers(0, 255))
        icmp_code = None if icmp_type is None else draw(st.none() | st.integers(0, 255))
    else:
        icmp_type = icmp_code = None
    with_ports = protocol is not None and protocol.has_ports
    rule = Rule(
        action=draw(st.sampled_from(Action)),
        protocol=protocol,
        icmp_type=icmp_type,
        icmp_code=icmp_code,
        source=draw(_peers(cidrs, with_ports=with_ports)),
        destination=draw(_peers(cidrs, with_ports=with_ports)),
    )
    assert len(families_of(rule)) <= 1
    return rule


profile_rules = st.builds(
    ProfileRules,
    inbound=st.lists(rules(), max_size=4).map(tuple),
    outbound=st.lists(rules(), max_size=4).map(tuple),
)
endpoint_keys = st.builds(
    EndpointKey,
    host=names.map(HostName),
    orchestrator=st.sampled_from(["namespace", "docker", "cni"]).map(OrchestratorId),
    workload=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(
        WorkloadId
    ),
    endpoint=names.map(EndpointId),
)


@st.composite
def endpoints(draw: st.DrawFn) -> WorkloadEndpoint:
    """Draw any endpoint that is valid, as it is after a round trip."""
    v4 = draw(st.sets(st.integers(0, 2**32 - 1), max_size=3))
    v6 = draw(st.sets(st.integers(2**32, 2**128 - 1), max_size=3))
    return WorkloadEndpoint(
        key=draw(endpoint_keys),
        state=draw(st.sampled_from(EndpointState)),
        interface=InterfaceName(
            "cali" + draw(st.text("0123456789abcdef", max_size=11))
        ),
        mac=draw(st.none() | st.binary(min_size=6, max_size=6)),
        profile_ids=tuple(draw(st.lists(profile_ids, max_size=4))),
        addresses=tuple(ip_address(each) for each in (*sorted(v4), *sorted(v6))),
        labels=draw(st.dictionaries(names, st.text(), max_size=3)),
    )
