"""How a connection to etcd is kept alive without etcd ending it for that."""

from calico.store.etcd_transport import CHANNEL_OPTIONS

ETCD_TAKES_ONE_EVERY_MS = 5000


def test_no_more_pings_than_etcd_takes() -> None:
    options = dict(CHANNEL_OPTIONS)
    assert options["grpc.keepalive_time_ms"] > ETCD_TAKES_ONE_EVERY_MS
    # Without a call etcd wants hours between two, and ends the connection, with
    # whatever call has just begun on it, at the third.
    assert options["grpc.keepalive_permit_without_calls"] == 0
