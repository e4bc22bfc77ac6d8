from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from strategies import HOST, OTHER, endpoint_key

from calico.compiler.host import compile_host
from calico.ir.match import TagSetId
from calico.ir.origin import Fault, FaultOrigin
from calico.ir.state import DesiredState, PipelineKey, Route
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointKey,
    InterfaceName,
    ProfileId,
    Revision,
    TagName,
)
from calico.model.network import EndpointToHostAction, Pool
from calico.model.rule import Action, Direction, Peer, ProfileRules, Rule
from calico.model.snapshot import SettingKey, Snapshot, Undecodable
from calico.netset import Family

P, Q = ProfileId("P"), ProfileId("Q")
RED = TagName("red")
RED4, RED6 = (TagSetId(RED, family) for family in Family)
FROM_RED = ProfileRules((Rule(Action.ALLOW, source=Peer(tag=RED)),))
BROKEN = Undecodable("/broken", "why")


def endpoint(
    key: EndpointKey, profiles: tuple[ProfileId, ...], *addresses: str
) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        key,
        EndpointState.ACTIVE,
        InterfaceName(f"cali{key.workload}"),
        None,
        profiles,
        tuple(ip_address(text) for text in addresses),
    )


def snapshot(*endpoints: WorkloadEndpoint) -> Snapshot:
    return Snapshot(
        Revision(7),
        tags={P: (RED,)},
        rules={P: FROM_RED},
        endpoints={each.key: each for each in endpoints},
    )


LOCAL = endpoint(endpoint_key(0), (P,), "10.0.0.1", "fd00::1")
REMOTE = endpoint(endpoint_key(0, OTHER), (Q, P), "10.0.0.2", "10.0.0.3")


def packed(*texts: str) -> set[bytes]:
    return {ip_address(text).packed for text in texts}


def stages(state: DesiredState, *profiles: ProfileId) -> tuple[object, ...]:
    return state.pipelines[PipelineKey(profiles, Direction.INBOUND)].stages


def test_nothing_gives_nothing() -> None:
    assert compile_host(Snapshot(), HOST) == DesiredState()


def test_host_gets_its_endpoints_and_the_addresses_of_all() -> None:
    state = compile_host(snapshot(LOCAL, REMOTE), HOST)
    assert state.revision == 7
    assert list(state.endpoints) == [LOCAL.key]
    assert state.tag_sets == {
        RED4: packed("10.0.0.1", "10.0.0.2", "10.0.0.3"),
        RED6: packed("fd00::1"),
    }
    assert list(state.profiles) == [P]
    assert stages(state, P) == (P,)
    assert state.routes == {
        address: Route(LOCAL.key, LOCAL.interface, None) for address in LOCAL.addresses
    }
    assert state.problems == {}


def test_inactive_endpoint_is_in_its_tags_and_nothing_else() -> None:
    state = compile_host(
        snapshot(
            LOCAL,
            replace(
                endpoint(endpoint_key(1), (Q, P), "10.0.0.9"),
                state=EndpointState.INACTIVE,
            ),
        ),
        HOST,
    )
    assert not state.endpoints[endpoint_key(1)].is_active
    assert {key.profiles for key in state.pipelines} == {(P,)}
    assert ip_address("10.0.0.9") not in state.routes
    assert state.tag_sets[RED4] == packed("10.0.0.1", "10.0.0.9")


def test_profile_listed_twice_counts_at_its_first_place() -> None:
    both = replace(snapshot(), rules={P: FROM_RED, Q: FROM_RED})
    both = replace(both, endpoints={LOCAL.key: replace(LOCAL, profile_ids=(Q, P, Q))})
    assert stages(compile_host(both, HOST), Q, P) == (Q, P)


def test_undecodable_tags_close_every_list_with_the_profile() -> None:
    two = replace(
        snapshot(replace(LOCAL, profile_ids=(P, Q)), REMOTE),
        tags={P: (RED,), Q: Undecodable("/q/tags", "why")},
        rules={P: FROM_RED, Q: FROM_RED},
    )
    state = compile_host(two, HOST)
    assert stages(state, P, Q) == (FaultOrigin(Q, Fault.UNDECODABLE_TAGS),)
    assert state.profiles == {}
    assert state.tag_sets == {}
    assert state.problems == {"/q/tags": "why"}


def test_labels_alone_let_a_profile_exist() -> None:
    bare = replace(snapshot(replace(LOCAL, profile_ids=(Q,))), labels={Q: {}})
    assert stages(compile_host(bare, HOST), Q) == (FaultOrigin(Q, Fault.NO_RULES),)


def test_refused_profile_denies_and_is_named() -> None:
    state = compile_host(snapshot(LOCAL), HOST, refused={P: "no memory"})
    assert stages(state, P) == (FaultOrigin(P, Fault.REFUSED_BY_KERNEL),)
    assert state.problems == {"profile P": "the kernel refused its rules: no memory"}


def test_undecodable_values_are_named_and_remote_endpoints_counted() -> None:
    given = replace(
        snapshot(LOCAL),
        tags={P: (RED,), Q: Undecodable("/q/tags", "a")},
        rules={P: FROM_RED, Q: Undecodable("/q/rules", "b")},
        labels={Q: Undecodable("/q/labels", "c")},
        pools={ip_network("10.0.0.0/8"): Undecodable("/pool", "d")},
        endpoints={
            LOCAL.key: LOCAL,
            endpoint_key(1): Undecodable("/local", "e"),
            endpoint_key(1, OTHER): BROKEN,
            endpoint_key(2, OTHER): BROKEN,
        },
        settings={SettingKey("WorkloadDns"): "?"},
    )
    state = compile_host(given, HOST)
    assert list(state.endpoints) == [LOCAL.key]
    assert dict(state.problems) == {
        "/q/tags": "a",
        "/q/rules": "b",
        "/q/labels": "c",
        "/pool": "d",
        "/local": "e",
        "endpoints of other hosts": "2 cannot be decoded and are in no tag",
        "setting WorkloadDns": "found `?`, expected true or false; false is used",
    }


@pytest.mark.parametrize("interface", ["eth0", "caliw0"])
def test_endpoint_left_out_for_its_interface_stays_in_its_tags(
    interface: str,
) -> None:
    other = replace(
        endpoint(endpoint_key(1), (P,), "10.0.0.9"), interface=InterfaceName(interface)
    )
    state = compile_host(snapshot(LOCAL, other), HOST)
    assert list(state.endpoints) == [LOCAL.key]
    assert list(state.problems) == ["endpoint namespace/w1/eth0"]
    assert state.tag_sets[RED4] == packed("10.0.0.1", "10.0.0.9")


def test_shared_address_keeps_both_endpoints() -> None:
    other = endpoint(endpoint_key(1), (P,), "10.0.0.1")
    state = compile_host(snapshot(other, LOCAL), HOST)
    assert set(state.endpoints) == {LOCAL.key, other.key}
    assert state.routes[ip_address("10.0.0.1")].endpoint == LOCAL.key
    assert list(state.problems) == ["address 10.0.0.1"]


def test_settings_and_pools_are_compiled() -> None:
    network = ip_network("10.0.0.0/8")
    given = replace(
        snapshot(),
        settings={SettingKey("DefaultEndpointToHostAction"): "RETURN"},
        pools={network: Pool(network, masquerade=True)},
    )
    state = compile_host(given, HOST)
    assert state.settings.endpoint_to_host is EndpointToHostAction.RETURN
    assert state.translation.sources.networks() == (network,)
