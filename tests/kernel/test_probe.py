"""Probes on a host with a real agent: sent, followed, and held to the evaluator."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest
from agent_host import (
    Address,
    Host,
    Namespace,
    Prober,
    a_host,
    namespace,
    profile,
    rules,
    until,
)

from calico.compiler.host import compile_host
from calico.ir.packet import Elsewhere, Packet
from calico.ir.packet import Place as End
from calico.linux.namespace import NamespaceMissing, call_inside, open_namespace
from calico.linux.nft_followed import TABLE_PREFIX
from calico.linux.nft_path import PathEnd
from calico.linux.nft_trace import TraceVerdict
from calico.linux.nft_tracer import Tracer
from calico.model.endpoint import EndpointState
from calico.model.errors import NotPermitted
from calico.model.names import HostName
from calico.model.rule import Protocol
from calico.probe.errors import AddressMissing, PortInUse
from calico.probe.exchange import Exchange
from calico.probe.run import run_probe
from calico.probe.values import Arrival, Place, Probe, ProbeResult, Reply
from calico.store.resources import read_snapshot
from calico.verdict.evaluate import evaluate
from calico.verdict.trace import Trace

pytestmark = pytest.mark.kernel

DEADLINE_S = 20.0
HOST4, HOST6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
OUTSIDE4, OUTSIDE6 = ip_address("192.0.2.2"), ip_address("2001:db8::2")
NOBODY4 = ip_address("192.0.2.99")
STRAY4, STRAY6 = ip_address("10.99.0.1"), ip_address("fd99::1")
TCP, UDP, ICMP, ICMPV6 = Protocol

DB = rules(
    inbound=[
        "deny tcp to ports 81",
        "allow tcp from tag WEB to ports 80,90:99",
        "deny udp from ports 4000 to ports 53",
        "allow udp to ports 53,5353",
        "deny icmp type 13",
        "allow icmp type 8",
        "allow icmp type 15",
        "allow icmpv6 type 128",
        "allow icmpv6 type 200 code 3",
    ]
)
WEB = rules(outbound=["deny tcp to ports 99", "deny udp to ports 99", "allow"])


@dataclass
class Site:
    """A host, its workloads and one namespace beyond it."""

    host: Host
    outside: Namespace

    def send(self, probe: Probe, deadline_s: float = DEADLINE_S) -> ProbeResult:
        return run_probe(probe, deadline_s, host=Place(self.host.space.path))

    def place(self, name: str) -> Place:
        if name == "host":
            return Place(self.host.space.path)
        if name == "outside":
            return Place(self.outside.path)
        return Place(self.host.workloads[name].space.path)

    def address(self, name: str, family: int) -> Address:
        if name in {"host", "outside"}:
            both = (HOST4, HOST6) if name == "host" else (OUTSIDE4, OUTSIDE6)
            return both[family == 6]
        workload = self.host.workloads[name]
        return workload.ipv4 if family == 4 else workload.ipv6

    def probe(
        self, way: str, protocol: Protocol, port: int = 0, family: int = 4
    ) -> Probe:
        source, _, destination = way.partition(" to ")
        return Probe(
            self.place(source),
            self.place(destination),
            self.address(destination, family),
            protocol,
            port,
        )

    def end(self, name: str) -> End:
        if name in self.host.workloads:
            return self.host.key(self.host.workloads[name])
        return Elsewhere.OWN_HOST if name == "host" else Elsewhere.OUTSIDE

    def explain(self, way: str, result: ProbeResult) -> Trace:
        """Evaluate the packet that was sent under what the store holds."""
        source, _, destination = way.partition(" to ")
        flow = result.flow
        assert flow is not None, result
        sender = self.host.workloads.get(source)
        packet = Packet(
            self.end(source),
            self.end(destination),
            flow.source,
            flow.destination,
            result.probe.protocol.number,
            b"" if sender is None else bytes.fromhex(sender.mac.replace(":", "")),
            flow.source_port,
            flow.destination_port,
            flow.icmp_type,
            flow.icmp_code,
        )
        snapshot = read_snapshot(self.host.store)
        return evaluate(compile_host(snapshot, HostName(self.host.name)), packet)

    def tables(self) -> set[str]:
        lines = self.host.space.run("nft", "list", "tables").splitlines()
        return {line.removeprefix("table ") for line in lines}

    @contextmanager
    def foreign_table(self, chain: str) -> Generator[None]:
        """Let another program have a table for a while."""
        text = f"table inet other {{ chain theirs {{ {chain} }}; }}"
        self.host.space.run("nft", "-f", "-", text=text)
        try:
            yield
        finally:
            self.host.space.run("nft", "delete", "table", "inet", "other")


def flows_of(space: Namespace) -> str:
    """List what connection tracking knows, of both families."""
    both = (space.run("conntrack", "-L", "-f", f) for f in ("ipv4", "ipv6"))
    return "".join(both)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        host = stack.enter_context(a_host(tmp_path_factory.mktemp("probe") / "h1"))
        outside = stack.enter_context(namespace())
        connect(host, outside)
        host.commit(*profile("WEB", WEB), *profile("DB", DB))
        host.start()
        host.add_workload("web", "WEB")
        host.add_workload("db", "DB")
        idle = host.add_workload("idle", "DB")
        host.put(host.endpoint(idle, "DB", state=EndpointState.INACTIVE))
        astray = host.add_workload("astray", "WEB")
        wrong = ("lladdr", "02:00:00:00:00:99", "dev", "eth0")
        astray.space.run("ip", "neigh", "replace", "169.254.1.1", *wrong)
        yield Site(host, outside)


def connect(host: Host, outside: Namespace) -> None:
    """Give the host an uplink, and what is beyond it a way back."""
    peer = ("peer", "name", "eth0", "netns", str(outside.pid))
    host.space.run("ip", "link", "add", "uplink", "type", "veth", *peer)
    for space, device, both in (
        (host.space, "uplink", (HOST4, HOST6)),
        (outside, "eth0", (OUTSIDE4, OUTSIDE6)),
    ):
        space.run("ip", "link", "set", device, "up")
        space.run("ip", "addr", "add", f"{both[0]}/24", "dev", device)
        space.run("ip", "addr", "add", f"{both[1]}/64", "dev", device, "nodad")
    outside.run("ip", "route", "add", "default", "via", f"{HOST4}")
    outside.run("ip", "-6", "route", "add", "default", "via", f"{HOST6}")


FORWARDED = [
    (TCP, 80, True),
    (TCP, 95, True),
    (TCP, 81, False),
    (TCP, 82, False),
    (TCP, 99, False),
    (UDP, 53, True),
    (UDP, 54, False),
    (UDP, 99, False),
]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("protocol", "port", "allowed"), FORWARDED)
def test_kernel_and_evaluator_name_the_same_rule(
    site: Site, protocol: Protocol, port: int, family: int, *, allowed: bool
) -> None:
    way = "web to db"
    result = site.send(site.probe(way, protocol, port, family))
    agrees(result, site.explain(way, result), allowed=allowed)


@pytest.mark.parametrize(
    ("protocol", "icmp", "allowed"),
    [
        (ICMP, (None, 0), True),
        (ICMP, (13, 0), False),
        (ICMP, (15, 0), True),
        (ICMP, (8, 1), True),
        (ICMPV6, (None, 0), True),
        (ICMPV6, (129, 0), False),
        (ICMPV6, (200, 3), True),
        (ICMPV6, (200, 4), False),
    ],
)
def test_icmp_of_any_type_and_code_is_followed(
    site: Site, protocol: Protocol, icmp: tuple[int | None, int], *, allowed: bool
) -> None:
    way, family = "web to db", 4 if protocol is ICMP else 6
    plain = site.probe(way, protocol, family=family)
    result = site.send(replace(plain, icmp_type=icmp[0], icmp_code=icmp[1]))
    agrees(result, site.explain(way, result), allowed=allowed)
    is_answered = allowed and (icmp[0] is None or icmp[0] == 8)
    assert (result.reply is Reply.ANSWERED) == is_answered


def agrees(result: ProbeResult, trace: Trace, *, allowed: bool) -> None:
    """Hold wire, kernel and evaluator to each other and to what is expected."""
    path = result.path
    assert path is not None, result
    assert path.allowed is trace.allowed is allowed, (result, trace)
    assert path.origin == trace.origin.text
    assert result.arrival is (Arrival.ARRIVED if allowed else Arrival.MISSING), result
    assert (path.end is PathEnd.DROPPED) is not allowed
    assert not result.limits
    if result.probe.protocol.has_ports and allowed:
        assert result.reply is Reply.ANSWERED


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("way", "port", "allowed"),
    [
        ("web to host", 53, True),
        ("web to host", 54, True),
        ("web to host", 99, False),
        ("web to outside", 53, True),
        ("web to outside", 99, False),
        ("outside to db", 53, True),
        ("outside to db", 54, False),
    ],
)
def test_datagram_between_workload_and_host_or_outside_is_followed(
    site: Site, way: str, port: int, family: int, *, allowed: bool
) -> None:
    result = site.send(site.probe(way, UDP, port, family))
    agrees(result, site.explain(way, result), allowed=allowed)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("port", [53, 54])
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_host_reaches_its_workloads_without_a_rule(
    site: Site, protocol: Protocol, port: int, family: int
) -> None:
    result = site.send(site.probe("host to db", protocol, port, family))
    assert site.explain("host to db", result).allowed
    assert result.arrival is Arrival.ARRIVED
    assert result.path is not None
    assert (result.path.allowed, result.path.origin) == (True, "")
    assert [each.chain for each in result.path.chains] == ["output"]
    assert result.path.exit_interface == "calidb"


def test_pinhole_is_named(site: Site) -> None:
    result = site.send(site.probe("web to host", UDP, 53))
    assert result.path is not None
    assert result.path.origin == "workload DNS to the host"
    assert result.path.end is PathEnd.DELIVERED


@pytest.mark.parametrize(("family", "stray"), [(4, STRAY4), (6, STRAY6)])
def test_stolen_source_is_dropped_by_the_source_check(
    site: Site, family: int, stray: Address
) -> None:
    web = site.host.workloads["web"]
    length = stray.max_prefixlen
    options = ("nodad",) if family == 6 else ()
    web.space.run("ip", "addr", "add", f"{stray}/{length}", "dev", "eth0", *options)
    try:
        honest = site.probe("web to db", TCP, 80, family)
        honest = replace(honest, source_address=site.address("web", family))
        stolen = site.send(replace(honest, source_address=stray))
        control = site.send(honest)
    finally:
        web.space.run("ip", "addr", "del", f"{stray}/{length}", "dev", "eth0")
    agrees(stolen, site.explain("web to db", stolen), allowed=False)
    assert stolen.path is not None
    assert stolen.path.origin == "source check of test/web/web"
    assert stolen.path.chains[-1].point == "prerouting"
    agrees(control, site.explain("web to db", control), allowed=True)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("way", ["web to idle", "idle to db", "host to idle"])
def test_inactive_endpoint_is_named(site: Site, way: str, family: int) -> None:
    # It has no route of ours; with one, the packet gets as far as our table.
    idle = site.host.workloads["idle"]
    address = idle.ipv4 if family == 4 else idle.ipv6
    words = ("route", "replace", f"{address}", "dev", idle.interface)
    site.host.space.run("ip", f"-{family}", *words)
    result = site.send(site.probe(way, UDP, 53, family))
    trace = site.explain(way, result)
    assert result.path is not None, result
    assert result.path.allowed is trace.allowed is False
    assert result.path.origin == trace.origin.text == "inactive endpoint test/idle/idle"
    assert result.arrival is Arrival.MISSING


DROPS = "type filter hook forward priority 10; udp dport 53 drop;"
EARLY = "type filter hook prerouting priority -310; udp dport 53 drop;"
REJECTS = "type filter hook forward priority 10; tcp dport 80 reject with tcp reset;"
POLICY = "type filter hook forward priority 10; policy drop;"


@pytest.mark.parametrize(
    ("chain", "protocol", "port", "allowed"),
    [
        (DROPS, UDP, 53, True),
        (POLICY, UDP, 53, True),
        (REJECTS, TCP, 80, True),
        (EARLY, UDP, 53, None),
    ],
    ids=["rule", "policy", "reject", "before ours"],
)
def test_foreign_drop_is_reported_by_name_and_is_no_verdict_of_ours(
    site: Site, chain: str, protocol: Protocol, port: int, *, allowed: bool | None
) -> None:
    probe = site.probe("web to db", protocol, port)
    with site.foreign_table(chain):
        result = site.send(probe)
    control = site.send(probe)
    assert result.arrival is Arrival.MISSING
    assert result.path is not None
    assert result.path.allowed is allowed
    foreign = result.path.foreign_drop
    assert foreign is not None
    assert foreign.name == "inet other theirs"
    assert foreign.verdict is TraceVerdict.DROP
    agrees(control, site.explain("web to db", control), allowed=True)


def test_drop_by_the_workloads_own_rules_is_told_apart(site: Site) -> None:
    db = site.host.workloads["db"].space
    rule = "type filter hook input priority 0; udp dport 53 drop;"
    db.run("nft", "-f", "-", text=f"table inet own {{ chain theirs {{ {rule} }}; }}")
    try:
        result = site.send(site.probe("web to db", UDP, 53))
    finally:
        db.run("nft", "delete", "table", "inet", "own")
    assert result.arrival is Arrival.MISSING
    assert result.path is not None
    assert (result.path.end, result.path.allowed) == (PathEnd.LEFT, True)
    assert result.limits == (
        "the packet left this host, and its destination did not see it",
    )


def test_foreign_drop_of_answers_leaves_the_packet_arrived(site: Site) -> None:
    chain = "type filter hook forward priority 10; udp sport 53 drop;"
    with site.foreign_table(chain):
        result = site.send(site.probe("web to db", UDP, 53))
    assert (result.arrival, result.reply) == (Arrival.ARRIVED, Reply.NONE)
    assert result.path is not None
    assert result.path.allowed is True


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_packet_with_a_translated_source_arrives(
    site: Site, protocol: Protocol
) -> None:
    probe = site.probe("web to outside", protocol, 53)
    with site.foreign_table("type nat hook postrouting priority 90; masquerade;"):
        result = site.send(probe)
        agrees(result, site.explain("web to outside", result), allowed=True)
    assert result.flow is not None
    assert f"sport={result.flow.source_port} " not in flows_of(site.host.space)


def test_answer_by_the_host_in_place_of_the_destination_is_no_arrival(
    site: Site,
) -> None:
    chain = (
        "type nat hook prerouting priority -90;"
        f" ip saddr {site.address('web', 4)} tcp dport 80 dnat ip to {HOST4}:8080;"
    )
    listening = site.host.space.open_socket(
        lambda: socket.create_server((str(HOST4), 8080))
    )
    probe = site.probe("web to db", TCP, 80)
    with listening, site.foreign_table(chain):
        result = site.send(probe)
    control = site.send(probe)
    assert (result.arrival, result.reply) == (Arrival.MISSING, Reply.ANSWERED)
    assert result.path is not None
    assert result.path.end is PathEnd.DELIVERED
    agrees(control, site.explain("web to db", control), allowed=True)


def test_packet_of_an_earlier_flow_is_still_new(site: Site) -> None:
    port = 45678
    probe = replace(site.probe("web to db", UDP, 53), source_port=port)
    first = site.send(probe)
    # The answer that a deny would let pass as established.
    turned = replace(site.probe("db to web", UDP, port), source_port=53)
    other = site.send(turned)
    for way, result in (("web to db", first), ("db to web", other)):
        assert result.path is not None
        assert result.path.origin == site.explain(way, result).origin.text
        assert result.path.origin != "established flow"


def test_source_port_can_be_chosen_and_decides(site: Site) -> None:
    plain = site.probe("web to db", UDP, 53)
    for port, allowed in ((4000, False), (4001, True)):
        result = site.send(replace(plain, source_port=port))
        assert result.flow is not None
        assert result.flow.source_port == port
        agrees(result, site.explain("web to db", result), allowed=allowed)


@pytest.mark.parametrize("family", [4, 6])
def test_service_in_use_is_used_and_a_datagram_seen_without_it(
    site: Site, family: int
) -> None:
    db = site.host.workloads["db"]
    kind = socket.AF_INET if family == 4 else socket.AF_INET6

    def serve(number: int, port: int) -> socket.socket:
        made = socket.socket(kind, number)
        made.bind(("", port))
        return made

    with (
        db.space.open_socket(lambda: serve(socket.SOCK_STREAM, 91)) as listening,
        db.space.open_socket(lambda: serve(socket.SOCK_STREAM, 92)),
        db.space.open_socket(lambda: serve(socket.SOCK_DGRAM, 5353)) as service,
    ):
        listening.listen()
        answered = site.send(site.probe("web to db", TCP, 91, family))
        refused = site.send(site.probe("web to db", TCP, 92, family))
        taken = site.send(site.probe("web to db", UDP, 5353, family))
        denied = site.send(site.probe("outside to db", TCP, 91, family))
        service.settimeout(DEADLINE_S)
        assert service.recv(64)
    assert (answered.arrival, answered.reply) == (Arrival.ARRIVED, Reply.ANSWERED)
    assert (refused.arrival, refused.reply) == (Arrival.ARRIVED, Reply.REFUSED)
    assert (taken.arrival, taken.reply) == (Arrival.ARRIVED, Reply.NONE)
    assert taken.limits == ("port 5353 is in use there: no answer was awaited",)
    assert denied.arrival is Arrival.MISSING


def test_beyond_this_host_only_an_answer_is_proof(site: Site) -> None:
    beyond = replace(site.probe("web to outside", UDP, 53), destination=None)
    silent = site.send(replace(beyond, address=NOBODY4))
    assert silent.arrival is Arrival.UNOBSERVED
    assert silent.limits == ("what happens beyond this host cannot be observed",)
    assert silent.path is not None
    assert (silent.path.allowed, silent.path.end) == (True, PathEnd.LEFT)
    assert silent.path.exit_interface == "uplink"
    assert site.send(replace(beyond, port=99)).arrival is Arrival.MISSING
    refused = site.send(replace(beyond, protocol=TCP, port=80))
    assert (refused.arrival, refused.reply) == (Arrival.ARRIVED, Reply.REFUSED)
    echo = site.send(replace(beyond, protocol=ICMP, port=0))
    assert (echo.arrival, echo.reply) == (Arrival.ARRIVED, Reply.ANSWERED)


def test_packet_that_never_comes_by_says_so(site: Site) -> None:
    result = site.send(site.probe("astray to db", TCP, 80), 0.5)
    assert (result.arrival, result.path) == (Arrival.MISSING, None)
    assert result.limits == ("the packet did not come by the hooks of the host",)


@pytest.mark.parametrize("family", [4, 6])
def test_flood_from_the_same_sender_does_not_hide_the_probe(
    site: Site, family: int
) -> None:
    web, target = site.host.workloads["web"], site.address("db", family)
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    sending_from = web.space.open_socket(lambda: socket.socket(kind, socket.SOCK_DGRAM))
    with closing(Exchange()) as exchange, sending_from as flood:
        probe = site.probe("web to db", UDP, 53, family)
        sending = exchange.prepare(probe)
        assert probe.destination is not None
        exchange.observe(sending, probe.destination)
        for _ in range(5000):
            flood.sendto(b"more than the queue of a socket holds", (str(target), 5353))
        exchange.speak(sending)
        exchange.wait(DEADLINE_S, lambda: sending.is_settled)
        exchange.wait(1.0, lambda: sending.has_arrived)
    assert sending.reply is Reply.ANSWERED
    assert sending.has_arrived


def test_packet_to_oneself_never_leaves(site: Site) -> None:
    result = site.send(site.probe("web to web", UDP, 53))
    assert (result.arrival, result.reply) == (Arrival.ARRIVED, Reply.ANSWERED)
    assert result.path is None
    trace = site.explain("web to web", result)
    assert trace.origin.text == "never leaves the workload"


def test_rule_that_came_while_tracing_is_named(site: Site) -> None:
    host = site.host
    late = host.add_workload("late", "DB")
    with open_namespace(host.space.path) as number:
        tracer = call_inside(number, Tracer)
    with closing(tracer), closing(Exchange()) as exchange:
        host.put(*profile("LATE", rules(["allow udp"])), host.endpoint(late, "LATE"))
        sending = exchange.prepare(site.probe("web to late", UDP, 77))
        assert sending.flow is not None
        tracer.start(sending.flow, UDP.number)
        exchange.watch(tracer.fileno(), tracer.read)
        exchange.speak(sending)
        exchange.wait(DEADLINE_S, lambda: tracer.has_ended)
        path = tracer.path()
    assert path is not None
    assert path.origin == "profile LATE inbound rule 1"


def test_packet_without_a_route_is_lost_behind_a_hook(site: Site) -> None:
    probe = site.probe("web to outside", UDP, 53)
    probe = replace(probe, destination=None, address=ip_address("203.0.113.1"))
    result = site.send(probe)
    assert result.arrival is Arrival.MISSING
    assert result.fault == "Network is unreachable"
    assert result.path is not None
    assert (result.path.end, result.path.allowed) == (PathEnd.LOST, None)
    assert "behind hook prerouting" in result.limits[0]


def test_probes_leave_nothing_behind(site: Site) -> None:
    ways = [
        site.probe("web to db", protocol, port, family)
        for protocol, port in ((TCP, 80), (TCP, 81), (UDP, 53), (UDP, 54))
        for family in (4, 6)
    ]
    ways += [site.probe("web to db", ICMP), site.probe("web to db", ICMPV6, family=6)]
    ways += [site.probe("web to host", UDP, 53), site.probe("host to db", TCP, 80)]
    for probe in ways:
        fixed = 20123 if probe.protocol.has_ports else 0
        for _ in range(2):
            assert site.send(replace(probe, source_port=fixed)).flow is not None
    assert site.tables() == {"inet calico"}
    for space in (site.host.space, *(w.space for w in site.host.workloads.values())):
        assert "sport=20123" not in flows_of(space)
        assert "icmp" not in flows_of(space)
        assert "20123" not in space.run("ss", "-Htuna")


def test_killed_prover_takes_its_table_along(site: Site) -> None:
    web, db = site.host.workloads["astray"], site.host.workloads["db"]
    script = (
        "from calico.probe.run import run_probe\n"
        "from calico.probe.values import *\n"
        "from ipaddress import ip_address\n"
        f"probe = Probe(Place({web.space.path!r}), Place({db.space.path!r}),"
        f" ip_address('{db.ipv4}'), Protocol.UDP, 53)\n"
        "run_probe(probe, 600)\n"
    )
    argv = ["nsenter", f"--net={site.host.space.path}", sys.executable, "-I", "-c"]
    with subprocess.Popen([*argv, script]) as prover:
        try:
            until(lambda: any(TABLE_PREFIX in each for each in site.tables()), "table")
            assert prover.poll() is None
        finally:
            prover.kill()
    until(lambda: site.tables() == {"inet calico"}, "the table goes")


def test_concurrent_probes_and_traffic_do_not_mix_up(site: Site) -> None:
    web, db = site.host.workloads["web"], site.host.workloads["db"]
    wanted = [
        (replace(site.probe("web to db", protocol, port, family), source_port=start))
        for start, (protocol, port, family) in enumerate(
            [(p, n, f) for p, n, _ in FORWARDED for f in (4, 6)]
            + [(ICMP, 0, 4), (ICMPV6, 0, 6), (UDP, 53, 4), (UDP, 99, 4)],
            start=41000,
        )
    ]
    assert len(wanted) == 20
    with Prober(web, db, port=5353) as traffic, ThreadPoolExecutor(len(wanted)) as pool:
        traffic.pass_more()
        results = list(pool.map(site.send, wanted))
        traffic.pass_more()
    for probe, result in zip(wanted, results, strict=True):
        trace = site.explain("web to db", result)
        assert result.probe == probe
        assert result.path is not None, result
        assert result.path.allowed is trace.allowed, (result, trace)
        assert result.path.origin == trace.origin.text
        assert (result.arrival is Arrival.ARRIVED) == trace.allowed
        assert len([c for c in result.path.chains if c.point == "prerouting"]) == 1
    assert {r.path.allowed for r in results if r.path} == {True, False}
    assert site.tables() == {"inet calico"}


def test_namespace_that_is_gone_is_named(site: Site) -> None:
    with namespace() as gone:
        lost = Place(gone.path)
    probe = site.probe("web to db", TCP, 80)
    for wrong in (replace(probe, source=lost), replace(probe, destination=lost)):
        with pytest.raises(NamespaceMissing, match="does not exist"):
            site.send(wrong)
    assert site.tables() == {"inet calico"}


def test_address_that_a_place_lacks_is_named(site: Site) -> None:
    probe = site.probe("web to db", TCP, 80)
    with pytest.raises(AddressMissing, match=r"not have the address 10\.99\.0\.1"):
        site.send(replace(probe, source_address=STRAY4))
    with pytest.raises(AddressMissing, match=r"not have the address 10\.99\.0\.1"):
        site.send(replace(probe, address=STRAY4))
    with namespace() as bare:
        probe = replace(probe, source=Place(bare.path), destination=None)
        for each in (probe, replace(probe, address=ip_address("2001:db8::7"))):
            with pytest.raises(AddressMissing, match=r"has no IPv. address"):
                site.send(each)


def test_source_port_in_use_is_named(site: Site) -> None:
    web = site.host.workloads["web"]

    def bound() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("", 40777))
        return made

    probe = replace(site.probe("web to db", UDP, 53), source_port=40777)
    with web.space.open_socket(bound), pytest.raises(PortInUse, match="40777"):
        site.send(probe)
    assert site.send(probe).arrival is Arrival.ARRIVED


def test_probe_without_the_right_changes_nothing(site: Site) -> None:
    probe = site.probe("web to db", TCP, 80)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            run_probe(probe)
            text = "sent"
        except BaseException as error:  # noqa: BLE001 -- told to the parent
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    assert said.startswith(NotPermitted.__name__), said
    assert "run as root, or with CAP_NET_ADMIN" in said
    assert site.tables() == {"inet calico"}
