"""`calicoctl endpoint`."""

from collections.abc import Sequence

from calico.cli import output
from calico.cli.call import Call
from calico.cli.endpoints import (
    Found,
    ProfileChange,
    pick,
    select,
    selector_of,
    unknown,
)
from calico.cli.endpoints import (
    change_profiles as change_profiles_of,
)
from calico.cli.refusal import Refused
from calico.codec.json_text import Json
from calico.codec.keys import HOST_PREFIX, POLICY_PREFIX, profile_prefix
from calico.model.snapshot import Undecodable
from calico.netset import Address
from calico.store.api import View
from calico.store.resources import profiles_in

_SUMMARY = (
    "Hostname",
    "Orchestrator ID",
    "Number of Workloads",
    "Number of Endpoints",
)
_DETAILED = (
    "Hostname",
    "Orchestrator ID",
    "Workload ID",
    "Endpoint ID",
    "Addresses",
    "MAC",
    "Profiles",
    "State",
)


def show(call: Call) -> int:
    """Show the endpoints that the options pick."""
    selector = selector_of(call, call.option("--endpoint"))
    found = select(call.store.list_prefix(HOST_PREFIX).items, selector)
    return show_endpoints(call, found, is_detailed=call.has_option("--detailed"))


def show_endpoints(call: Call, found: Sequence[Found], *, is_detailed: bool) -> int:
    """Show endpoints as a table, one row each or their numbers."""

    def text() -> None:
        if is_detailed:
            output.table(_DETAILED, [_row(each) for each in found])
        else:
            output.table(_SUMMARY, _summary(found))
        output.line()

    names = [
        f"{key.host}/{key.orchestrator}/{key.workload}/{key.endpoint}"
        for key, _, _ in found
    ]
    return call.show([_value(each) for each in found], names, text)


def _summary(found: Sequence[Found]) -> list[list[object]]:
    workloads: dict[tuple[str, str], set[str]] = {}
    counts: dict[tuple[str, str], int] = {}
    for key, _, _ in found:
        where = (key.host, key.orchestrator)
        workloads.setdefault(where, set()).add(key.workload)
        counts[where] = counts.get(where, 0) + 1
    return [[*where, len(workloads[where]), counts[where]] for where in sorted(counts)]


def _row(each: Found) -> list[str]:
    key, endpoint, _ = each
    identity = [key.host, key.orchestrator, key.workload, key.endpoint]
    if isinstance(endpoint, Undecodable):
        return [*identity, "", "", "", "cannot be read"]
    return [
        *identity,
        "\n".join(_net(address) for address in endpoint.addresses),
        endpoint.mac.hex(":") if endpoint.mac else "None",
        ",".join(endpoint.profile_ids),
        endpoint.state.value,
    ]


def _value(each: Found) -> Json:
    key, endpoint, _ = each
    identity: dict[str, Json] = {
        "host": key.host,
        "orchestrator": key.orchestrator,
        "workload": key.workload,
        "endpoint": key.endpoint,
    }
    if isinstance(endpoint, Undecodable):
        return {**identity, "problem": endpoint.reason}
    return {
        **identity,
        "addresses": [str(address) for address in endpoint.addresses],
        "mac": endpoint.mac.hex(":") if endpoint.mac else None,
        "interface": endpoint.interface,
        "profiles": list(endpoint.profile_ids),
        "state": endpoint.state.value,
    }


def _net(address: Address) -> str:
    return f"{address}/{address.max_prefixlen}"


def change_profiles(call: Call) -> int:
    """Append, remove or set the profiles of one endpoint."""
    change = next(each for each in ProfileChange if call.has(each.value))
    selector = selector_of(call, call.word("ENDPOINT"))
    return change_profiles_of(call, selector, change, call.all_words("PROFILES"))


def show_profiles(call: Call) -> int:
    """List the profiles of one endpoint, and say which of them do not exist."""
    endpoint_id = call.word("ENDPOINT")
    listing = call.store.list_prefix(POLICY_PREFIX)
    view = View({item.key: item for item in listing.items}, listing.revision)
    failure = unknown("Failed to list profiles in endpoint.", endpoint_id)
    _, endpoint, _ = pick(
        view.below(HOST_PREFIX), selector_of(call, endpoint_id), failure
    )
    if isinstance(endpoint, Undecodable):
        raise Refused(
            f"The endpoint cannot be read: {endpoint.reason}.",
            f"It is in {endpoint.store_key}.",
        )
    exists = {
        profile: bool(profiles_in(view.below(profile_prefix(profile))))
        for profile in endpoint.profile_ids
    }

    def text() -> None:
        if not exists:
            output.line("Endpoint has no profiles associated with it.")
            return
        output.table(
            ["Name"],
            [
                [profile if is_there else f"{profile} (does not exist)"]
                for profile, is_there in sorted(exists.items())
            ],
        )
        output.line()

    value: list[Json] = [
        {"name": profile, "exists": is_there} for profile, is_there in exists.items()
    ]
    return call.show(value, list(exists), text)
