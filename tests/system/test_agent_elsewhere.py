"""What happens elsewhere and concerns no policy here costs no commit here."""

import os
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest
from agent_host import Host, a_host, profile, rules, until

from calico.codec.keys import (
    bgp_address_key,
    bird_ip_key,
    encode_key,
    host_status_key,
    ipam_block_key,
)
from calico.linux.namespace import call_inside
from calico.linux.nft_events import Committed, NftEvents
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    WorkloadId,
)
from calico.model.snapshot import ProfileRulesKey, SettingKey
from calico.netset import Family
from calico.store.api import Operation, Put
from calico.store.host_status import read_live_hosts
from calico.store.resources import delete_resource, put_resource

pytestmark = pytest.mark.system

ELSEWHERE = HostName("elsewhere")
HERE = rules(["allow from tag NAMED"])
RULES = ProfileRulesKey(ProfileId("HERE"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with a_host(tmp_path_factory.mktemp("elsewhere") / "h1") as made:
        made.commit(*profile("HERE", HERE, "HERE"))
        made.commit(*profile("NAMED", rules(), "NAMED"))
        made.commit(*profile("FOREIGN", rules(["allow from tag FOREIGN"])))
        made.start()
        made.add_workload("one", "HERE")
        yield made


@pytest.fixture
def commits(host: Host) -> Iterator[NftEvents]:
    fd = os.open(host.space.path, os.O_RDONLY)
    try:
        events = call_inside(fd, NftEvents)
    finally:
        os.close(fd)
    yield events
    events.close()


def count(commits: NftEvents) -> int:
    """Count the commits to our table up to now; the kernel queues them itself."""
    n_commits = 0
    while seen := commits.read(0):
        n_commits += sum(isinstance(each, Committed) and each.is_ours for each in seen)
    return n_commits


def remote(number: int, *profiles: str, name: str = "cali0") -> WorkloadEndpoint:
    key = EndpointKey(
        ELSEWHERE,
        OrchestratorId("test"),
        WorkloadId(f"w{number}"),
        EndpointId(f"e{number}"),
    )
    return WorkloadEndpoint(
        key=key,
        state=EndpointState.ACTIVE,
        interface=InterfaceName(name),
        mac=None,
        profile_ids=tuple(ProfileId(each) for each in profiles),
        addresses=(ip_address("10.66.0.0") + number,),
    )


def put(endpoint: WorkloadEndpoint) -> Put:
    return put_resource(endpoint.key, endpoint)


def test_change_that_no_rule_here_names_makes_no_commit(
    host: Host, commits: NftEvents
) -> None:
    elsewhere: list[tuple[Operation, ...]] = [
        (put(remote(1, "FOREIGN")),),
        (put(remote(1, "FOREIGN", name="cali1")),),
        (put(remote(2, "UNKNOWN")),),
        (delete_resource(remote(1).key),),
        profile("FOREIGN", rules(["allow from tag OTHER", "deny"]), "FOREIGN", "MORE"),
        profile("FRESH", rules(["allow from tag NAMED"])),
        (put_resource(SettingKey("marker", ELSEWHERE), "created"),),
        (Put(bird_ip_key(ELSEWHERE), b"172.31.0.9"),),
    ]
    for operations in elsewhere:
        before = host.status().revision
        # Each is waited for: it is known here, and in force.
        host.put(*operations)
        assert host.status().revision > before
    assert count(commits) == 0
    host.put(put(remote(3, "NAMED")))
    assert count(commits) == 1
    # The same member under another interface is the same member.
    host.put(put(remote(3, "NAMED", name="cali1")))
    assert count(commits) == 0


def test_what_is_not_policy_does_not_even_reach_the_agent(
    host: Host, commits: NftEvents
) -> None:
    block = ip_network("10.66.0.0/26")
    before = host.status().revision
    host.commit(
        Put(ipam_block_key(block), b"{}"),
        Put(host_status_key(ELSEWHERE), b"{}"),
        Put(bgp_address_key(ELSEWHERE, Family.V4), b"172.31.0.9"),
    )
    host.settle()
    assert host.status().revision == before
    assert count(commits) == 0
    host.put(put(remote(4, "NAMED")))
    assert host.status().revision > before
    assert count(commits) == 1


def test_agent_of_a_large_cluster_waits_for_its_turn_to_tell_a_revision(
    host: Host,
) -> None:
    """So many hosts that no turn comes; then so few that all tell at once."""

    def told() -> int:
        status = read_live_hosts(host.store)[HostName(host.name)]
        assert status is not None
        return status.revision

    until(lambda: told() == host.status().revision, "the revision is told")
    before = told()
    names = [HostName(f"many{number}") for number in range(20_000)]
    keys = [SettingKey("marker", name) for name in names]
    # At once: a turn that was given to one of fewer hosts would still come.
    host.put(*(put_resource(key, "created") for key in keys))
    host.put(put(remote(5, "NAMED")))
    host.put(put(remote(6, "NAMED")))
    assert told() == before < host.status().revision
    host.put(Put(encode_key(RULES), b"{"))
    until(lambda: told() > before, "a problem is told at once")
    host.put(*(delete_resource(key) for key in keys))
    host.put(*profile("HERE", HERE, "HERE"))
    host.put(put(remote(7, "NAMED")))
    until(lambda: told() == host.status().revision, "each revision is told again")
