import time
from ipaddress import ip_address

from cases import key_of

from calico.agent.drop_log import MAX_KEPT, DropLog
from calico.agent.drop_names import DropNames
from calico.agent.events import Asked, Dropped
from calico.control.drops import Drop, Drops, decode_drops
from calico.control.protocol import Method, Request
from calico.ir.drop_name import DropName, OfInterface
from calico.ir.origin import Fault, FaultOrigin, Fixed, FixedOrigin, RuleOrigin
from calico.ir.state import DesiredState, LocalEndpoint, Pipeline, PipelineKey
from calico.linux.nflog import LoggedPacket
from calico.linux.packet_headers import PacketHeaders
from calico.model.names import InterfaceName, ProfileId
from calico.model.rule import Direction
from calico.render.objects import HookPoint

GONE = ProfileId("GONE")
AT = "2026-01-02T03:04:05.678Z"
IN, OUT = Direction.INBOUND, Direction.OUTBOUND
ENDPOINT = LocalEndpoint(
    key=key_of(1),
    interface=InterfaceName("cali1"),
    mac=None,
    is_active=True,
    profiles=(GONE,),
    addresses=(),
)
FAULT = FaultOrigin(GONE, Fault.MISSING)
KEY = PipelineKey((GONE,), IN)
STATE = DesiredState(
    endpoints={ENDPOINT.key: ENDPOINT},
    pipelines={KEY: Pipeline(KEY, (FAULT,), RuleOrigin(GONE, IN, 7))},
)
HEADERS = PacketHeaders(ip_address("10.0.0.1"), ip_address("10.0.0.2"), 6, 4242, 80)
INVALID = DropName(IN, FixedOrigin(Fixed.INVALID))
FAR = 1e9


def packet(
    name: DropName, headers: PacketHeaders = HEADERS, n_lost: int = 0
) -> LoggedPacket:
    return LoggedPacket(
        prefix=name.prefix,
        hook=HookPoint.FORWARD,
        in_interface="cali0",
        out_interface="cali1",
        sender_mac=b"",
        headers=headers,
        n_lost=n_lost,
    )


class Scene:
    """A log with what it answers."""

    def __init__(self) -> None:
        self.log = DropLog()
        self.names = DropNames(lambda: STATE, lambda: STATE.endpoints)
        self.answers: list[Drops] = []

    def drop(self, *packets: LoggedPacket) -> None:
        self.log.take(Dropped(AT, packets), self.names)

    def ask(self, since: int, timeout_s: float = 0.0) -> None:
        request = Request(Method.DROPS, since=since, timeout_s=timeout_s)
        asked = Asked(request, lambda line: self.answers.append(decode_drops(line)))
        self.log.take_request(asked)


def test_drop_is_told_with_all_that_is_known_of_it() -> None:
    scene = Scene()
    scene.drop(packet(DropName(IN, FAULT), n_lost=3))
    assert scene.log.since(0) == (
        Drop(
            sequence=1,
            at=AT,
            direction="inbound",
            reason="unusable profile",
            rule="profile GONE does not exist",
            profile="GONE",
            interface="cali1",
            orchestrator="namespace",
            workload="w1",
            endpoint="e1",
            source="10.0.0.1",
            destination="10.0.0.2",
            protocol=6,
            source_port=4242,
            destination_port=80,
            n_lost=3,
        ),
    )


def test_rule_is_told_by_profile_and_number() -> None:
    scene = Scene()
    scene.drop(packet(DropName(IN, RuleOrigin(GONE, IN, 7))))
    (drop,) = scene.log.since(0)
    assert (drop.profile, drop.number) == ("GONE", 7)


def test_sender_is_judged_in_outbound_and_may_be_nobody() -> None:
    scene = Scene()
    scene.drop(packet(DropName(OUT, OfInterface.SOURCE_CHECK), PacketHeaders()))
    (drop,) = scene.log.since(0)
    assert (drop.interface, drop.endpoint, drop.rule) == ("cali0", "", "")
    assert (drop.source, drop.destination, drop.protocol) == ("", "", None)
    assert drop.reason == "spoofed source"


def test_packet_of_an_unknown_name_counts_as_lost() -> None:
    scene = Scene()
    unknown = DropName(OUT, RuleOrigin(GONE, OUT, 99))
    scene.drop(packet(unknown), packet(unknown, n_lost=2), packet(INVALID))
    scene.drop(packet(INVALID))
    assert [(d.sequence, d.n_lost) for d in scene.log.since(0)] == [(1, 4), (2, 0)]


def test_ring_keeps_the_newest() -> None:
    scene = Scene()
    scene.drop(*[packet(INVALID)] * (MAX_KEPT + 5))
    kept = scene.log.since(0)
    assert len(kept) == MAX_KEPT
    assert kept[-1].sequence == MAX_KEPT + 5
    assert scene.log.since(3) == kept
    assert [d.sequence for d in scene.log.since(MAX_KEPT + 3)] == [
        MAX_KEPT + 4,
        MAX_KEPT + 5,
    ]
    assert scene.log.since(MAX_KEPT + 5) == ()


def test_number_of_an_agent_before_us_means_all() -> None:
    scene = Scene()
    scene.drop(packet(INVALID))
    assert len(scene.log.since(70)) == 1
    assert len(scene.log.since(-1)) == 1


def test_question_waits_for_the_next_drop() -> None:
    scene = Scene()
    scene.drop(packet(INVALID))
    scene.ask(1, timeout_s=60.0)
    assert scene.log.next_due() is not None
    scene.log.settle(time.monotonic())
    assert scene.answers == []
    scene.drop(packet(INVALID))
    scene.log.settle(time.monotonic())
    (answer,) = scene.answers
    assert (answer.newest, [d.sequence for d in answer.drops]) == (2, [2])
    assert scene.log.next_due() is None


def test_question_is_answered_when_its_time_is_over() -> None:
    scene = Scene()
    scene.ask(0)
    scene.log.settle(FAR)
    assert scene.answers == [Drops(0)]


def test_silence_is_explained_by_the_kernel_before_the_setting() -> None:
    scene = Scene()
    for _ in range(2):
        scene.ask(0)
        scene.log.settle(FAR)
        scene.log.note_setting(is_on=False)
    scene.log.note_deaf("no nfnetlink_log")
    scene.ask(0)
    scene.log.settle(FAR)
    silences = [each.silence for each in scene.answers]
    assert silences == ["", "the setting DropLog is false", "no nfnetlink_log"]
