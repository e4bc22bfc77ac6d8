"""`calicoctl bgp`, and `calicoctl node bgp`: whom hosts exchange routes with."""

from collections.abc import Mapping, Sequence

from calico.cli import output
from calico.cli.bgp_words import read_address, read_as_number, read_peer
from calico.cli.call import Call
from calico.cli.refusal import Refused
from calico.codec.bgp_values import (
    decode_node_mesh,
    decode_peer,
    encode_as_number,
    encode_node_mesh,
    encode_peer,
)
from calico.codec.json_text import Json, parse_json
from calico.codec.keys import (
    BGP_PREFIX,
    bgp_address_key,
    bgp_as_number_key,
    bgp_node_mesh_key,
    bgp_peer_key,
    bgp_peers_prefix,
    bird_ip_key,
)
from calico.codec.routing_keys import decode_routing_key
from calico.model.bgp import DEFAULT_AS_NUMBER, AsNumber, BgpPeer, parse_as_number
from calico.model.errors import InvalidResource
from calico.model.names import HostName
from calico.model.routing import BgpAddressKey, BgpPeerKey
from calico.netset import Address, Family, family_of
from calico.store.api import Delete, KeyValue, Put, Scope, Transaction, View

_UNREADABLE = "?"


def add_peer(call: Call) -> int:
    """Name a peer of every host, or of this one."""
    address, number = read_peer(call.word("PEER_IP"), call.word("AS_NUM"))
    host = _host(call)
    if host is None:
        _warn_of_host(call, address, number)
    else:
        _require_other(call, host, address)
    value = encode_peer(BgpPeer(address, number))
    put = Put(bgp_peer_key(host, address), value)
    call.store.commit(Transaction((), (put,), call.note()))
    return 0


def remove_peer(call: Call) -> int:
    """Take a peer away."""
    address = read_address(call.word("PEER_IP"))
    host = _host(call)
    key = bgp_peer_key(host, address)
    transaction = Transaction((), (Delete(key),), call.note())

    def decide(view: View) -> tuple[Transaction | None, bool]:
        return (transaction, True) if view.get(key) else (None, False)

    _, was_there = call.store.update(Scope(keys=(key,)), decide)
    if not was_there:
        what = "globally configured peer" if host is None else "configured peer"
        where = "" if host is None else " for this node"
        raise Refused(f"{address} is not a {what}{where}.")
    scope = "global" if host is None else "node"
    output.line(f"BGP peer removed from {scope} configuration")
    return 0


def show_peers(call: Call) -> int:
    """Show the peers of one family or of both."""
    host = _host(call)
    families = [
        family
        for family in Family
        if not (call.has_option("--ipv4") or call.has_option("--ipv6"))
        or call.has_option(f"--ipv{family.value}")
    ]
    found = {family: _peers(call, host, family) for family in families}

    def text() -> None:
        for family in families:
            _print_peers(host, family, found[family])

    shown = [each for family in families for each in found[family].items()]
    value: list[Json] = [
        {"ip": str(address), "as_num": number} for address, number in shown
    ]
    return call.show(value, [str(address) for address, _ in shown], text)


def show_mesh(call: Call) -> int:
    """Show whether all hosts peer with each other."""
    item = call.store.get(bgp_node_mesh_key())
    word = "on" if item is None or _read_mesh(item) else "off"
    return call.show({"node_mesh": word}, [word], lambda: output.line(word))


def put_mesh(call: Call) -> int:
    """Let all hosts peer with each other, or not."""
    put = Put(bgp_node_mesh_key(), encode_node_mesh(is_on=call.has("on")))
    call.store.commit(Transaction((), (put,), call.note()))
    return 0


def show_as_number(call: Call) -> int:
    """Show the AS number of hosts that have none of their own."""
    key = bgp_as_number_key(None)
    item = call.store.get(key)
    number = DEFAULT_AS_NUMBER
    if item is not None:
        text = item.value.decode("utf-8", "backslashreplace")
        try:
            number = parse_as_number(text)
        except InvalidResource as error:
            raise Refused(f"{key}: {error}", _mend("default-node-as 64511")) from None
    shown = str(number)
    return call.show({"as_num": shown}, [shown], lambda: output.line(shown))


def put_as_number(call: Call) -> int:
    """Give the hosts that have no AS number of their own another one."""
    number = read_as_number(call.word("AS_NUM"))
    put = Put(bgp_as_number_key(None), encode_as_number(number))
    call.store.commit(Transaction((), (put,), call.note()))
    return 0


def _host(call: Call) -> HostName | None:
    """Return this host for `node bgp`, and nothing for `bgp`."""
    return call.settings.hostname if call.has("node") else None


def _require_other(call: Call, host: HostName, address: Address) -> None:
    """Refuse this host as its own peer, and warn when there is no such host."""
    own = call.store.get(bgp_address_key(host, family_of(address)))
    if own is not None and own.value == str(address).encode():
        raise Refused(
            f"{address} is the address of this host, which cannot be its own peer."
        )
    if call.store.get(bird_ip_key(host)) is None:
        output.complain(
            f"WARNING: there is no host {host} yet; `calicoctl node show` lists the"
            " hosts."
        )


def _warn_of_host(call: Call, address: Address, number: AsNumber) -> None:
    for item in call.store.list_prefix(BGP_PREFIX + "host/").items:
        key = decode_routing_key(item.key)
        if isinstance(key, BgpAddressKey) and item.value == str(address).encode():
            output.complain(
                f"WARNING: {address} is the address of host {key.host}; every other"
                f" host will peer with it as a global peer in AS {number}, whatever the"
                " node-to-node mesh says of it."
            )


def _read_mesh(item: KeyValue) -> bool:
    try:
        return decode_node_mesh(parse_json(item.value))
    except InvalidResource as error:
        raise Refused(f"{item.key}: {error}", _mend("node-mesh on")) from None


def _mend(command: str) -> str:
    return f"`calicoctl bgp {command}` puts a value there that can be read."


def _peers(call: Call, host: HostName | None, family: Family) -> dict[Address, str]:
    """Read peers: AS number by address, in the order of addresses."""
    found: dict[Address, str] = {}
    for item in call.store.list_prefix(bgp_peers_prefix(host, family)).items:
        key = decode_routing_key(item.key)
        if isinstance(key, BgpPeerKey):
            found[key.peer] = _as_number_of(item, key.peer)
    return dict(sorted(found.items(), key=lambda each: int(each[0])))


def _as_number_of(item: KeyValue, address: Address) -> str:
    try:
        return str(decode_peer(parse_json(item.value), address).as_number)
    except InvalidResource:
        return _UNREADABLE


def _print_peers(
    host: HostName | None, family: Family, peers: Mapping[Address, str]
) -> None:
    version = f"IPv{family.value}"
    if not peers:
        output.line(
            f"No global {version} BGP Peers defined.\n"
            if host is None
            else f"No {version} BGP Peers defined for this node.\n"
        )
        return
    heading = f"Global {version} BGP Peer"
    if host is not None:
        heading = f"Node specific {version} BGP Peer"
    rows: Sequence[Sequence[str]] = [[str(a), number] for a, number in peers.items()]
    output.table([heading, "AS Num"], rows, align="l")
