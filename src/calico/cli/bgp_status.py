"""How this host's BGP sessions are: BIRD's word, put beside the datastore's."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from calico.cli import output
from calico.cli.call import Call
from calico.codec.json_text import Json
from calico.compiler.routing import compile_routing
from calico.ir.routing import PeerKind, RoutingState
from calico.linux.bird import BirdFiles
from calico.linux.bird_control import BirdControl
from calico.linux.bird_replies import BirdProtocol
from calico.model.errors import RouterRejected, Unavailable
from calico.model.routing import RoutingSnapshot
from calico.netset import Address, Family, family_of
from calico.node.state import Backend, NodeState, read_state
from calico.store.routing import read_routing

_HEADINGS = ("Peer address", "Peer type", "State", "Since", "Info")
_UNKNOWN = "unknown"
_NOT_THERE = "not known to BIRD yet"


@dataclass(frozen=True, slots=True)
class Session:
    """A peer as the table shows it."""

    address: Address
    kind: str
    state: str
    since: str
    info: str


@dataclass(frozen=True, slots=True)
class BgpStatus:
    """How routing is on this host.

    Attributes:
        backend: What carries routes.
        problem: Why BIRD does not answer; empty when it does.
        routing: What the datastore says this host must do; absent when that
            cannot be read.
        is_inherited: The AS number is that of all hosts.
        sessions: Every peer, in the order of addresses.
    """

    backend: Backend
    problem: str
    routing: RoutingState | None
    is_inherited: bool
    sessions: tuple[Session, ...]


def read_bgp_status(call: Call) -> BgpStatus:
    """Ask BIRD and the datastore; what does not answer is left out."""
    run_dir = call.settings.run_dir
    state = read_state(run_dir) or NodeState(Backend.BIRD)
    if state.backend is Backend.NONE or call.option("--backend") == "none":
        return BgpStatus(Backend.NONE, "", None, is_inherited=False, sessions=())
    problem = ""
    protocols: tuple[BirdProtocol, ...] = ()
    try:
        with BirdControl(BirdFiles(run_dir).socket) as bird:
            protocols = bird.read_protocols()
    except (Unavailable, RouterRejected) as error:
        problem = state.bird_problem or str(error)
        if os.geteuid() != 0:
            problem = "only root may ask BIRD: use sudo"
    snapshot = _read_routing(call)
    host = call.settings.hostname
    routing = None if snapshot is None else compile_routing(snapshot, host)
    own = None if snapshot is None else snapshot.hosts.get(host)
    return BgpStatus(
        backend=Backend.BIRD,
        problem=problem,
        routing=routing,
        is_inherited=own is None or own.as_number is None,
        sessions=() if problem else tuple(_sessions(protocols, routing)),
    )


def _read_routing(call: Call) -> RoutingSnapshot | None:
    try:
        return read_routing(call.store)
    except Unavailable:
        # `status` says so already, of what else it reads there.
        return None


def _sessions(
    protocols: tuple[BirdProtocol, ...], routing: RoutingState | None
) -> Iterator[Session]:
    kinds: dict[Address, PeerKind] = {}
    if routing is not None:
        kinds = {each.address: each.kind for each in routing.peerings}
    found: dict[Address, Session] = {
        address: Session(address, kind.value, "down", "", _NOT_THERE)
        for address, kind in kinds.items()
    }
    for each in protocols:
        if each.is_bgp and each.neighbor is not None:
            kind = kinds.get(each.neighbor)
            found[each.neighbor] = Session(
                each.neighbor,
                _UNKNOWN if kind is None else kind.value,
                each.state,
                each.since,
                each.info,
            )
    yield from sorted(
        found.values(), key=lambda each: (each.address.version, int(each.address))
    )


def bgp_as_json(status: BgpStatus) -> Json:
    """Return what `-o json` shows of it."""
    shown: dict[str, Json] = {
        "backend": status.backend.value,
        "problem": status.problem,
    }
    for family in Family:
        address = _address(status, family)
        shown[f"ipv{family.value}"] = None
        if address is not None and status.routing is not None:
            shown[f"ipv{family.value}"] = {
                "ip": str(address),
                "as_num": _as_number(status.routing),
                "as_inherited": status.is_inherited,
                "peers": [_session_json(each) for each in _of(status, family)],
            }
    return shown


def _session_json(session: Session) -> Mapping[str, Json]:
    return {
        "ip": str(session.address),
        "type": session.kind,
        "state": session.state,
        "since": session.since,
        "info": session.info,
    }


def print_bgp_status(status: BgpStatus) -> None:
    """Print what `status` shows of it to people."""
    if status.backend is Backend.NONE:
        output.line("Routes: none of ours (--backend=none); BIRD is not run.")
        return
    if status.routing is None and not status.problem:
        output.line("")
        output.line("BGP status, without the datastore:")
        _print_sessions(status.sessions)
        return
    for family in Family:
        _print_family(status, family)


def _print_family(status: BgpStatus, family: Family) -> None:
    output.line("")
    output.line(f"IPv{family.value} BGP status")
    address = _address(status, family)
    if status.routing is not None and address is None:
        output.line(f"No IPv{family.value} address configured.\n")
        return
    if status.routing is not None:
        inherited = " (inherited)" if status.is_inherited else ""
        number = _as_number(status.routing)
        output.line(f"IP: {address}    AS Number: {number}{inherited}")
    if status.problem:
        output.line("Couldn't connect to bird.")
        output.line(f"  {status.problem}")
        return
    _print_sessions(_of(status, family))


def _print_sessions(sessions: tuple[Session, ...]) -> None:
    rows = [
        [str(each.address), each.kind, each.state, each.since, each.info]
        for each in sessions
    ]
    output.table(_HEADINGS, rows, align="l")


def _address(status: BgpStatus, family: Family) -> Address | None:
    return None if status.routing is None else status.routing.addresses.get(family)


def _as_number(routing: RoutingState) -> str:
    return "none" if routing.as_number is None else str(routing.as_number)


def _of(status: BgpStatus, family: Family) -> tuple[Session, ...]:
    return tuple(each for each in status.sessions if family_of(each.address) is family)
