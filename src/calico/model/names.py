"""Names of things, as types, and the one place that says which are valid."""

import re
from dataclasses import dataclass
from typing import NewType

from calico.model.errors import InvalidResource

ProfileId = NewType("ProfileId", str)
TagName = NewType("TagName", str)
HostName = NewType("HostName", str)
OrchestratorId = NewType("OrchestratorId", str)
WorkloadId = NewType("WorkloadId", str)
EndpointId = NewType("EndpointId", str)
InterfaceName = NewType("InterfaceName", str)
Revision = NewType("Revision", int)

NO_REVISION = Revision(0)
"""Before the first write."""

MAX_NAME_LENGTH = 128
MAX_HOST_NAME_LENGTH = 253
MAX_INTERFACE_NAME_LENGTH = 15

_NAME = re.compile(r"[A-Za-z0-9_.-]+\Z")
# The kernel allows a dot, which sysctl(8) takes for a slash; the data model has
# none.
_INTERFACE = re.compile(r"[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True, slots=True, order=True)
class EndpointKey:
    """What identifies a workload endpoint in the whole cluster.

    Attributes:
        host: The host that the workload runs on.
        orchestrator: Who started the workload: `namespace`, `docker`, `cni`, …
        workload: The workload within the orchestrator.
        endpoint: The endpoint within the workload.
    """

    host: HostName
    orchestrator: OrchestratorId
    workload: WorkloadId
    endpoint: EndpointId


def parse_profile_id(text: str) -> ProfileId:
    """Take `text` as a profile's name.

    Raises:
        InvalidResource: It is no valid name.
    """
    return ProfileId(_parse("profile name", text, MAX_NAME_LENGTH))


def parse_tag_name(text: str) -> TagName:
    """Take `text` as a tag.

    Raises:
        InvalidResource: It is no valid name.
    """
    return TagName(_parse("tag", text, MAX_NAME_LENGTH))


def parse_host_name(text: str) -> HostName:
    """Take `text` as a host's name.

    Raises:
        InvalidResource: It is no valid name.
    """
    return HostName(_parse("host name", text, MAX_HOST_NAME_LENGTH))


def parse_endpoint_id(text: str) -> EndpointId:
    """Take `text` as an endpoint's identifier.

    Raises:
        InvalidResource: It is no valid name.
    """
    return EndpointId(_parse("endpoint id", text, MAX_NAME_LENGTH))


def parse_interface_name(text: str) -> InterfaceName:
    """Take `text` as the name of a network interface.

    Raises:
        InvalidResource: The kernel, or we, could not use it.
    """
    if len(text) > MAX_INTERFACE_NAME_LENGTH or not _INTERFACE.match(text):
        raise InvalidResource(
            "interface name",
            repr(text),
            f"1 to {MAX_INTERFACE_NAME_LENGTH} characters of A-Z a-z 0-9 _ -",
        )
    return InterfaceName(text)


def _is_valid(text: str, limit: int) -> bool:
    return len(text) <= limit and bool(_NAME.match(text)) and text not in {".", ".."}


def _parse(kind: str, text: str, limit: int) -> str:
    if not _is_valid(text, limit):
        raise InvalidResource(
            kind,
            repr(text),
            f"1 to {limit} characters of A-Z a-z 0-9 _ . -, not . or ..",
        )
    return text
