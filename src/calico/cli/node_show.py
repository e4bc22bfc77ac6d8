"""`calicoctl node show`."""

from collections.abc import Mapping

from calico.cli import output
from calico.cli.call import Call
from calico.codec.bgp_values import decode_peer
from calico.codec.json_text import Json, parse_json
from calico.codec.keys import BGP_PREFIX, bgp_as_number_key
from calico.codec.rule_parts import parse_address
from calico.model.bgp import DEFAULT_AS_NUMBER
from calico.model.errors import InvalidResource

_DEFAULT = str(DEFAULT_AS_NUMBER).encode()
_HOSTS = BGP_PREFIX + "host/"
_HEADINGS = (
    "Hostname",
    "Bird IPv4",
    "Bird IPv6",
    "AS Num",
    "BGP Peers v4",
    "BGP Peers v6",
)


def show(call: Call) -> int:
    """List the hosts with their addresses and BGP peers."""
    listing = call.store.list_prefix(BGP_PREFIX)
    values = {item.key: item.value for item in listing.items}
    inherited = values.get(bgp_as_number_key(None), _DEFAULT).decode(errors="replace")
    hosts: dict[str, dict[str, bytes]] = {}
    for key, value in values.items():
        if key.startswith(_HOSTS):
            host, _, rest = key.removeprefix(_HOSTS).partition("/")
            hosts.setdefault(host, {})[rest] = value
    found = [_describe(host, parts, inherited) for host, parts in hosts.items()]
    return call.show(
        found,
        list(hosts),
        lambda: output.table(_HEADINGS, [_row(each) for each in found]),
    )


def _describe(host: str, parts: Mapping[str, bytes], inherited: str) -> dict[str, Json]:
    own = parts.get("as_num")
    return {
        "hostname": host,
        "bird_ipv4": parts.get("ip_addr_v4", b"").decode(errors="replace"),
        "bird_ipv6": parts.get("ip_addr_v6", b"").decode(errors="replace"),
        "as_num": inherited if own is None else own.decode(errors="replace"),
        "as_inherited": own is None,
        "peers_v4": _peers(parts, "peer_v4/"),
        "peers_v6": _peers(parts, "peer_v6/"),
    }


def _peers(parts: Mapping[str, bytes], prefix: str) -> list[Json]:
    found: list[Json] = []
    for name, value in parts.items():
        if name.startswith(prefix):
            address = name.removeprefix(prefix)
            found.append({"ip": address, "as_num": _as_of(address, value)})
    return found


def _as_of(address: str, value: bytes) -> str:
    try:
        peer = decode_peer(parse_json(value), parse_address(address))
    except InvalidResource:
        return "?"
    return str(peer.as_number)


def _row(host: Mapping[str, Json]) -> list[str]:
    number = str(host["as_num"]) + (" (inherited)" if host["as_inherited"] else "")
    return [
        str(host["hostname"]),
        str(host["bird_ipv4"]),
        str(host["bird_ipv6"]),
        number,
        _peer_lines(host["peers_v4"]),
        _peer_lines(host["peers_v6"]),
    ]


def _peer_lines(peers: Json) -> str:
    if not isinstance(peers, list):
        return ""
    return "\n".join(
        f"{each['ip']} as {each['as_num']}" for each in peers if isinstance(each, dict)
    )
