"""What the commands about endpoints share: picking one, changing its profiles."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from calico.cli import output
from calico.cli.call import Call
from calico.cli.exit_codes import USAGE
from calico.cli.profiles import profile_name
from calico.cli.refusal import Refused, paragraph
from calico.codec.endpoint_json import replace_profiles
from calico.codec.json_text import dump_json, parse_json
from calico.codec.keys import HOST_PREFIX, decode_key, profile_prefix
from calico.model.endpoint import MAX_PROFILES, WorkloadEndpoint
from calico.model.names import EndpointKey, ProfileId
from calico.model.snapshot import Undecodable
from calico.store.api import KeyValue, Note, Put, Scope, Transaction, View
from calico.store.resources import decode_item, profiles_in

_SEVERAL = (
    "More than 1 endpoint matches the provided criteria.  Please provide additional"
    " parameters to refine the search."
)


class ProfileChange(Enum):
    """A change of an endpoint's list of profiles; the value is the word."""

    APPEND = "append"
    REMOVE = "remove"
    SET = "set"


@dataclass(frozen=True, slots=True)
class Selector:
    """Which endpoints are meant; what is absent does not matter.

    Attributes:
        host: On this host.
        orchestrator: Of this orchestrator.
        workload: Of this workload.
        endpoint: With this id.
    """

    host: str | None = None
    orchestrator: str | None = None
    workload: str | None = None
    endpoint: str | None = None

    def has(self, key: EndpointKey) -> bool:
        """Report whether an endpoint is meant."""
        return all(
            wanted is None or wanted == found
            for wanted, found in (
                (self.host, key.host),
                (self.orchestrator, key.orchestrator),
                (self.workload, key.workload),
                (self.endpoint, key.endpoint),
            )
        )


def selector_of(call: Call, endpoint: str | None) -> Selector:
    """Make a selector of the options `--host`, `--orchestrator`, `--workload`."""
    return Selector(
        call.option("--host"),
        call.option("--orchestrator"),
        call.option("--workload"),
        endpoint,
    )


Found = tuple[EndpointKey, WorkloadEndpoint | Undecodable, KeyValue]
"""An endpoint: its key, what it is, and as the datastore holds it."""


def select(items: Iterable[KeyValue], selector: Selector) -> list[Found]:
    """Find the endpoints that are meant, in the order of their keys."""
    found: list[Found] = []
    for item in items:
        key = decode_key(item.key)
        if isinstance(key, EndpointKey) and selector.has(key):
            decoded = decode_item(item)
            if decoded is not None:
                value = decoded[1]
                if isinstance(value, WorkloadEndpoint | Undecodable):
                    found.append((key, value, item))
    return sorted(found, key=lambda each: each[0])


def pick(
    items: Iterable[KeyValue], selector: Selector, failure: Sequence[str]
) -> Found:
    """Find the one endpoint that is meant.

    Args:
        items: Items of the datastore.
        selector: Which one.
        failure: What to say when there is none; the first line and an empty
            one also when there are several.

    Raises:
        Refused: There is none, or several, or it cannot be read.
    """
    found = select(items, selector)
    if not found:
        raise Refused(*failure)
    if len(found) > 1:
        candidates = [
            f"  --host={k.host} --orchestrator={k.orchestrator} --workload={k.workload}"
            for k, _, _ in found
        ]
        raise Refused(*failure[:2], paragraph(_SEVERAL), "They are:", *candidates)
    return found[0]


def unknown(doing: str, endpoint: str | None) -> Sequence[str]:
    """Say that a step failed for want of an endpoint."""
    return (doing, "", paragraph(f"Endpoint {endpoint} is unknown to Calico."))


def not_found(doing: str) -> Sequence[str]:
    """Say the same in the words of `remove` and `set`."""
    return (doing, "", paragraph("Endpoint could not be found."))


_DOING = {
    ProfileChange.APPEND: "Failed to append profiles to endpoint.",
    ProfileChange.REMOVE: "Failed to remove profiles from endpoint.",
    ProfileChange.SET: "Failed to set profiles for endpoint.",
}


