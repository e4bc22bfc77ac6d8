"""Datastore keys: one function builds each, and one inverse parses it.

A key is a path of segments. Every segment that comes from a user is encoded by
`_segment`: what could be mistaken for structure (`/`, `%`, `.` and `..`,
control characters, whatever is not ASCII) becomes `%XX`, so no name reaches
outside its own segment and two names never share a key. Parsing accepts only
what building produces.

Not here: the values (`resources`), and which keys policy depends on (all below
`POLICY_PREFIX`).

Source:
    calico-containers, docs/etcdStructure.md; the BGP paths as its code has them.
"""

import re
from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError
from typing import assert_never

from calico.model.errors import InvalidResource
from calico.model.names import (
    EndpointKey,
    HostName,
    OrchestratorId,
    ProfileId,
    WorkloadId,
    parse_endpoint_id,
    parse_host_name,
    parse_profile_id,
)
from calico.model.snapshot import (
    PoolKey,
    ProfileLabelsKey,
    ProfileRulesKey,
    ProfileTagsKey,
    ReadyKey,
    ReservedKey,
    ResourceKey,
    SettingKey,
)
from calico.netset import Address, Family, Network, family_of

POLICY_PREFIX = "/calico/v1/"
"""Everything that policy is computed from, and nothing that agents write."""

POLICY_PREFIXES = (POLICY_PREFIX,)

READY_KEY = "/calico/v1/Ready"
CONFIG_PREFIX = "/calico/v1/config/"
HOST_PREFIX = "/calico/v1/host/"
PROFILE_PREFIX = "/calico/v1/policy/profile/"
TIER_PREFIX = "/calico/v1/policy/tier/"
POOL_PREFIXES = {
    Family.V4: "/calico/v1/ipam/v4/pool/",
    Family.V6: "/calico/v1/ipam/v6/pool/",
}
IPAM_PREFIX = "/calico/ipam/v2/"
IPAM_CONFIG_KEY = "/calico/ipam/v2/config"
IPAM_HANDLE_PREFIX = "/calico/ipam/v2/handle/"
IPAM_HOST_PREFIX = "/calico/ipam/v2/host/"
STATUS_HOST_PREFIX = "/calico/felix/v1/host/"
BGP_PREFIX = "/calico/bgp/v1/"
BGP_GLOBAL_PREFIX = "/calico/bgp/v1/global/"
LIBNETWORK_PREFIX = "/calico/libnetwork/v1/"

_UNKNOWN = ReservedKey("key of an unknown kind")
_PLAIN = re.compile(r"[!-$&-.0-~]+\Z")
_N_AFFINITY_PARTS = 4
_ESCAPE = re.compile(r"%([0-9A-F]{2})")


def _segment(text: str) -> str:
    if not text:
        raise InvalidResource("part of a datastore key", "''", "at least one character")
    if text in {".", ".."}:
        return text.replace(".", "%2E")
    if _PLAIN.match(text):
        return text
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidResource(
            "part of a datastore key", repr(text), "text that UTF-8 can express"
        ) from None
    return "".join(
        chr(byte) if _PLAIN.match(chr(byte)) else f"%{byte:02X}" for byte in encoded
    )


def _text(segment: str) -> str:
    """Decode one segment of a key.

    Raises:
        ValueError: `_segment` builds no such segment.
    """
    if "%" not in segment and segment not in {"", ".", ".."}:
        if not _PLAIN.match(segment):
            raise ValueError(segment)
        return segment
    raw = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), segment)
    text = raw.encode("latin-1").decode("utf-8", "surrogateescape")
    if not text or _segment(text) != segment:
        raise ValueError(segment)
    return text


def encode_key(key: ResourceKey) -> str:
    """Say where in the datastore a resource is kept.

    Raises:
        InvalidResource: A part of the key is empty or is no text, or the key is
            of a reserved kind, which stands for many places.
    """
    match key:
        case ReadyKey():
            place = READY_KEY
        case EndpointKey():
            workload = workload_prefix(key.host, key.orchestrator, key.workload)
            place = f"{workload}endpoint/{_segment(key.endpoint)}"
        case PoolKey():
            place = POOL_PREFIXES[family_of(key.cidr)] + _network_segment(key.cidr)
        case SettingKey():
            prefix = CONFIG_PREFIX if key.host is None else config_prefix(key.host)
            place = prefix + _segment(key.name)
        case ReservedKey():
            raise InvalidResource("datastore key", key.kind, "one that is in use")
        case _:
            place = profile_prefix(key.profile) + _profile_part(key)
    return place


