"""Why a member cannot be used, found out by looking once more.

gRPC says that it could not connect; the user needs to know whose certificate
is wrong. So the same address is tried with plain sockets, step by step, and
the first step that fails is the reason. Only an error costs this.
"""

import json
import socket
import ssl
from datetime import UTC, datetime
from typing import NamedTuple

from calico.store.etcd_certificate import has_expired
from calico.store.etcd_place import Endpoint, EtcdPlace

_PATIENCE_S = 2.0
_ASK = b"GET /version HTTP/1.0\r\nHost: etcd\r\n\r\n"
_MAX_ANSWER = 4096
_TLS_ALERT = 0x15
_OLDEST = (3, 4)
_OUTDATED = 10
_OTHER_HOST = frozenset({62, 64})
_UNTRUSTED = frozenset({2, 18, 19, 20, 21})


class Finding(NamedTuple):
    """What is wrong, and what to do about it."""

    reason: str
    next_steps: tuple[str, ...]


def diagnose(place: EtcdPlace, endpoint: Endpoint, details: str) -> Finding:
    """Find out why a member does not answer.

    Args:
        place: Which etcd.
        endpoint: Which member.
        details: gRPC's words, for when nothing else is found.
    """
    context = None
    if endpoint.is_secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if found := _load(context, place):
            return found
    try:
        connection = socket.create_connection(
            (endpoint.host, endpoint.port), _PATIENCE_S
        )
    except OSError as error:
        return Finding(
            f"cannot be connected to: {_words(error)}",
            ("see that etcd runs there and that the address is right",),
        )
    with connection:
        try:
            return _ask(context, endpoint, connection, details, place)
        except OSError as error:
            return Finding(
                f"breaks off while it is asked how it is: {_words(error)}",
                ("see that etcd runs there, and its log",),
            )


def _load(context: ssl.SSLContext, place: EtcdPlace) -> Finding | None:
    settings = place.settings
    try:
        context.load_verify_locations(cadata=(place.ca or b"").decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        return Finding(
            f"{settings.ca_cert_file} holds no certificate that can be used:"
            f" {_words(error)}",
            ("set ETCD_CA_CERT_FILE to the certificate of who signs etcd's",),
        )
    if settings.cert_file is None or settings.key_file is None:
        return None
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        return Finding(
            f"{settings.cert_file} and {settings.key_file} cannot be used together:"
            f" {_words(error)}",
            ("set ETCD_KEY_FILE to the key, not encrypted, of ETCD_CERT_FILE",),
        )
    return None


def _ask(
    context: ssl.SSLContext | None,
    endpoint: Endpoint,
    connection: socket.socket,
    details: str,
    place: EtcdPlace,
) -> Finding:
    if context is None:
        return _judge(_exchange(connection), details)
    try:
        secure = context.wrap_socket(connection, server_hostname=endpoint.host)
    except ssl.SSLCertVerificationError as error:
        return _distrust(endpoint, error, place)
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return Finding(
            "hangs up when TLS begins, as one that does not speak TLS does",
            ("write its URL with http:// if it speaks none",),
        )
    except OSError as error:
        return _refused(error, place)
    try:
        with secure:
            return _judge(_exchange(secure), details)
    except OSError as error:
        return _refused(error, place)


def _exchange(connection: socket.socket) -> bytes:
    connection.sendall(_ASK)
    answer = b""
    while len(answer) < _MAX_ANSWER and (more := connection.recv(_MAX_ANSWER)):
        answer += more
    return answer


def _judge(answer: bytes, details: str) -> Finding:
    if not answer or answer[:1] == bytes((_TLS_ALERT,)) or b"HTTPS server" in answer:
        how = "speaks TLS" if answer else "hangs up, as one that speaks TLS does"
        return Finding(how, ("write its URL with https:// if it speaks TLS",))
    try:
        version = str(json.loads(answer.partition(b"\r\n\r\n")[2])["etcdserver"])
        numbers = tuple(int(each) for each in version.split(".")[:2])
    except (ValueError, KeyError, TypeError):
        return Finding(
            "is no etcd: it answers, but not as etcd does",
            ("see that the address is that of etcd's clients, mostly port 2379",),
        )
    if numbers < _OLDEST:
        return Finding(f"is etcd {version}, which is too old", ("run etcd 3.4",))
    return Finding(
        f"is etcd {version}, but does not answer in time ({details or 'no reason'})",
        ("see with `etcdctl endpoint status --cluster` that it has a leader",),
    )


def _distrust(
    endpoint: Endpoint, error: ssl.SSLCertVerificationError, place: EtcdPlace
) -> Finding:
    code = error.verify_code
    ca = place.settings.ca_cert_file
    if code == _OUTDATED:
        return Finding(
            "the certificate that it shows has expired",
            ("renew it, or see that this machine's clock is right",),
        )
    if code in _OTHER_HOST:
        return Finding(
            f"the certificate that it shows is not for {endpoint.host}",
            ("name the member as its certificate does, or give it one with this name",),
        )
    if code in _UNTRUSTED:
        return Finding(
            f"the certificate that it shows is not signed by {ca}",
            ("set ETCD_CA_CERT_FILE to the certificate of who signed it",),
        )
    return Finding(f"the certificate that it shows: {error.verify_message}", ())


def _refused(error: OSError, place: EtcdPlace) -> Finding:
    told = error.reason if isinstance(error, ssl.SSLError) else None
    reason = (told or _words(error)).lower().replace("_", " ")
    if "wrong version" in reason or "record layer" in reason:
        return Finding("does not speak TLS", ("write its URL with http://",))
    if place.certificate is None:
        return Finding(
            "asks for a certificate, and none was shown",
            ("set ETCD_CERT_FILE and ETCD_KEY_FILE",),
        )
    own = place.settings.cert_file
    if has_expired(place.certificate, datetime.now(UTC)):
        return Finding(
            f"does not accept the certificate in {own}: it has expired", ("renew it",)
        )
    return Finding(
        f"does not accept the certificate in {own}: {reason}",
        ("have one signed by the authority that etcd trusts (--trusted-ca-file)",),
    )


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
