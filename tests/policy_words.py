"""Say a snapshot in words, as near to `calicoctl` as can be.

Profiles, tags, rules and settings are commands. Endpoints come from attaching
workloads and not from a command, and nobody can say what is unreadable: these
are comments.
"""

from collections.abc import Iterator

from calico.codec.words import show_rule
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import EndpointKey, ProfileId
from calico.model.rule import Direction
from calico.model.snapshot import Snapshot, Undecodable


def words_of(snapshot: Snapshot) -> str:
    """Say everything that a verdict may depend on, one line each."""
    lines: list[str] = []
    for profile in sorted({*snapshot.tags, *snapshot.rules}):
        lines += _profile(snapshot, profile)
    for key, endpoint in sorted(snapshot.endpoints.items(), key=lambda item: item[0]):
        lines.append(f"# {_endpoint(key, endpoint)}")
    for setting, value in snapshot.settings.items():
        host = "" if setting.host is None else f" --host={setting.host}"
        lines.append(f"# config felix {setting.name}{host} is {value}")
    return "\n".join(lines)


def _profile(snapshot: Snapshot, profile: ProfileId) -> Iterator[str]:
    head = f"calicoctl profile {profile}"
    yield f"calicoctl profile add {profile}"
    tags, rules = snapshot.tags.get(profile), snapshot.rules.get(profile)
    for what, value in (("tags", tags), ("rules", rules)):
        if value is None or isinstance(value, Undecodable):
            state = "no" if value is None else "unreadable"
            yield f"# profile {profile} has {state} {what}"
    if isinstance(tags, tuple):
        yield from (f"{head} tag add {tag}" for tag in tags)
    if rules is not None and not isinstance(rules, Undecodable):
        for direction in Direction:
            for rule in rules.of(direction):
                yield f"{head} rule add {direction.value} {show_rule(rule)}"


def _endpoint(key: EndpointKey, endpoint: WorkloadEndpoint | Undecodable) -> str:
    name = f"{key.host} {key.orchestrator}/{key.workload}/{key.endpoint}"
    if isinstance(endpoint, Undecodable):
        return f"{name} is unreadable"
    addresses = " ".join(map(str, endpoint.addresses))
    mac = "any MAC" if endpoint.mac is None else endpoint.mac.hex(":")
    profiles = " ".join(endpoint.profile_ids) or "(none)"
    return (
        f"{name} is {endpoint.state.value} at {endpoint.interface} with {mac}"
        f" {addresses}, profiles: {profiles}"
    )
