"""Packets between hosts whose network carries no workload's address."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_host import arrives, await_arrival, profile, rules
from overlay_cluster import Cluster, a_cluster

pytestmark = pytest.mark.system

ANY = rules(["allow"])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with a_cluster(tmp_path_factory.mktemp("overlay"), "a", "b") as made:
        yield made


def test_workloads_of_two_hosts_reach_each_other_as_policy_allows(
    cluster: Cluster,
) -> None:
    a, b = cluster.hosts["a"], cluster.hosts["b"]
    a.put(*profile("P", rules(["allow from tag P"])), *profile("Q", ANY))
    one, other = cluster.add_workload(a, "one", "P"), cluster.add_workload(b, "other", "P")
    third = cluster.add_workload(b, "third", "Q")
    for family in (4, 6):
        await_arrival(one, other, family)
        await_arrival(other, one, family)
        await_arrival(one, third, family)
        assert not arrives(third, one, family)
