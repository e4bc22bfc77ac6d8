"""Say what cannot be used: the entries of a desired state's `problems`.

An object of the datastore goes by its key there, and a quarrel between several
objects by a name that a person understands.
"""

from collections.abc import Iterable
from ipaddress import ip_address

from calico.compiler.profiles import ProfileSources
from calico.ir.origin import Fault, endpoint_text
from calico.ir.state import PackedAddress
from calico.model.names import EndpointKey, ProfileId
from calico.model.snapshot import Undecodable

REMOTE_ENDPOINTS = "endpoints of other hosts"
"""What stands among the problems for all of them together."""


def undecodable_problems(resources: Iterable[object]) -> dict[str, str]:
    """List those of the resources that cannot be decoded."""
    return {
        each.store_key: each.reason
        for each in resources
        if isinstance(each, Undecodable)
    }


def remote_problems(n_undecodable: int) -> dict[str, str]:
    """Tell of the endpoints of other hosts that cannot be decoded, if any."""
    if not n_undecodable:
        return {}
    return {REMOTE_ENDPOINTS: f"{n_undecodable} cannot be decoded and are in no tag"}


def refusal_problems(sources: ProfileSources) -> dict[str, str]:
    """List the refused profiles that would be usable otherwise."""
    return {
        refusal_problem(profile): f"the kernel refused its rules: {reason}"
        for profile, reason in sources.refused.items()
        if sources.usable_rules(profile) is Fault.REFUSED_BY_KERNEL
    }


def refusal_problem(profile: ProfileId) -> str:
    """Name a profile whose rules the kernel of a host does not take."""
    return f"profile {profile}"


def interface_problem(key: EndpointKey) -> str:
    """Name an endpoint that is left out for its interface."""
    return f"endpoint {endpoint_text(key)}"


def address_problem(address: PackedAddress) -> str:
    """Name an address that several endpoints share."""
    return f"address {ip_address(address)}"
