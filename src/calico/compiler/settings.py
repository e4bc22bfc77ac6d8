"""Read the settings of one host out of the text parameters.

A host's own value counts before the global one, a bad one too: what the user
meant for this host is unknown, so the closed side is taken and not the global
value. A value that nobody can read is a problem, by name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from calico.model.names import MAX_INTERFACE_NAME_LENGTH, HostName
from calico.model.network import (
    DEFAULT_SETTINGS,
    EndpointToHostAction,
    HostSettings,
)
from calico.model.snapshot import SettingKey, Undecodable

INTERFACE_PREFIX = "InterfacePrefix"
ENDPOINT_TO_HOST = "DefaultEndpointToHostAction"
WORKLOAD_DNS = "WorkloadDns"
WORKLOAD_DHCP = "WorkloadDhcp"
CUT_ESTABLISHED = "CutEstablishedFlows"
DROP_LOG = "DropLog"

_WORDS = {
    **dict.fromkeys(("true", "1", "yes", "y", "t", "on"), True),
    **dict.fromkeys(("false", "0", "no", "n", "f", "off"), False),
}
_PREFIX = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_INTERFACE_NAME_LENGTH}}}\Z")


def compile_settings(
    parameters: Mapping[SettingKey, str | Undecodable], host: HostName
) -> tuple[HostSettings, dict[str, str]]:
    """Read what decides packets on a host, and what of it cannot be read.

    Args:
        parameters: As stored, global and of every host.
        host: Whose settings these are.

    Returns:
        The settings, and a reason for each parameter with a bad value.
    """
    reader = _Reader(parameters, host)
    settings = HostSettings(
        interface_prefixes=reader.prefixes(),
        endpoint_to_host=reader.action(),
        workload_dns=reader.switch(
            WORKLOAD_DNS, default=DEFAULT_SETTINGS.workload_dns, closed=False
        ),
        workload_dhcp=reader.switch(
            WORKLOAD_DHCP, default=DEFAULT_SETTINGS.workload_dhcp, closed=False
        ),
        cut_established=reader.switch(
            CUT_ESTABLISHED, default=DEFAULT_SETTINGS.cut_established, closed=True
        ),
        drop_log=reader.switch(
            DROP_LOG, default=DEFAULT_SETTINGS.drop_log, closed=True
        ),
    )
    return settings, reader.problems


@dataclass(frozen=True, slots=True)
class _Reader:
    """One pass over the parameters of one host.

    Attributes:
        parameters: As stored.
        host: Whose values count first.
        problems: Filled while reading.
    """

    parameters: Mapping[SettingKey, str | Undecodable]
    host: HostName
    problems: dict[str, str] = field(default_factory=dict[str, str])

    def switch(self, name: str, *, default: bool, closed: bool) -> bool:
        """Read a boolean; `closed` is the side to err on."""
        key, value = self._find(name)
        if value is None:
            return default
        word = None if isinstance(value, Undecodable) else _word(value).lower()
        if word in _WORDS:
            return _WORDS[word]
        self._complain(key, value, "true or false", "true" if closed else "false")
        return closed

    def action(self) -> EndpointToHostAction:
        """Read what follows for traffic to the host; unset means DROP."""
        key, value = self._find(ENDPOINT_TO_HOST)
        if value is None:
            return DEFAULT_SETTINGS.endpoint_to_host
        if not isinstance(value, Undecodable):
            for action in EndpointToHostAction:
                if _word(value).upper() == action.value:
                    return action
        self._complain(key, value, "DROP, RETURN or ACCEPT", "DROP")
        return EndpointToHostAction.DROP

    def prefixes(self) -> tuple[str, ...]:
        """Read the comma-separated prefixes; the default is always among them.

        What we attach is called so, and would not be judged without it.
        """
        key, value = self._find(INTERFACE_PREFIX)
        default = DEFAULT_SETTINGS.interface_prefixes
        if value is None:
            return default
        items = [] if isinstance(value, Undecodable) else value.split(",")
        words = [_word(item) for item in items]
        good = [word for word in words if _PREFIX.match(word)]
        found = tuple(dict.fromkeys((*good, *default)))
        if words and len(good) == len(words):
            return found
        accepted = "prefixes of interface names, separated by commas"
        self._complain(key, value, accepted, ",".join(found))
        return found

    def _find(self, name: str) -> tuple[SettingKey, str | Undecodable | None]:
        for key in (SettingKey(name, self.host), SettingKey(name)):
            if key in self.parameters:
                return key, self.parameters[key]
        return SettingKey(name), None

    def _complain(
        self, key: SettingKey, value: str | Undecodable, accepted: str, used: str
    ) -> None:
        if isinstance(value, Undecodable):
            where, found = value.store_key, value.reason
        else:
            whose = "" if key.host is None else f" of host {key.host}"
            where, found = f"setting {key.name}{whose}", f"found `{value[:60]}`"
        self.problems[where] = f"{found}, expected {accepted}; {used} is used"


def _word(text: str) -> str:
    return text.strip()
