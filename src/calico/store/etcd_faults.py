"""What etcd's and gRPC's errors mean to who asked.

Theory of operation. Three things matter about an error: whether the request
can have had an effect, whether another member may do better, and what to tell
the user. A connection that never came about carried nothing. Whatever broke
later may have carried a write, so its outcome is unknown. And what etcd itself
refuses, it has not done.
"""

from enum import Enum

import grpc

from calico.model.errors import (
    CalicoError,
    StoreNotPermitted,
    Unavailable,
)
from calico.store.etcd_certificate import common_name
from calico.store.etcd_place import EtcdPlace

_NOT_CONNECTED = (
    "failed to connect to all addresses",
    "connections to all backends failing",
    "DNS resolution failed",
    "name resolution failed",
    "empty address list",
    "no address added",
    "could not resolve",
)
_NOT_MADE = ("etcdserver: no leader", "etcdserver: too many requests")
_BROKEN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.ABORTED,
    }
)
_NO_USER = ("user name is empty", "invalid auth token", "user name not found")


class Fault(Enum):
    """What an error leaves open.

    `NOT_SENT`: nothing got there. `NOT_MADE`: it got there, and was put off.
    `BROKEN`: it may have had its effect. `REFUSED`: it was answered with no.
    """

    NOT_SENT = "not sent"
    NOT_MADE = "not made"
    BROKEN = "broken"
    REFUSED = "refused"


class EtcdRefused(Exception):  # noqa: N818 -- says what happened, and stays in here
    """An answer of etcd that its caller gives a meaning to.

    Attributes:
        details: etcd's words.
    """

    def __init__(self, details: str) -> None:
        super().__init__(details)
        self.details = details

    def says(self, words: str) -> bool:
        """Report whether etcd's words contain others."""
        return words in self.details


def details_of(error: grpc.RpcError) -> str:
    """Return the words of an error."""
    told = getattr(error, "details", None)
    return str(told() or "") if callable(told) else str(error)


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the kind of an error."""
    told = getattr(error, "code", None)
    found = told() if callable(told) else None
    return found if isinstance(found, grpc.StatusCode) else grpc.StatusCode.UNKNOWN


def classify(error: grpc.RpcError) -> Fault:
    """Say what an error leaves open."""
    code, details = code_of(error), details_of(error)
    if any(words in details for words in _NOT_MADE):
        return Fault.NOT_MADE
    if code is grpc.StatusCode.UNAVAILABLE and any(
        words in details for words in _NOT_CONNECTED
    ):
        return Fault.NOT_SENT
    return Fault.BROKEN if code in _BROKEN else Fault.REFUSED


def explain_refusal(
    place: EtcdPlace, url: str, error: grpc.RpcError, what: str
) -> CalicoError | EtcdRefused:
    """Turn what etcd refuses into an error of ours, where it has one meaning.

    Args:
        place: Which etcd, and who we are there.
        url: The member that answered.
        error: Its answer.
        what: What was to be done with which key, for people.
    """
    code, details = code_of(error), details_of(error)
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return not_permitted(place, url, what)
    if any(words in details for words in _NO_USER):
        return _no_user(place, url)
    if "database space exceeded" in details:
        return no_space(url)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Unavailable(
            url,
            "is no etcd with the v3 interface, or a proxy that does not pass it on",
            ("see that etcd 3.4 or later listens there",),
        )
    return EtcdRefused(details or code.name)


def not_permitted(place: EtcdPlace, url: str, what: str) -> StoreNotPermitted:
    """Say who may not do what."""
    user = common_name(place.certificate)
    who = f"user {user}" if user else "a client without certificate"
    return StoreNotPermitted(
        url,
        f"{who} may not {what}",
        ("`calicoctl datastore roles` prints what lets a host or an operator in",),
    )


def _no_user(place: EtcdPlace, url: str) -> StoreNotPermitted:
    user = common_name(place.certificate)
    if user is None:
        return StoreNotPermitted(
            url,
            "asks who we are, and no certificate was shown",
            ("set ETCD_CERT_FILE and ETCD_KEY_FILE",),
        )
    return StoreNotPermitted(
        url,
        f"knows no user {user}, the common name in {place.settings.cert_file}",
        ("`calicoctl datastore roles` prints the commands that make one",),
    )


def no_space(url: str) -> Unavailable:
    """Say that etcd takes nothing in any more."""
    return Unavailable(
        url,
        "etcd's database is at its quota (alarm NOSPACE) and takes no change",
        (
            "compact and defragment it, then `etcdctl alarm disarm`",
            "raise etcd's --quota-backend-bytes",
        ),
    )
