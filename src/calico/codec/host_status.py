"""A host's status as JSON: what its agent reports to the whole cluster.

`time`, `uptime` and `first_update` are the original's fields. `revision` is
the newest policy revision that is committed to the host's kernel, and
`problems` holds the reason by object of what could not be used there.

Source:
    felix, calico/felix/fetcd.py, `_update_felix_status`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from calico.codec.json_text import MAX_OBJECT_BYTES, dump_json, parse_json
from calico.model.errors import InvalidResource
from calico.model.names import NO_REVISION, Revision

_LAST = 2**63
_MAX_PROBLEMS_BYTES = MAX_OBJECT_BYTES // 2


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What one agent says of its host.

    Attributes:
        time: When it was written, ISO 8601 in UTC.
        uptime_s: Whole seconds since the agent started.
        is_first_update: The agent has not reported before.
        revision: The policy revision in force.
        problems: Reason by object of what could not be used.
    """

    time: str
    uptime_s: int
    is_first_update: bool
    revision: Revision = NO_REVISION
    problems: Mapping[str, str] = field(default_factory=dict[str, str])


def encode_host_status(status: HostStatus) -> bytes:
    """Write a status; of very many problems only the first are told."""
    problems: dict[str, str] = {}
    n_bytes = 0
    for where, reason in sorted(status.problems.items()):
        n_bytes += len(dump_json([where, reason]))
        if n_bytes > _MAX_PROBLEMS_BYTES:
            problems["…"] = f"{len(status.problems) - len(problems)} more"
            break
        problems[where] = reason
    return dump_json(
        {
            "time": status.time,
            "uptime": status.uptime_s,
            "first_update": status.is_first_update,
            "revision": status.revision,
            "problems": {**problems},
        }
    )


def decode_host_status(value: bytes) -> HostStatus:
    """Read a status; fields of newer agents are let pass.

    Raises:
        InvalidResource: It cannot be used.
    """
    members = parse_json(value).members()
    for name in ("time", "uptime", "first_update", "revision"):
        if name not in members:
            raise InvalidResource("$", f"no {name}", "a host's status")
    problems = members["problems"].members() if "problems" in members else {}
    return HostStatus(
        time=members["time"].text(),
        uptime_s=members["uptime"].integer(_LAST, "seconds"),
        is_first_update=members["first_update"].boolean(),
        revision=Revision(members["revision"].integer(_LAST, "a revision")),
        problems={where: reason.text() for where, reason in problems.items()},
    )
