"""What the environment says about this machine, read once.

Nothing else in the product reads environment variables for these: whoever
starts a process reads them here and hands the value on. Whether the values
are any good (can the directory be written, does an endpoint parse) is found
out by whoever uses them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from calico.model.errors import CalicoError, InvalidResource
from calico.model.names import HostName, parse_host_name

DEFAULT_DATA_DIR = Path("/var/lib/calico")
DEFAULT_RUN_DIR = Path("/run/calico")
DEFAULT_LOG_DIR = Path("/var/log/calico")
DEFAULT_ETCD_SCHEME = "http"

GROUP = "calico"
"""The group that may use what is the machine's, where it exists."""

_MAX_PORT = 65535


class BadAuthority(CalicoError):  # noqa: N818 -- says what happened, as the others do
    """`ETCD_AUTHORITY` is no address with a port.

    Attributes:
        found: What it is.
    """

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found

    def __str__(self) -> str:
        return (
            "Invalid ETCD_AUTHORITY. Address must take the form <address>:<port>."
            f" Value provided is '{self.found}'"
        )


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """Where etcd is, and what to show it.

    Attributes:
        endpoints: URLs in the order they were given, at least one.
        variable: The environment variable they came from.
        ca_cert_file: The certificates that sign the servers', if given.
        cert_file: Our own certificate, if given.
        key_file: The key of our certificate, if given.
    """

    endpoints: tuple[str, ...]
    variable: str
    ca_cert_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are.

    Attributes:
        hostname: The name of this host in the datastore.
        data_dir: The directory of the SQLite file.
        run_dir: The directory of the agent's socket and the pid files.
        log_dir: The directory of the logs.
        etcd: How to reach etcd; absent means the SQLite file in `data_dir`.
    """

    hostname: HostName
    data_dir: Path = DEFAULT_DATA_DIR
    run_dir: Path = DEFAULT_RUN_DIR
    log_dir: Path = DEFAULT_LOG_DIR
    etcd: EtcdSettings | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings out of environment variables.

        An empty value counts as unset. A relative directory is taken from the
        current directory, once, here.

        Args:
            environ: Usually `os.environ`.

        Raises:
            InvalidResource: `HOSTNAME`, or the kernel's name for this machine,
                cannot be a host name.
            BadAuthority: `ETCD_AUTHORITY` is no address with a port.
        """
        return cls(
            hostname=_hostname(environ),
            data_dir=_directory(environ, "CALICO_DATA_DIR", DEFAULT_DATA_DIR),
            run_dir=_directory(environ, "CALICO_RUN_DIR", DEFAULT_RUN_DIR),
            log_dir=_directory(environ, "CALICO_LOG_DIR", DEFAULT_LOG_DIR),
            etcd=_etcd(environ),
        )


def _hostname(environ: Mapping[str, str]) -> HostName:
    given = environ.get("HOSTNAME")
    try:
        return parse_host_name(given or os.uname().nodename)
    except InvalidResource as error:
        where = "HOSTNAME" if given else "the kernel's host name"
        hint = "" if given else "set HOSTNAME"
        raise InvalidResource(where, error.found, error.accepted, hint) from None


def _directory(environ: Mapping[str, str], name: str, default: Path) -> Path:
    given = environ.get(name)
    return Path(given).absolute() if given else default


def _etcd(environ: Mapping[str, str]) -> EtcdSettings | None:
    if listed := environ.get("ETCD_ENDPOINTS"):
        variable = "ETCD_ENDPOINTS"
        parts = (part.strip() for part in listed.split(","))
        endpoints = tuple(part for part in parts if part)
    elif authority := environ.get("ETCD_AUTHORITY"):
        variable = "ETCD_AUTHORITY"
        _verify_authority(authority)
        scheme = environ.get("ETCD_SCHEME") or DEFAULT_ETCD_SCHEME
        endpoints = (f"{scheme}://{authority}",)
    else:
        return None
    if not endpoints:
        raise InvalidResource(variable, repr(listed), "URLs separated by commas")
    return EtcdSettings(
        endpoints=endpoints,
        variable=variable,
        ca_cert_file=_file(environ, "ETCD_CA_CERT_FILE"),
        cert_file=_file(environ, "ETCD_CERT_FILE"),
        key_file=_file(environ, "ETCD_KEY_FILE"),
    )


def _verify_authority(text: str) -> None:
    host, _, port = text.rpartition(":")
    is_literal = host.startswith("[") and host.endswith("]")
    is_port = port.isascii() and port.isdecimal() and len(port) <= len("65535")
    if not (
        host
        and (is_literal or not set(host) & set(":/"))
        and is_port
        and 0 < int(port) <= _MAX_PORT
    ):
        raise BadAuthority(text)


def _file(environ: Mapping[str, str], name: str) -> Path | None:
    given = environ.get(name)
    return Path(given).absolute() if given else None


def how_to_join(afterwards: str) -> str:
    """Say how a user comes to be one of those who may use what is the machine's.

    Args:
        afterwards: What root must do for a group that was made just now.
    """
    import grp  # noqa: PLC0415 -- only an error needs it

    join = f"`usermod --append --groups {GROUP} USER`"
    try:
        grp.getgrnam(GROUP)
    except KeyError:
        return (
            f"let root make the group {GROUP} (`groupadd --system {GROUP}`), add you"
            f" to it ({join}) and {afterwards}, and log in again"
        )
    return f"let root add you to the group {GROUP} ({join}), and log in again"