def _profile_part(key: ProfileTagsKey | ProfileRulesKey | ProfileLabelsKey) -> str:
    match key:
        case ProfileTagsKey():
            return "tags"
        case ProfileRulesKey():
            return "rules"
        case ProfileLabelsKey():
            return "labels"
        case _:
            assert_never(key)


def decode_key(text: str) -> ResourceKey | None:
    """Say what is kept at a place in the datastore.

    Returns:
        `None` when policy does not depend on it; a `ReservedKey` when it is
        below `POLICY_PREFIX` and nothing that we use.
    """
    if not text.startswith(POLICY_PREFIX):
        return None
    if text == READY_KEY:
        return ReadyKey()
    try:
        return _decode_parts(text.removeprefix(POLICY_PREFIX).split("/"))
    except (InvalidResource, ValueError):
        return ReservedKey("key with a name that is not valid")


def _decode_parts(parts: list[str]) -> ResourceKey | None:
    match parts:
        case ["policy", *rest]:
            return _policy_key(rest)
        case ["host", host, *rest]:
            return _host_key(parse_host_name(_text(host)), rest)
        case ["ipam", "v4", "pool", pool]:
            return PoolKey(_network(pool, Family.V4))
        case ["ipam", "v6", "pool", pool]:
            return PoolKey(_network(pool, Family.V6))
        case ["config", name]:
            return SettingKey(_text(name))
        case _:
            return _UNKNOWN


def _policy_key(parts: list[str]) -> ResourceKey:
    match parts:
        case ["profile", profile, kind]:
            return _profile_key(parse_profile_id(_text(profile)), kind)
        case ["tier", _, "metadata"]:
            return ReservedKey("tier")
        case ["tier", _, "policy", _]:
            return ReservedKey("policy")
        case _:
            return _UNKNOWN


def _profile_key(profile: ProfileId, kind: str) -> ResourceKey:
    match kind:
        case "tags":
            return ProfileTagsKey(profile)
        case "rules":
            return ProfileRulesKey(profile)
        case "labels":
            return ProfileLabelsKey(profile)
        case _:
            return _UNKNOWN


def _host_key(host: HostName, parts: list[str]) -> ResourceKey | None:
    match parts:
        case ["workload", orchestrator, workload, "endpoint", endpoint]:
            return EndpointKey(
                host,
                OrchestratorId(_text(orchestrator)),
                WorkloadId(_text(workload)),
                parse_endpoint_id(_text(endpoint)),
            )
        case ["config", name]:
            return SettingKey(_text(name), host)
        case ["endpoint", _]:
            return ReservedKey("host endpoint")
        case ["bird_ip"]:
            return None
        case _:
            return _UNKNOWN


def _network_segment(network: Network) -> str:
    return str(network).replace("/", "-")


def _network(segment: str, family: Family) -> Network:
    """Parse a network as `_network_segment` builds it.

    Raises:
        ValueError: It does not build this.
    """
    make = IPv4Network if family is Family.V4 else IPv6Network
    try:
        network = make(segment.replace("-", "/"))
    except (AddressValueError, NetmaskValueError) as error:
        raise ValueError(segment) from error
    if "%" in segment or _network_segment(network) != segment:
        raise ValueError(segment)
    return network


def profile_prefix(profile: ProfileId) -> str:
    """Return what every key of one profile starts with."""
    return f"{PROFILE_PREFIX}{_segment(profile)}/"


def host_prefix(host: HostName) -> str:
    """Return what every key of one host starts with, below the policy part."""
    return f"{HOST_PREFIX}{_segment(host)}/"


def config_prefix(host: HostName) -> str:
    """Return what the keys of one host's own parameters start with."""
    return host_prefix(host) + "config/"


def endpoints_prefix(host: HostName) -> str:
    """Return what the keys of one host's workload endpoints start with."""
    return host_prefix(host) + "workload/"


def workload_prefix(
    host: HostName, orchestrator: OrchestratorId, workload: WorkloadId
) -> str:
    """Return what the keys of one workload's endpoints start with."""
    return f"{endpoints_prefix(host)}{_segment(orchestrator)}/{_segment(workload)}/"


def bird_ip_key(host: HostName) -> str:
    """Return the key of a host's IPv4 address."""
    return host_prefix(host) + "bird_ip"


def ipam_blocks_prefix(family: Family) -> str:
    """Return what the keys of one family's allocation blocks start with."""
    return f"{IPAM_PREFIX}assignment/ipv{family.value}/block/"