def change_profiles(
    call: Call, selector: Selector, change: ProfileChange, words: Sequence[str]
) -> int:
    """Change the list of profiles of one endpoint, all of it or nothing.

    Args:
        call: For the datastore and the note.
        selector: Which endpoint.
        change: What to do.
        words: Names of profiles.

    Raises:
        Refused: Nothing was changed, and why.
    """
    if not words and change is not ProfileChange.SET:
        raise Refused(paragraph("No profile specified."), exit_code=USAGE)
    profiles = [profile_name(word) for word in words]
    note = call.note()

    def decide(view: View) -> tuple[Transaction | None, None]:
        return _decide(view, selector, change, profiles, note), None

    prefixes = dict.fromkeys((HOST_PREFIX, *(profile_prefix(p) for p in profiles)))
    call.store.update(Scope(prefixes=tuple(prefixes)), decide)
    output.paragraph(_done(change, profiles))
    return 0


def _decide(
    view: View,
    selector: Selector,
    change: ProfileChange,
    profiles: Sequence[ProfileId],
    note: Note,
) -> Transaction:
    doing = _DOING[change]
    if change is ProfileChange.APPEND:
        failure = unknown(doing, selector.endpoint)
    else:
        failure = not_found(doing)
    absent = [p for p in profiles if not profiles_in(view.below(profile_prefix(p)))]
    if absent and change is not ProfileChange.REMOVE:
        raise Refused(f"Profile with name {absent[0]} was not found.")
    repeated = [p for i, p in enumerate(profiles) if p in profiles[:i]]
    if repeated:
        raise Refused(f"Profile with name {repeated[0]} was specified more than once.")
    _, endpoint, item = pick(view.below(HOST_PREFIX), selector, failure)
    if isinstance(endpoint, Undecodable):
        raise Refused(
            f"The endpoint cannot be read: {endpoint.reason}.",
            f"It is in {endpoint.store_key}; nothing was changed.",
        )
    changed = _changed(endpoint.profile_ids, change, profiles, absent)
    if len(changed) > MAX_PROFILES:
        raise Refused(
            f"The endpoint would list {len(changed)} profiles; {MAX_PROFILES} are the"
            " most. Nothing was changed."
        )
    value = dump_json(replace_profiles(parse_json(item.value), changed))
    return Transaction((), (Put(item.key, value),), note)


def _changed(
    current: tuple[ProfileId, ...],
    change: ProfileChange,
    profiles: Sequence[ProfileId],
    absent: Sequence[ProfileId],
) -> tuple[ProfileId, ...]:
    match change:
        case ProfileChange.SET:
            return tuple(profiles)
        case ProfileChange.APPEND:
            return (*current, *_new(profiles, current))
        case ProfileChange.REMOVE:
            gone = _listed(profiles, current, absent)
            return tuple(each for each in current if each not in gone)


def _new(
    profiles: Sequence[ProfileId], current: Sequence[ProfileId]
) -> Sequence[ProfileId]:
    for profile in profiles:
        if profile in current:
            text = f"Profile {profile} is already in endpoint profile list"
            raise Refused(paragraph(text))
    return profiles


def _listed(
    profiles: Sequence[ProfileId],
    current: Sequence[ProfileId],
    absent: Sequence[ProfileId],
) -> Sequence[ProfileId]:
    for profile in profiles:
        if profile not in current and profile in absent:
            raise Refused(f"Profile with name {profile} was not found.")
        if profile not in current:
            text = f"Profile {profile} is not in endpoint profile list."
            raise Refused(paragraph(text))
    return profiles


def _done(change: ProfileChange, profiles: Sequence[ProfileId]) -> str:
    match change:
        case ProfileChange.APPEND:
            return f"Profile(s) {', '.join(profiles)} appended."
        case ProfileChange.REMOVE:
            return f"Profile(s) {','.join(profiles)} removed."
        case ProfileChange.SET:
            if not profiles:
                return "Removed all profiles from endpoint."
            return f"Profile(s) set to {', '.join(profiles)}."
