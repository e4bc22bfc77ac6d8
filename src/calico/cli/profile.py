"""`calicoctl profile show`, `add` and `remove`."""

from collections.abc import Iterable, Mapping

from calico.cli import output
from calico.cli.call import Call
from calico.cli.profiles import profile_name, scope_of
from calico.cli.refusal import Refused
from calico.codec.keys import HOST_PREFIX, POLICY_PREFIX, PROFILE_PREFIX, profile_prefix
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import EndpointKey, ProfileId, TagName
from calico.model.rule import Action, Peer, ProfileRules, Rule
from calico.model.snapshot import (
    ProfileLabelsKey,
    ProfileRulesKey,
    ProfileTagsKey,
    Undecodable,
)
from calico.store.api import DeletePrefix, KeyValue, Scope, Transaction, View
from calico.store.resources import decode_item, profiles_in, put_resource

_AMBIGUOUS = frozenset({"show", "add", "remove"})
_ENDPOINT_KEYS = ("host", "orchestrator", "workload", "endpoint", "state")
_N_NAMED = 5
_HEADINGS = ("Name", "Host", "Orchestrator ID", "Workload ID", "Endpoint ID", "State")


def show(call: Call) -> int:
    """List the profiles, with `--detailed` also their members."""
    if call.has_option("--detailed"):
        return _show_detailed(call)
    profiles = profiles_in(call.store.list_prefix(PROFILE_PREFIX).items)
    return call.show(
        [{"name": profile} for profile in profiles],
        profiles,
        lambda: output.table(["Name"], [[profile] for profile in profiles]),
    )


def _show_detailed(call: Call) -> int:
    # One listing, so that profiles and endpoints are of one revision.
    listing = call.store.list_prefix(POLICY_PREFIX)
    view = View({item.key: item for item in listing.items}, listing.revision)
    members = _members(view.below(HOST_PREFIX))
    profiles = profiles_in(view.below(PROFILE_PREFIX))
    rows = [
        [profile, *row]
        for profile in profiles
        for row in [_row(each) for each in members.get(profile, [])]
        or [["None"] * (len(_HEADINGS) - 1)]
    ]
    return call.show(
        [
            {
                "name": profile,
                "endpoints": [
                    dict(zip(_ENDPOINT_KEYS, _row(each), strict=True))
                    for each in members.get(profile, [])
                ],
            }
            for profile in profiles
        ],
        profiles,
        lambda: output.table(_HEADINGS, rows),
    )


def _row(endpoint: WorkloadEndpoint) -> list[str]:
    key = endpoint.key
    return [
        key.host,
        key.orchestrator,
        key.workload,
        key.endpoint,
        endpoint.state.value,
    ]


def _members(items: Iterable[KeyValue]) -> Mapping[ProfileId, list[WorkloadEndpoint]]:
    """Find the endpoints that list each profile, in the order of their keys."""
    found: dict[ProfileId, list[WorkloadEndpoint]] = {}
    for item in items:
        decoded = decode_item(item)
        if decoded is not None and isinstance(decoded[1], WorkloadEndpoint):
            for profile in dict.fromkeys(decoded[1].profile_ids):
                found.setdefault(profile, []).append(decoded[1])
    return found


def add(call: Call) -> int:
    """Make a profile whose members may reach each other, unless it exists."""
    profile = profile_name(call.word("PROFILE"))
    if profile in _AMBIGUOUS:
        raise Refused(
            f"A profile cannot be called {profile}: `profile {profile}` is a command.",
            "Choose another name.",
        )
    rules = ProfileRules(
        inbound=(Rule(Action.ALLOW, source=Peer(tag=TagName(profile))),),
        outbound=(Rule(Action.ALLOW),),
    )
    operations = (
        put_resource(ProfileTagsKey(profile), (TagName(profile),)),
        put_resource(ProfileLabelsKey(profile), {}),
        put_resource(ProfileRulesKey(profile), rules),
    )
    transaction = Transaction((), operations, call.note())

    def decide(view: View) -> tuple[Transaction | None, bool]:
        if profiles_in(view.items.values()):
            return None, False
        return transaction, True

    _, was_made = call.store.update(scope_of(profile), decide)
    if was_made:
        output.line(f"Created profile {profile}")
    else:
        output.line(f"Profile {profile} already exists.")
    return 0


def remove(call: Call) -> int:
    """Remove a profile, unless an endpoint lists it."""
    profile = profile_name(call.word("PROFILE"))
    prefix = profile_prefix(profile)
    is_checked = not call.has_option("--no-check")
    transaction = Transaction((), (DeletePrefix(prefix),), call.note())

    def decide(view: View) -> tuple[Transaction | None, bool]:
        if not view.below(prefix):
            return None, False
        users = _users(view.below(HOST_PREFIX), profile) if is_checked else []
        if users:
            raise _in_use(users)
        return transaction, True

    prefixes = (prefix, HOST_PREFIX) if is_checked else (prefix,)
    _, was_there = call.store.update(Scope(prefixes=prefixes), decide)
    if was_there:
        output.line(f"Deleted profile {profile}")
    else:
        output.line(f"Profile {profile} not found.")
    return 0


def _users(items: Iterable[KeyValue], profile: ProfileId) -> list[str]:
    """Name the endpoints that list a profile, or may do."""
    found: list[str] = []
    mention = f'"{profile}"'.encode("ascii")
    for item in items:
        # Decoding every endpoint of a cluster takes time; most name no profile
        # of this name, and those that cannot be decoded count if they do.
        decoded = decode_item(item) if mention in item.value else None
        match decoded:
            case (EndpointKey() as key, WorkloadEndpoint() as endpoint):
                if profile in endpoint.profile_ids:
                    found.append(f"{key.endpoint} on {key.host}")
            case (EndpointKey() as key, Undecodable()):
                found.append(f"{key.endpoint} on {key.host} (which cannot be read)")
            case _:
                pass
    return found


def _in_use(users: list[str]) -> Refused:
    named = ", ".join(users[:_N_NAMED])
    more = f" and {len(users) - _N_NAMED} more" if len(users) > _N_NAMED else ""
    return Refused(
        "Cannot remove profile - profile in use by endpoint(s).",
        "Use the '--no-check' flag to remove the profile anyway.",
        f"In use by {named}{more}.",
    )
