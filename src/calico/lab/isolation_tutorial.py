"""The tutorial of two hosts and five workloads as data.

Workloads A, B and C are on the first host, D and E on the second. A, C and E
share a profile; B and D have one each. So A, C and E reach each other, also
from host to host, and nobody reaches B or D.
"""

from collections.abc import Iterator, Mapping

from calico.lab.plan import Layout
from calico.lab.tutorial import BOTH, PING, Command, Promise, Reach, Step, Tutorial

_FAMILY_OF_THREE = "PROF_A_C_E"
_PROFILES: Mapping[str, str] = {
    "A": _FAMILY_OF_THREE,
    "B": "PROF_B",
    "C": _FAMILY_OF_THREE,
    "D": "PROF_D",
    "E": _FAMILY_OF_THREE,
}
_HOSTS = {"A": "host1", "B": "host1", "C": "host1", "D": "host2", "E": "host2"}
_COLUMNS = ("tcp 80", "udp 53", PING)
_EVERYTHING: Reach = dict.fromkeys(_COLUMNS, BOTH)


def _name(letter: str) -> str:
    return f"workload-{letter}"


def _add_workloads() -> Iterator[Command]:
    for number, (letter, host) in enumerate(_HOSTS.items(), 1):
        words = f"{_name(letter)} --host={host} 192.168.0.{number}"
        yield Command(f"./calicoctl lab add {words}")


def _append_profiles() -> Iterator[Command]:
    for letter, profile in _PROFILES.items():
        path = f"/run/netns/{_name(letter)}"
        yield Command(
            f"./calicoctl container {path} profile append {profile}",
            f"Profile(s) {profile} appended.\n\n",
            _HOSTS[letter],
        )


def _isolation() -> Promise:
    return {
        _name(to): {
            _name(source): _EVERYTHING
            for source in _PROFILES
            if source != to and _PROFILES[source] == _PROFILES[to]
        }
        for to in _PROFILES
    }


ISOLATION = Tutorial(
    title="Isolation on two hosts",
    setting="two hosts on one etcd, BIRD between them, and an outside",
    layout=Layout(2, has_etcd=True),
    columns={_name(letter): _COLUMNS for letter in _PROFILES},
    sources={
        _name(to): ("outside", *(_name(each) for each in _PROFILES if each != to))
        for to in _PROFILES
    },
    homes={_name(letter): host for letter, host in _HOSTS.items()},
    steps=(
        Step(
            "Add workloads A, B and C on the first host, D and E on the second",
            tuple(_add_workloads()),
        ),
        Step(
            "Create a profile for A, C and E, and one each for B and D",
            tuple(
                Command(
                    f"./calicoctl profile add {profile}", f"Created profile {profile}\n"
                )
                for profile in dict.fromkeys(_PROFILES.values())
            ),
        ),
        Step(
            "Give each workload its profile, on its own host",
            tuple(_append_profiles()),
            meaning="A, C and E reach each other, also from host to host; B and D are"
            " isolated.",
            promise=_isolation(),
        ),
    ),
)
"""The whole tutorial in order."""
