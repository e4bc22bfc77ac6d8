"""The routing of one host as the configuration of BIRD.

Only numbers, addresses and words of our own reach the text: no name that a
user chose stands in it, so nothing that a user writes can become a statement.

What BIRD keeps in one table comes from four sources, and the preference says
which of them is believed where two know the same prefix: the networks the
host is connected to, its own blocks, what others put into the kernel (routes
to workloads among it), and peers.

Source:
    BIRD 2.0 User's Guide, chapters 3, 5 and 6.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from calico.ir.routing import Carrier, Peering, PeerKind, RoutedPool, RoutingState
from calico.model.bgp import BgpLogLevel
from calico.netset import Address, Family, Network, family_of

SCAN_TIME_S = 2
GRACEFUL_RESTART_WAIT_S = 30

# Beyond what BIRD gives to peers (100), below what it gives to its own static
# routes (200). A route to a workload within a block of this host is not told
# to anybody, for the block is; that it has a number of its own says so.
_LEARNED = 180
_LEARNED_IN_OWN_BLOCK = 181

_KIND_NAMES = {PeerKind.MESH: "Mesh", PeerKind.NODE: "Node", PeerKind.GLOBAL: "Global"}

# Every host speaks with all of these, so a peer of either kind hears from all.
_TOLD_ANYWAY = {
    PeerKind.MESH: (PeerKind.MESH,),
    PeerKind.NODE: (),
    PeerKind.GLOBAL: (PeerKind.MESH, PeerKind.GLOBAL),
}

_LOG_CLASSES = {
    BgpLogLevel.NONE: "{ warning, error, auth, fatal, bug }",
    BgpLogLevel.INFO: "{ info, remote, warning, error, auth, fatal, bug }",
    BgpLogLevel.DEBUG: "all",
}
_DEBUG = {
    BgpLogLevel.NONE: "off",
    BgpLogLevel.INFO: "{ states }",
    BgpLogLevel.DEBUG: "all",
}


def peering_name(peering: Peering) -> str:
    """Return what BIRD calls a peering, as `Mesh_192_0_2_1`."""
    address = _spell(peering.address).replace(".", "_").replace(":", "_")
    return f"{_KIND_NAMES[peering.kind]}_{address}"


def render_bird(state: RoutingState) -> str:
    """Spell the routing of one host as a configuration file."""
    lines = [
        "# Made by Calico out of the datastore; what is changed here is lost.",
        f"log stderr {_LOG_CLASSES[state.log_level]};",
        f"debug protocols {_DEBUG[state.log_level]};",
        "timeformat protocol iso long;",
        *_router_id(state),
        f"graceful restart wait {GRACEFUL_RESTART_WAIT_S};",
        "",
        "protocol device {",
        f"  scan time {SCAN_TIME_S};",
        "}",
        "",
        "protocol direct {",
        '  interface -"cali*", "*";',
        "  ipv4;",
        "  ipv6;",
        "}",
    ]
    for family in Family:
        lines += _family(state, family)
    for peering in state.peerings:
        lines += _peering(state, peering)
    return "\n".join(lines) + "\n"


def _router_id(state: RoutingState) -> Iterator[str]:
    if state.router_id is not None:
        yield f"router id {_spell(state.router_id)};"


def _family(state: RoutingState, family: Family) -> Iterator[str]:
    """Yield the filters of a family, its own blocks, and its way to the kernel."""
    number = family.value
    announced = [each for each in state.announced if family_of(each) is family]
    pools = [each for each in state.pools if family_of(each.cidr) is family]
    is_in_pool = tuple(_by_pool(pools))
    yield from ("", f"filter calico_import_v{number} {{", *is_in_pool, "}")
    for kind in PeerKind:
        yield from (
            "",
            f"filter {_export_filter(kind, family)} {{",
            "  if source = RTS_DEVICE then reject;",
            "  if source = RTS_INHERIT && "
            f"preference = {_LEARNED_IN_OWN_BLOCK} then reject;",
            *_told_by_others(kind),
            *is_in_pool,
            "}",
        )
    yield from ("", f"filter calico_learn_v{number} {{")
    if announced:
        yield f"  if net ~ {_within(announced)} then {{"
        yield from (f"    preference = {_LEARNED_IN_OWN_BLOCK};", "    accept;", "  }")
    if pools:
        yield f"  if net ~ {_within(each.cidr for each in pools)} then {{"
        yield from (f"    preference = {_LEARNED};", "    accept;", "  }")
    yield from ("  accept;", "}")
    yield from (
        "",
        f"protocol static Calico_blocks_v{number} {{",
        f"  ipv{number};",
        *(f"  route {block} blackhole;" for block in announced),
        "}",
        "",
        f"protocol kernel Calico_kernel_v{number} {{",
        "  learn;",
        "  persist;",
        f"  scan time {SCAN_TIME_S};",
        "  graceful restart;",
        f"  ipv{number} {{",
        f"    import filter calico_learn_v{number};",
        "    export where source = RTS_STATIC || source = RTS_BGP;",
        "  };",
        "}",
    )


def _export_filter(kind: PeerKind, family: Family) -> str:
    return f"calico_to_{_KIND_NAMES[kind].lower()}_v{family.value}"


def _told_by_others(kind: PeerKind) -> Iterator[str]:
    """Yield what keeps a peer from being told what it hears from others itself.

    Between hosts in one AS that is BGP's own rule. With an AS each, a way by
    another host would look as short as the straight one.
    """
    for told in _TOLD_ANYWAY[kind]:
        yield f'  if proto ~ "{_KIND_NAMES[told]}_*" then reject;'


def _by_pool(pools: list[RoutedPool]) -> Iterator[str]:
    """Yield what decides by the pool that a prefix lies in, else rejects it."""
    begun, n_taken = 0, len(pools)
    while begun < n_taken:
        is_plain = pools[begun].carrier is Carrier.NONE
        end = begun
        while end < n_taken and (pools[end].carrier is Carrier.NONE) is is_plain:
            end += 1
        word = "accept" if is_plain else "reject"
        cidrs = (each.cidr for each in pools[begun:end])
        yield f"  if net ~ {_within(cidrs)} then {word};"
        begun = end
    yield "  reject;"


def _within(networks: Iterable[Network]) -> str:
    return "[ " + ", ".join(f"{each}+" for each in networks) + " ]"


def _peering(state: RoutingState, peering: Peering) -> Iterator[str]:
    family = peering.family
    number = family.value
    yield from (
        "",
        f"protocol bgp {peering_name(peering)} {{",
        f"  local {_spell(state.addresses[family])} as {state.as_number};",
        f"  neighbor {_spell(peering.address)} as {peering.as_number};",
        "  multihop;",
        "  graceful restart;",
        "  connect delay time 1;",
        "  connect retry time 10;",
        "  error wait time 5, 30;",
        f"  ipv{number} {{",
        f"    import filter calico_import_v{number};",
        f"    export filter {_export_filter(peering.kind, family)};",
        "    next hop self;",
        "  };",
        "}",
    )


def _spell(address: Address) -> str:
    """Spell an address without a zone, which could say anything."""
    make = IPv4Address if family_of(address) is Family.V4 else IPv6Address
    return str(make(int(address)))
