"""`calicoctl config`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from calico.cli import output
from calico.cli.call import Call
from calico.cli.refusal import Refused, paragraph
from calico.codec.keys import (
    HOST_PREFIX,
    bgp_config_key,
    bird_ip_key,
    decode_key,
    encode_key,
)
from calico.compiler import settings
from calico.model.errors import InvalidResource
from calico.model.names import HostName, parse_host_name
from calico.model.snapshot import SettingKey
from calico.store.api import Delete, KeyValue, Put, Scope, Transaction, View

_FORCE_IT = "Use the --force option to override."
_FORCED = "The --force option is set."
_NONE = "No value configured"
_LOG_LEVEL = "loglevel"
_FELIX_LOG_LEVEL = "LogSeverityScreen"
_MAX_VALUE = 4096


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that is known.

    Attributes:
        stored_as: Its name in the datastore.
        accepts: Reports whether a value can be used.
        values: What can be used, for people.
    """

    stored_as: str
    accepts: Callable[[str], bool]
    values: str


def _words(stored_as: str, *values: str) -> Parameter:
    return Parameter(stored_as, frozenset(values).__contains__, ", ".join(values))


def _read_by_agents(name: str, values: str) -> Parameter:
    """Make a parameter that accepts exactly what the agents can read."""

    def accepts(text: str) -> bool:
        _, problems = settings.compile_settings({SettingKey(name): text}, _ANY_HOST)
        return not problems

    return Parameter(name, accepts, values)


_ANY_HOST = HostName("host")
_FELIX_LEVELS = ("none", "debug", "info", "warning", "error", "critical")
_FELIX: Mapping[str, Parameter] = {
    _LOG_LEVEL: _words(_FELIX_LOG_LEVEL, *_FELIX_LEVELS),
    _FELIX_LOG_LEVEL: _words(_FELIX_LOG_LEVEL, *_FELIX_LEVELS),
    **{
        name: _read_by_agents(name, values)
        for name, values in (
            (settings.ENDPOINT_TO_HOST, "DROP, RETURN, ACCEPT"),
            (
                settings.INTERFACE_PREFIX,
                "beginnings of interface names, separated by commas",
            ),
            (settings.CUT_ESTABLISHED, "true, false"),
            (settings.DROP_LOG, "true, false"),
            (settings.WORKLOAD_DNS, "true, false"),
            (settings.WORKLOAD_DHCP, "true, false"),
        )
    },
}
# What the original's agent reads besides; a name that is in neither may be a
# slip of the pen.
_KEPT = frozenset(
    {
        "ClusterGUID",
        "DropActionOverride",
        "EndpointReportingDelaySecs",
        "EndpointReportingEnabled",
        "EtcdDriverLogFilePath",
        "EtcdDriverPrometheusMetricsPort",
        "FailsafeInboundHostPorts",
        "FailsafeOutboundHostPorts",
        "HostInterfacePollInterval",
        "IgnoreLooseRPF",
        "IpInIpEnabled",
        "IpInIpMtu",
        "IpInIpTunnelAddr",
        "IptablesMarkMask",
        "IptablesRefreshInterval",
        "Ipv6Support",
        "LogFilePath",
        "LogSeverityFile",
        "LogSeveritySys",
        "MaxIpsetSize",
        "MetadataAddr",
        "MetadataPort",
        "PeriodicResyncInterval",
        "PrometheusMetricsEnabled",
        "PrometheusMetricsPort",
        "ReportingIntervalSecs",
        "ReportingTTLSecs",
        "StartupCleanupDelay",
        "UsageReportingEnabled",
    }
)
_BGP: Mapping[str, Parameter] = {
    _LOG_LEVEL: _words(_LOG_LEVEL, "none", "debug", "info")
}


def show(call: Call) -> int:
    """Print the value of a parameter."""
    key, _ = _find(call)
    item = call.store.get(key)
    value = None if item is None else _shown(item)
    names = [] if value is None else [value]
    _warn(call, key, value)
    return call.show(
        {"name": call.word("NAME"), "value": value},
        names,
        lambda: output.line(_NONE if value is None else value),
    )