def ipam_block_key(block: Network) -> str:
    """Return the key of an allocation block."""
    return ipam_blocks_prefix(family_of(block)) + _network_segment(block)


def decode_ipam_block_key(text: str) -> Network | None:
    """Return the block that `ipam_block_key` built a key for, if it did."""
    for family in Family:
        prefix = ipam_blocks_prefix(family)
        if text.startswith(prefix):
            try:
                return _network(text.removeprefix(prefix), family)
            except ValueError:
                return None
    return None


def ipam_affinity_prefix(host: HostName, family: Family) -> str:
    """Return what the keys of a host's affine blocks of one family start with."""
    return f"{IPAM_HOST_PREFIX}{_segment(host)}/ipv{family.value}/block/"


def ipam_affinity_key(host: HostName, block: Network) -> str:
    """Return the key that marks a block as affine to a host."""
    return ipam_affinity_prefix(host, family_of(block)) + _network_segment(block)


def decode_ipam_affinity_key(text: str) -> tuple[HostName, Network] | None:
    """Return what `ipam_affinity_key` built a key for, if it did."""
    parts = text.removeprefix(IPAM_HOST_PREFIX).split("/")
    if not text.startswith(IPAM_HOST_PREFIX) or len(parts) != _N_AFFINITY_PARTS:
        return None
    host, version, kind, block = parts
    families = {f"ipv{family.value}": family for family in Family}
    if version not in families or kind != "block":
        return None
    try:
        return parse_host_name(_text(host)), _network(block, families[version])
    except (InvalidResource, ValueError):
        return None


def ipam_handle_key(handle: str) -> str:
    """Return the key of an allocation handle."""
    return IPAM_HANDLE_PREFIX + _segment(handle)


def decode_ipam_handle_key(text: str) -> str | None:
    """Return the handle that `ipam_handle_key` built a key for, if it did."""
    if not text.startswith(IPAM_HANDLE_PREFIX):
        return None
    try:
        return _text(text.removeprefix(IPAM_HANDLE_PREFIX))
    except ValueError:
        return None


def host_status_key(host: HostName) -> str:
    """Return the key of a host's status, which dies with its lease."""
    return f"{STATUS_HOST_PREFIX}{_segment(host)}/status"


def last_reported_status_key(host: HostName) -> str:
    """Return the key of a host's last status, which stays."""
    return f"{STATUS_HOST_PREFIX}{_segment(host)}/last_reported_status"


def decode_host_status_key(text: str) -> HostName | None:
    """Return the host that `host_status_key` built a key for, if it did."""
    inner = text.removeprefix(STATUS_HOST_PREFIX).removesuffix("/status")
    try:
        host = parse_host_name(_text(inner))
    except (InvalidResource, ValueError):
        return None
    return host if host_status_key(host) == text else None


def endpoint_status_key(key: EndpointKey) -> str:
    """Return the key of an endpoint's status as its host reports it."""
    return encode_key(key).replace(HOST_PREFIX, STATUS_HOST_PREFIX, 1)


def bgp_host_prefix(host: HostName) -> str:
    """Return what every BGP key of one host starts with."""
    return f"{BGP_PREFIX}host/{_segment(host)}/"


def bgp_config_key(host: HostName | None, name: str) -> str:
    """Return the key of a parameter of BGP, global or of one host."""
    return _bgp_prefix(host) + _segment(name)


def bgp_as_number_key(host: HostName | None) -> str:
    """Return the key of the AS number, the default one or one host's own."""
    return _bgp_prefix(host) + "as_num"


def bgp_node_mesh_key() -> str:
    """Return the key that says whether all hosts peer with each other."""
    return BGP_GLOBAL_PREFIX + "node_mesh"


def bgp_address_key(host: HostName, family: Family) -> str:
    """Return the key of the address that a host speaks BGP from."""
    return f"{bgp_host_prefix(host)}ip_addr_v{family.value}"


def bgp_peers_prefix(host: HostName | None, family: Family) -> str:
    """Return what the keys of the peers start with, global or of one host."""
    return f"{_bgp_prefix(host)}peer_v{family.value}/"


def bgp_peer_key(host: HostName | None, peer: Address) -> str:
    """Return the key of a BGP peer, global or of one host."""
    return bgp_peers_prefix(host, family_of(peer)) + str(peer)


def _bgp_prefix(host: HostName | None) -> str:
    return BGP_GLOBAL_PREFIX if host is None else bgp_host_prefix(host)


def libnetwork_key(network_id: str) -> str:
    """Return the key of a Docker network."""
    return LIBNETWORK_PREFIX + _segment(network_id)
