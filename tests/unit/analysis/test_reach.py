import pytest
from analysed import addresses_in, states_of
from policies import endpoint, profile, snapshot

from calico.analysis.boxes import NOTHING, Region, canonical
from calico.analysis.parties import Outside
from calico.analysis.reach import Matrix, reach
from calico.analysis.space import every_header
from calico.model.endpoint import EndpointState
from calico.model.names import HostName
from calico.model.snapshot import Snapshot
from calico.netset import Family

OTHER = HostName("h2")
PORTS = ((0, 65535),)
EVERYTHING = every_header(Family.V4)
CLUSTER = snapshot(
    [
        endpoint("web", "WEB", "10.0.0.1"),
        endpoint("db", "DB", "10.0.0.2", host=OTHER),
        endpoint("shut", "DB GONE", "10.0.0.3"),
        endpoint("off", "WEB", "10.0.0.4", state=EndpointState.INACTIVE),
    ],
    {
        "WEB": profile(
            ["allow tcp to ports 80", "allow udp from cidr 192.0.2.0/24"],
            ["deny tcp to ports 22", "allow"],
        ),
        "DB": profile(
            [
                "deny tcp to cidr 10.9.0.0/16",
                "deny tcp to ports 23",
                "allow tcp from tag WEB to ports 20:30",
            ],
            ["allow to tag DB"],
        ),
    },
)


def tcp(*ports: tuple[int, int]) -> Region:
    return canonical([(((6, 6),), PORTS, ports)])


UDP: Region = ((((17, 17),), PORTS, PORTS),)
ALL_BUT_SSH = canonical(
    [
        *(box for box in EVERYTHING if box[0][0][0] != 6),
        *tcp((0, 21), (23, 65535)),
        *UDP,
    ]
)


def matrix(cluster: Snapshot, **bound: int) -> Matrix:
    return reach(states_of(cluster), addresses_in(cluster), Family.V4, **bound)


def cells(found: Matrix) -> dict[tuple[str, str], Region | None]:
    names = [
        str(p.members.network)
        if isinstance(p.members, Outside)
        else p.members[0].endpoint.workload
        for p in found.parties
    ]
    numbers = range(len(names))
    return {(names[i], names[j]): found.allowed(i, j) for i in numbers for j in numbers}


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        # Both sides: 22 is denied outbound, 23 inbound.
        ("web", "db", tcp((20, 21), (24, 30))),
        ("db", "web", NOTHING),
        ("web", "0.0.0.0/0", None),
        ("0.0.0.0/0", "web", tcp((80, 80))),
        ("0.0.0.0/0", "db", NOTHING),
        ("0.0.0.0/0", "192.0.2.0/24", NOTHING),
        (
            "192.0.2.0/24",
            "web",
            canonical([*tcp((80, 80)), *UDP]),
        ),
        # A fault denies what no profile before it decides.
        ("web", "shut", tcp((20, 21), (24, 30))),
        ("shut", "db", NOTHING),
    ],
)
def test_cell_is_what_both_sides_allow(
    source: str, destination: str, expected: Region | None
) -> None:
    found = cells(matrix(CLUSTER))[source, destination]
    if expected is None:
        expected = ALL_BUT_SSH
    assert found == expected


def test_inactive_endpoint_is_in_no_cell() -> None:
    assert not any("off" in pair for pair in cells(matrix(CLUSTER)))


def test_bound_leaves_a_cell_undecided_and_a_closed_side_closes_it() -> None:
    found = cells(matrix(CLUSTER, max_boxes=2))
    assert found["web", "db"] is None
    # Nothing leaves `shut` for outside, whatever the other side is.
    assert found["shut", "0.0.0.0/0"] == NOTHING


def test_two_sides_with_too_many_boxes_are_undecided() -> None:
    comb = ",".join(str(port) for port in range(1000, 1010, 2))
    many = profile(
        [f"allow tcp from ports {n} to ports {n}" for n in (1, 3, 5)],
        [f"allow tcp from ports {n} to ports {n},{comb}" for n in (1, 3, 5)],
    )
    ends = [endpoint("a", "P", "10.0.0.1"), endpoint("b", "P", "10.0.0.2")]
    cluster = snapshot(ends, {"P": many})
    assert cells(matrix(cluster, max_boxes=8))["a", "a"] is None
    assert cells(matrix(cluster))["a", "a"] is not None


def test_cluster_without_endpoints_has_outside_only() -> None:
    found = matrix(snapshot([], {}))
    assert len(found.parties) == 1
    assert isinstance(found.parties[0].members, Outside)