def put(call: Call) -> int:
    """Give a parameter a value."""
    key, parameter = _find(call)
    value = call.word("VALUE")
    if parameter is not None and not parameter.accepts(value):
        text = f"The configuration value '{value}' is not recognized as a valid value."
        _require_force(call, text, f"Valid values: {parameter.values}.")
    encoded = _encode(value)
    if parameter is None and call.has("felix"):
        output.complain(
            f"{call.word('NAME')} is kept, and has no effect on the agents here."
        )
    call.store.commit(Transaction((), (Put(key, encoded),), call.note()))
    _warn(call, key, value)
    return 0


def _encode(value: str) -> bytes:
    if len(value) > _MAX_VALUE:
        raise Refused(
            f"The value has {len(value)} characters; {_MAX_VALUE} are the most."
        )
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused(f"The value {value!r} is no text.") from None


def remove(call: Call) -> int:
    """Take the value of a parameter away."""
    key, _ = _find(call)
    transaction = Transaction((), (Delete(key),), call.note())

    def decide(view: View) -> tuple[Transaction | None, bool]:
        return (transaction, True) if view.get(key) else (None, False)

    _, was_there = call.store.update(Scope(keys=(key,)), decide)
    output.line("Value removed" if was_there else _NONE)
    _warn(call, key, None)
    return 0


def _warn(call: Call, key: str, value: str | None) -> None:
    """Name the hosts that go by another value of their own, or do not exist.

    Args:
        call: The command.
        key: Where the value is. A host's own is in force there, if there is
            such a host.
        value: What is there; `None` for nothing.
    """
    parameter = decode_key(key)
    if not isinstance(parameter, SettingKey):
        return
    if parameter.host is not None:
        known = value is None or call.store.get(bird_ip_key(parameter.host))
        if not known:
            output.complain(
                f"WARNING: there is no host {parameter.host} yet; `calicoctl node show`"
                " lists the hosts."
            )
        return
    end = f"/config/{parameter.name}"
    for item in call.store.list_prefix(HOST_PREFIX).items:
        # Only what ends so is decoded: there may be many endpoints.
        own = decode_key(item.key) if item.key.endswith(end) else None
        if isinstance(own, SettingKey) and _shown(item) != value:
            command = f"calicoctl config felix {parameter.name} --host={own.host}"
            force = " --force" if call.has_option("--force") else ""
            output.complain(
                f"WARNING: host {own.host} has the value {_shown(item)} of its own,"
                f" which counts there; `{command} --remove{force}` takes it away."
            )


def _shown(item: KeyValue) -> str:
    return item.value.decode("utf-8", "backslashreplace")


def _find(call: Call) -> tuple[str, Parameter | None]:
    """Find the key of a parameter, and the parameter if it is known.

    Raises:
        Refused: It is not known, and `--force` was not given.
    """
    name = call.word("NAME")
    known = _FELIX if call.has("felix") else _BGP
    parameter = known.get(name)
    is_kept = call.has("felix") and name in _KEPT
    if parameter is None and not is_kept:
        text = f"The configuration '{name}' is not recognized as a valid option."
        _require_force(call, text, f"Valid options: {', '.join(known)}.")
    stored_as = name if parameter is None else parameter.stored_as
    try:
        return _key(call, stored_as), parameter
    except InvalidResource as error:
        raise Refused(str(error)) from None


def _key(call: Call, name: str) -> str:
    if call.has("felix"):
        host = call.option("--host")
        own = None if host is None else parse_host_name(host)
        return encode_key(SettingKey(name, own))
    return bgp_config_key(call.settings.hostname if call.has("node") else None, name)


def _require_force(call: Call, text: str, valid: str) -> None:
    if not call.has_option("--force"):
        raise Refused(paragraph(text), paragraph(_FORCE_IT), valid)
    output.complain_paragraph(_FORCED)
