"""A desired state gets into the kernel, however little fits into one send."""

import logging
import os
import random
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address

import pytest
from agent_host import rules
from namespaces import in_new_netns

from calico.agent.dataplane import Dataplane, Ownership
from calico.agent.journal import Journal
from calico.agent.uses import Uses
from calico.compiler.incremental import HostCompiler
from calico.ir.delta import Delta
from calico.linux.netfilter import NetlinkSocket
from calico.linux.nft_read import KernelChain
from calico.linux.nft_socket import NftSocket
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.errors import BatchTooLarge, KernelRejected
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    Revision,
    TagName,
    WorkloadId,
)
from calico.model.snapshot import ProfileRulesKey, ProfileTagsKey, SettingKey
from calico.render.transaction import AddRule, Step

pytestmark = pytest.mark.kernel

HOST = HostName("here")
SEND_BYTES = 32_000


class Refusing(NftSocket):
    """A socket to a kernel that refuses the rules of one profile."""

    refused = ""

    def commit(self, steps: Sequence[Step]) -> None:
        for number, step in enumerate(steps):
            is_refused = isinstance(step, AddRule) and step.chain.endswith(self.refused)
            if self.refused and is_refused:
                raise KernelRejected(f"rule of {self.refused}", 22, "refused", number)
        super().commit(steps)


class Scene:
    """A compiler and our table, in the current namespace."""

    def __init__(
        self, *, send_bytes: int | None = None, kind: type[Refusing] = Refusing
    ) -> None:
        self.nft = kind(NetlinkSocket.open(), "calico")
        self.nft.create_table(owned=False)
        if send_bytes is not None:
            with socket.socket(fileno=os.dup(self.nft.fileno())) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes // 2)
        journal = Journal(logging.getLogger("calico.test"))
        self.dataplane = Dataplane(self.nft, journal, Ownership.SHARED)
        self.compiler = HostCompiler(HOST)
        self.uses = Uses()

    def profile(self, name: str, inbound: Sequence[str], *tags: str) -> None:
        named = ProfileId(name)
        carried = tuple(TagName(tag) for tag in tags or (name,))
        put = self.compiler.set_resource
        put(ProfileTagsKey(named), carried, Revision(1))
        put(ProfileRulesKey(named), rules(inbound), Revision(1))

    def endpoint(self, number: int, profile: str, host: HostName = HOST) -> None:
        key = EndpointKey(
            host,
            OrchestratorId("o"),
            WorkloadId(f"w{number}"),
            EndpointId(f"e{number}"),
        )
        made = WorkloadEndpoint(
            key=key,
            state=EndpointState.ACTIVE,
            interface=InterfaceName(f"cali{number}"),
            mac=None,
            profile_ids=(ProfileId(profile),),
            addresses=(IPv4Address(0x0A000000 + number),),
        )
        self.compiler.set_resource(key, made, Revision(1))

    def begin(self) -> int:
        self.compiler.turn()
        n_steps = self.dataplane.repair_or_refuse(self.compiler)
        self.uses = Uses.of(self.compiler.state())
        return n_steps

    def turn(self) -> bool:
        delta = self.compiler.turn()
        is_taken = self.dataplane.apply(delta, self.uses, self.compiler)
        self.uses = Uses.of(self.compiler.state())
        return is_taken

    def n_differences(self) -> int:
        return self.dataplane.repair(self.compiler.state())


def _fill(scene: Scene, n_endpoints: int, n_members: int) -> None:
    for number in range(20):
        allowed = [f"allow tcp to ports {port}" for port in range(1, 21)]
        scene.profile(f"P{number}", [*allowed, "allow from tag BIG"])
    scene.profile("BIG", [], "BIG")
    scene.profile("LOOSE", [], "LOOSE")
    for number in range(n_endpoints):
        scene.endpoint(number, f"P{number % 20}")
    for number in range(n_members):
        scene.endpoint(10_000 + number, "BIG", HostName("there"))


def test_start_is_cut_where_it_does_not_fit() -> None:
    def body() -> None:
        scene = Scene(send_bytes=SEND_BYTES)
        scene.dataplane.put_guard()
        _fill(scene, 200, 5000)
        scene.compiler.turn()
        assert scene.dataplane.repair_or_refuse(scene.compiler) > 0
        assert scene.n_differences() == 0

    in_new_netns(body)


def test_changes_are_cut_where_they_do_not_fit() -> None:
    def body() -> None:
        scene = Scene(send_bytes=SEND_BYTES)
        _fill(scene, 50, 3000)
        scene.profile("BOTH", ["deny from tag BIG", "allow from tag LOOSE"])
        scene.endpoint(60, "BOTH")
        scene.begin()
        scene.profile("BIG", [], "LOOSE")
        assert scene.turn()
        assert scene.n_differences() == 0
        for number in range(20):
            scene.profile(f"P{number}", ["deny udp", "allow from tag LOOSE"])
        scene.profile("BIG", [], "BIG", "LOOSE")
        assert scene.turn()
        assert scene.n_differences() == 0
        scene.profile("BIG", [], "NOBODY")
        assert scene.turn()
        assert scene.n_differences() == 0

    in_new_netns(body)


