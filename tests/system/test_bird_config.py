"""Every configuration that we write, as BIRD reads it."""

import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from routing_states import NAMED, OWN_V4, OWN_V6, routing_states

from calico.codec import keys
from calico.codec.bgp_values import encode_peer
from calico.compiler.routing import compile_routing
from calico.ir.routing import RoutingState
from calico.model.bgp import AsNumber, BgpPeer
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.snapshot import PoolKey
from calico.netset import Family
from calico.render.bird import render_bird
from calico.store.api import Note, Operation, Put, Transaction
from calico.store.memory import MemoryStore
from calico.store.resources import put_resource
from calico.store.routing import read_routing

pytestmark = pytest.mark.system

HOST, OTHER = HostName("here"), HostName("there")
PEER = ip_address("198.51.100.1")
EVIL = "protocol static evil { ipv4; route 0.0.0.0/0 blackhole; }"
HOSTILE = (
    f"64600; }} {EVIL} protocol bgp x {{ local as 1; neighbor 192.0.2.9 as 1",
    f"64511;\n}}\n{EVIL}\nprotocol bgp x {{ local as 1",
    '" ; include "/etc/passwd',
    "64511; # the rest is a comment",
    "/* 64511",
    "}}}}}}",
    "all; debug protocols",
    "fe80::9%eth0",
    '::1%"; }',
    "$(reboot)",
    "'",
    "\\",
    "\u202e64511",
    "\u0661",
    "64511\r\n",
    "9" * 400,
)


def _read_by_bird(text: str, directory: Path) -> str:
    """Return what BIRD has against a configuration; nothing if it takes it."""
    path = directory / "bird.conf"
    path.write_text(text)
    done = subprocess.run(
        ["bird", "-p", "-c", str(path)], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stderr or "refused"


@pytest.mark.parametrize("name", NAMED)
def test_recorded_configuration_is_one(name: str, tmp_path: Path) -> None:
    text = render_bird(NAMED[name])
    assert _read_by_bird(text, tmp_path) == ""
    assert "syntax error" in _read_by_bird(text + "}", tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(routing_states())
def test_every_routing_is_spelt_as_a_configuration(
    tmp_path: Path, state: RoutingState
) -> None:
    assert _read_by_bird(render_bird(state), tmp_path) == ""


def _cluster() -> MemoryStore:
    peer = BgpPeer(PEER, AsNumber(65000))
    pool = Pool(ip_network("10.0.0.0/16"))
    return _commit(
        MemoryStore(),
        Put(keys.bgp_address_key(HOST, Family.V4), str(OWN_V4).encode()),
        Put(keys.bgp_address_key(HOST, Family.V6), str(OWN_V6).encode()),
        Put(keys.bgp_address_key(OTHER, Family.V4), b"192.0.2.2"),
        Put(keys.bgp_address_key(OTHER, Family.V6), b"2001:db8::2"),
        Put(keys.bgp_as_number_key(OTHER), b"64600"),
        Put(keys.bgp_peer_key(None, PEER), encode_peer(peer)),
        Put(keys.bgp_config_key(HOST, "loglevel"), b"debug"),
        put_resource(PoolKey(pool.cidr), pool),
    )


def _commit(store: MemoryStore, *operations: Operation) -> MemoryStore:
    store.commit(Transaction((), operations, Note("t", "h", "c")))
    return store


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_no_value_becomes_configuration(hostile: str, tmp_path: Path) -> None:
    text = hostile.encode()
    quoted = hostile.replace("\\", "\\\\").replace('"', '\\"').encode()
    segment = hostile.replace("/", "%2F")
    planted = (
        Put(keys.bgp_address_key(OTHER, Family.V4), text),
        Put(keys.bgp_address_key(OTHER, Family.V6), text),
        Put(keys.bgp_as_number_key(OTHER), text),
        Put(keys.bgp_config_key(HOST, "loglevel"), text),
        Put(keys.bgp_config_key(None, "loglevel"), text),
        Put(keys.bgp_node_mesh_key(), text),
        Put(
            keys.bgp_peer_key(None, PEER),
            b'{"ip": "198.51.100.1", "as_num": "%s"}' % quoted,
        ),
        Put(
            keys.bgp_peer_key(HOST, PEER),
            b'{"ip": "%s", "as_num": "65000"}' % quoted,
        ),
        Put(f"{keys.bgp_peers_prefix(HOST, Family.V6)}{segment}", b"{}"),
        Put(f"{keys.BGP_PREFIX}host/{segment}/ip_addr_v4", b"192.0.2.7"),
        Put(f"{keys.BGP_GLOBAL_PREFIX}custom_filters/v4/{segment}", text),
    )
    for operation in planted:
        state = compile_routing(read_routing(_commit(_cluster(), operation)), HOST)
        assert operation.key in state.problems, operation.key
        made = render_bird(state)
        assert _read_by_bird(made, tmp_path) == ""
        assert hostile not in made
        assert "evil" not in made
        # What is left is what would be there without the value.
        names = {line for line in made.splitlines() if line.startswith("protocol")}
        assert names <= _names_of_all()
    # All of them at once are not worse.
    state = compile_routing(read_routing(_commit(_cluster(), *planted)), HOST)
    assert state.peerings == ()
    assert _read_by_bird(render_bird(state), tmp_path) == ""


def _names_of_all() -> set[str]:
    made = render_bird(compile_routing(read_routing(_cluster()), HOST))
    names = {line for line in made.splitlines() if line.startswith("protocol")}
    assert sum(name.startswith("protocol bgp") for name in names) == 3
    return names


def test_such_a_value_would_be_configuration_if_it_were_pasted(tmp_path: Path) -> None:
    made = render_bird(compile_routing(read_routing(_cluster()), HOST))
    pasted = made.replace("as 64600;", f"as {HOSTILE[0]};", 1)
    assert "evil" in pasted
    assert _read_by_bird(pasted, tmp_path) == ""
