"""What our own certificate says: whom it stands for, and until when.

Of X.509 only as much is read as an error message needs; whether a certificate
is good is for TLS to find.
"""

import ssl
from datetime import UTC, datetime

_COMMON_NAME = bytes.fromhex("0603550403")
_VERSION = 0xA0
_LONG = 0x80
_UTC_TIME = 0x17
_N_BEFORE_SUBJECT = 4


def common_name(certificate: bytes | None) -> str | None:
    """Return the user that a certificate in PEM stands for in etcd.

    Returns:
        The common name of its subject; `None` if there is none.
    """
    try:
        der, places = _read(certificate or b"")
        begin, end = _enter(der, places[_N_BEFORE_SUBJECT])
        subject = der[begin:end]
        place = subject.rindex(_COMMON_NAME)
        begin, end = _enter(subject, place + len(_COMMON_NAME))
        return subject[begin:end].decode("utf-8", "replace")
    except (ValueError, IndexError):
        return None


def has_expired(certificate: bytes | None, now: datetime) -> bool:
    """Report whether the time of a certificate in PEM is over."""
    try:
        der, places = _read(certificate or b"")
        first, _ = _enter(der, places[_N_BEFORE_SUBJECT - 1])
        last = _enter(der, first)[1]
        begin, end = _enter(der, last)
        text = der[begin:end].decode("ascii")
        form = "%y%m%d%H%M%SZ" if der[last] == _UTC_TIME else "%Y%m%d%H%M%SZ"
        return datetime.strptime(text, form).replace(tzinfo=UTC) < now
    except (ValueError, IndexError):
        return False


def _read(certificate: bytes) -> tuple[bytes, list[int]]:
    """Return the first certificate in DER, and where its parts begin.

    They are serial number, algorithm, issuer, validity and subject.
    """
    end_line = "-----END CERTIFICATE-----"
    text = certificate.decode("ascii", "replace")
    begin = text.index("-----BEGIN CERTIFICATE-----")
    end = text.index(end_line, begin)
    der = ssl.PEM_cert_to_DER_cert(f"{text[begin:end]}{end_line}\n")
    at = _enter(der, _enter(der, 0)[0])[0]
    if der[at] == _VERSION:
        at = _enter(der, at)[1]
    places = [at]
    for _ in range(_N_BEFORE_SUBJECT):
        places.append(_enter(der, places[-1])[1])
    return der, places


def _enter(der: bytes, at: int) -> tuple[int, int]:
    """Return where the content of a DER value begins and where it ends."""
    length, begin = der[at + 1], at + 2
    if length >= _LONG:
        n_bytes = length - _LONG
        length = int.from_bytes(der[begin : begin + n_bytes], "big")
        begin += n_bytes
    return begin, begin + length
