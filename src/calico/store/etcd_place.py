"""Where etcd is and what is shown to it, read out of the settings and checked.

Not here: whether anybody answers there (`etcd_transport`), and why not
(`etcd_diagnosis`).
"""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from calico.model.errors import InvalidResource
from calico.settings import EtcdSettings

_SCHEMES = ("http", "https")
_URL = "a URL such as https://10.0.0.1:2379"
_MAX_LABEL = 63
_MAX_PEM_BYTES = 1 << 20


class Endpoint(NamedTuple):
    """One member's address for clients.

    Attributes:
        url: As the user wrote it.
        host: Name or address, without brackets.
        port: The port.
        is_secure: TLS is spoken there.
    """

    url: str
    host: str
    port: int
    is_secure: bool

    @property
    def target(self) -> str:
        """Host and port, as gRPC wants them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class EtcdPlace(NamedTuple):
    """An etcd and our identity there.

    Attributes:
        endpoints: At least one, all with TLS or none.
        ca: Certificates, in PEM, of who signs the servers'; `None` without TLS.
        certificate: Ours, in PEM, if we have one.
        key: Its key.
        settings: Where all this comes from.
    """

    endpoints: tuple[Endpoint, ...]
    ca: bytes | None
    certificate: bytes | None
    key: bytes | None
    settings: EtcdSettings

    @property
    def name(self) -> str:
        """The endpoints, for people."""
        return ", ".join(each.url for each in self.endpoints)


def read_place(settings: EtcdSettings) -> EtcdPlace:
    """Check the settings and read the files that they name.

    Raises:
        InvalidResource: They do not say where etcd is, or a file cannot be read.
    """
    endpoints = tuple(
        _parse_endpoint(settings.variable, url) for url in settings.endpoints
    )
    if len({each.is_secure for each in endpoints}) > 1:
        raise InvalidResource(
            settings.variable,
            "http and https mixed",
            "URLs with one scheme",
            "what one member protects, another must not give away",
        )
    _check_pairs(settings, is_secure=endpoints[0].is_secure)
    if not endpoints[0].is_secure:
        return EtcdPlace(endpoints, None, None, None, settings)
    return EtcdPlace(
        endpoints,
        _read_file("ETCD_CA_CERT_FILE", settings.ca_cert_file),
        _read_file("ETCD_CERT_FILE", settings.cert_file),
        _read_file("ETCD_KEY_FILE", settings.key_file),
        settings,
    )


def _parse_endpoint(variable: str, url: str) -> Endpoint:
    scheme, _, rest = url.partition("://")
    if not rest or scheme not in _SCHEMES:
        where = "ETCD_SCHEME" if variable == "ETCD_AUTHORITY" else variable
        found = scheme if variable == "ETCD_AUTHORITY" else url
        accepted = "http or https" if variable == "ETCD_AUTHORITY" else _URL
        raise InvalidResource(where, f"`{found}`", accepted)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    extra = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if not host or not port or extra or not _is_host(host) or not url.isprintable():
        raise InvalidResource(variable, f"`{_without_user(url)}`", _URL)
    return Endpoint(url.rstrip("/"), host, port, scheme == "https")


def _without_user(url: str) -> str:
    """Return a URL as it may be shown: a password is nobody's to read."""
    before, at, after = url.rpartition("@")
    return f"{before.partition('://')[0]}://…@{after}" if at else url


def _is_host(text: str) -> bool:
    """Report whether a resolver can be asked for a name or address at all.

    One with a label that is empty or too long is refused by Python's own idna
    codec, before anybody is asked, and not with an error of the network.
    """
    labels = text.removesuffix(".").split(".")
    return (
        text.isascii()
        and not set(text) & set(" \\%")
        and all(0 < len(label) <= _MAX_LABEL for label in labels)
    )


def _check_pairs(settings: EtcdSettings, *, is_secure: bool) -> None:
    has_key, has_certificate = bool(settings.key_file), bool(settings.cert_file)
    if has_key != has_certificate:
        given, absent = ("ETCD_KEY_FILE", "ETCD_CERT_FILE")[:: 1 if has_key else -1]
        raise InvalidResource(
            given, f"{given} without {absent}", "both or neither", f"set {absent} too"
        )
    if is_secure and settings.ca_cert_file is None:
        raise InvalidResource(
            "ETCD_CA_CERT_FILE",
            "nothing",
            "the certificate of who signs the servers', as the URLs are https",
            "an etcd that is not recognised is not used",
        )


def _read_file(variable: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            found = file.read(_MAX_PEM_BYTES)
    except OSError as error:
        raise InvalidResource(
            variable,
            f"{path}: {error.strerror}",
            "a file in PEM that this user may read",
        ) from None
    if b"-----BEGIN" not in found:
        raise InvalidResource(variable, f"{path} without PEM", "a file in PEM")
    return found