class Watched(Refusing):
    """A socket that looks at the table after each commit."""

    n_commits = 0
    open_chains: frozenset[str] = frozenset()

    def commit(self, steps: Sequence[Step]) -> None:
        super().commit(steps)
        self.n_commits += 1
        table = self.read_table()
        assert table is not None
        for name, elements in table.elements.items():
            if name.endswith("-dispatch"):
                led_to = {each.verdict.chain or "" for each in elements.values()}
                self.open_chains |= {
                    each for each in led_to if not _ends_in_drop(table.chains[each])
                }


def _ends_in_drop(chain: KernelChain) -> bool:
    return bool(chain.rules) and chain.rules[-1].form[-1][:2] == ("immediate", 0)


def test_rules_that_do_not_fit_leave_no_list_of_profiles_open() -> None:
    def body() -> tuple[int, frozenset[str]]:
        scene = Scene(send_bytes=SEND_BYTES, kind=Watched)
        for number in range(150):
            scene.profile(f"P{number}", ["allow tcp"])
            scene.endpoint(number, f"P{number}")
        scene.begin()
        assert isinstance(scene.nft, Watched)
        scene.nft.n_commits = 0
        scene.compiler.set_resource(SettingKey("DropLog"), "false", Revision(2))
        assert scene.turn()
        assert scene.n_differences() == 0
        return scene.nft.n_commits, scene.nft.open_chains

    n_commits, open_chains = in_new_netns(body)
    assert n_commits > 2
    assert not open_chains


def test_random_changes_come_to_the_same_whatever_fits() -> None:
    def body() -> None:
        chance = random.Random(20_161)
        scene = Scene(send_bytes=SEND_BYTES)
        _fill(scene, 60, 500)
        scene.begin()
        for _ in range(30):
            for _ in range(chance.randint(1, 40)):
                profile = f"P{chance.randrange(20)}"
                words = ["deny from tag BIG", "allow from tag BIG", "allow tcp"]
                scene.profile(profile, chance.sample(words, 2), profile)
                scene.endpoint(chance.randrange(80), f"P{chance.randrange(22)}")
            scene.profile("BIG", [], chance.choice(("BIG", "P1", "NOBODY")))
            assert scene.turn()
            assert scene.n_differences() == 0

    in_new_netns(body)


def test_single_step_that_cannot_be_cut_is_an_error() -> None:
    def body() -> None:
        scene = Scene(send_bytes=4608)
        scene.profile("A", ["allow tcp to ports " + _many_ports()])
        scene.endpoint(1, "A")
        with pytest.raises(BatchTooLarge):
            scene.begin()

    in_new_netns(body)


def _many_ports() -> str:
    return ",".join(str(port) for port in range(1, 1000, 2))


def test_profile_that_the_kernel_refuses_denies_and_the_rest_goes_in() -> None:
    def body() -> None:
        scene = Scene()
        _fill(scene, 40, 10)
        scene.begin()
        scene.nft.refused = "P7"
        for number in range(20):
            scene.profile(f"P{number}", ["allow udp to ports 53"])
        assert not scene.turn()
        assert scene.n_differences() == 0
        problems = scene.compiler.state().problems
        assert [where for where in problems if "P7" in where], problems
        assert len(problems) == 1
        scene.nft.refused = ""
        scene.profile("P7", ["allow udp to ports 54"])
        assert scene.turn()
        assert scene.n_differences() == 0
        assert not scene.compiler.state().problems

    in_new_netns(body)


def test_refused_profile_is_found_at_the_start_too() -> None:
    def body() -> None:
        scene = Scene()
        _fill(scene, 40, 10)
        scene.nft.refused = "P3"
        scene.begin()
        assert scene.n_differences() == 0
        assert len(scene.compiler.state().problems) == 1

    in_new_netns(body)


def _has_logs(scene: Scene) -> bool:
    table = scene.nft.read_table()
    assert table is not None
    rules = (rule for chain in table.chains.values() for rule in chain.rules)
    return any(form[0] == "log" for rule in rules for form in rule.form)


def test_log_is_tried_and_nothing_stays_of_it() -> None:
    def body() -> None:
        scene = Scene()
        before = scene.nft.read_table()
        assert scene.dataplane.probe_log() == ""
        assert scene.nft.read_table() == before
        scene.dataplane.put_guard()
        assert _has_logs(scene)

    in_new_netns(body)


def test_kernel_that_cannot_log_is_asked_for_no_log() -> None:
    def body() -> None:
        scene = Scene()
        scene.nft.refused = "log-probe"
        assert "refused" in scene.dataplane.probe_log()
        assert not scene.dataplane.can_log
        scene.dataplane.put_guard()
        scene.compiler.refuse_log()
        scene.profile("A", ["deny udp"])
        scene.endpoint(1, "A")
        scene.begin()
        assert not scene.compiler.state().settings.drop_log
        assert not _has_logs(scene)
        assert scene.n_differences() == 0

    in_new_netns(body)


def test_empty_change_commits_nothing() -> None:
    def body() -> None:
        scene = Scene()
        scene.begin()
        before = scene.nft.generation()
        delta: Delta = scene.compiler.turn()
        assert delta.is_empty()
        assert scene.dataplane.apply(delta, scene.uses, scene.compiler)
        assert scene.nft.generation() == before

    in_new_netns(body)
