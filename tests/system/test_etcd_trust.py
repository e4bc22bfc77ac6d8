"""Who may use an etcd, and what is said when somebody may not, or it is none."""

import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from etcd_servers import Authority, EtcdCluster, etcd_cluster

from calico.model.errors import InvalidResource, StoreNotPermitted, Unavailable
from calico.settings import EtcdSettings
from calico.store.etcd import EtcdStore, open_etcd
from calico.store.etcd_certificate import common_name
from calico.store.etcd_place import read_place

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[EtcdCluster]:
    with etcd_cluster(authority=authority) as cluster:
        opening(cluster.settings()).close()
        yield cluster


@pytest.fixture(scope="module")
def plain() -> Iterator[EtcdCluster]:
    with etcd_cluster() as cluster:
        opening(cluster.settings()).close()
        yield cluster


def opening(settings: EtcdSettings) -> EtcdStore:
    return open_etcd(read_place(settings), may_make=True)


def refusal(settings: EtcdSettings) -> str:
    with pytest.raises(Unavailable) as caught:
        opening(settings).close()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_authority_that_did_not_sign_is_not_trusted(
    secure: EtcdCluster, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    said = refusal(replace(secure.settings(), ca_cert_file=other.ca))
    assert f"the certificate that it shows is not signed by {other.ca}" in said
    assert "set ETCD_CA_CERT_FILE" in said


def test_certificate_for_another_host_is_not_trusted(
    authority: Authority, tmp_path: Path
) -> None:
    server = authority.sign("etcd", alt_names="DNS:elsewhere,IP:127.0.0.1")
    with etcd_cluster(tmp_path, authority=authority, server=server) as cluster:
        opening(cluster.settings()).close()
        named = cluster.urls[0].replace("127.0.0.1", "localhost")
        said = refusal(cluster.settings(named))
    assert "the certificate that it shows is not for localhost" in said


def test_expired_certificate_of_the_server_is_said(
    authority: Authority, tmp_path: Path
) -> None:
    server = authority.sign("etcd", expired=True)
    cluster = etcd_cluster(tmp_path, authority=authority, server=server, wait=False)
    with cluster as started:
        started.wait_until_listening()
        said = refusal(started.settings())
    assert "the certificate that it shows has expired" in said
    assert "clock" in said


def test_client_needs_a_certificate_that_is_good(
    secure: EtcdCluster, authority: Authority, tmp_path: Path
) -> None:
    nobody = replace(secure.settings(), cert_file=None, key_file=None)
    said = refusal(nobody)
    assert "asks for a certificate, and none was shown; set ETCD_CERT_FILE" in said
    late = authority.sign("late", expired=True)
    said = refusal(secure.settings(client=late))
    assert f"does not accept the certificate in {late.cert}: it has expired" in said
    foreign = Authority(tmp_path / "other").sign("root")
    said = refusal(secure.settings(client=foreign))
    assert f"does not accept the certificate in {foreign.cert}" in said
    swapped = replace(secure.settings(), key_file=late.key)
    assert "cannot be used together" in refusal(swapped)


def test_scheme_that_does_not_fit_is_said(
    secure: EtcdCluster, plain: EtcdCluster
) -> None:
    bare = secure.urls[0].replace("https", "http")
    without = EtcdSettings((bare,), "ETCD_ENDPOINTS")
    assert "speaks TLS does; write its URL with https" in refusal(without)
    dressed = plain.urls[0].replace("http", "https")
    said = refusal(secure.settings(dressed))
    assert "does not speak TLS does; write its URL with http://" in said


def test_what_is_no_etcd_is_said() -> None:
    server = http.server.HTTPServer(
        ("127.0.0.1", 0), http.server.BaseHTTPRequestHandler
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        said = refusal(EtcdSettings((url,), "ETCD_ENDPOINTS"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "is no etcd: it answers, but not as etcd does" in said


def test_etcd_of_another_age_is_said() -> None:
    class Old(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"etcdserver":"2.3.7","etcdcluster":"2.3.0"}')

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the library's
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Old)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        said = refusal(EtcdSettings((url,), "ETCD_ENDPOINTS"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "is etcd 2.3.7, which is too old; run etcd 3.4" in said


def test_one_dead_member_among_the_endpoints_does_no_harm(plain: EtcdCluster) -> None:
    for urls in (
        ("http://127.0.0.1:1", *plain.urls),
        (*plain.urls, "http://127.0.0.1:1"),
    ):
        store = opening(plain.settings(*urls))
        assert store.list_prefix("/calico/").items == ()
        store.close()
    said = refusal(plain.settings("http://127.0.0.1:1", "http://127.0.0.1:2"))
    assert "no member can be used: http://127.0.0.1:1 cannot be connected to" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"endpoints": ("etcd:2379",)}, "found `etcd:2379`, expected a URL"),
        ({"endpoints": ("ftp://etcd:2379",)}, "expected a URL"),
        ({"endpoints": ("http://etcd",)}, "expected a URL"),
        ({"endpoints": ("http://etcd:99999",)}, "expected a URL"),
        ({"endpoints": ("http://a:1", "https://b:1")}, "http and https mixed"),
        *(
            ({"endpoints": (f"http://{host}:1",)}, "a URL such as https://10.0.0.1")
            for host in ("a" * 64, "a..b", ".a", ".", "a\nb", "a\tb", "a\x7fb")
        ),
        ({"endpoints": ("https://b:1",)}, "ETCD_CA_CERT_FILE: found nothing"),
        ({"cert_file": Path("/c")}, "ETCD_CERT_FILE without ETCD_KEY_FILE"),
        ({"key_file": Path("/k")}, "ETCD_KEY_FILE without ETCD_CERT_FILE"),
        (
            {"endpoints": ("http://u:secret@b:1",)},
            "found `http://…@b:1`, expected a URL",
        ),
        (
            {"endpoints": ("https://b:1",), "ca_cert_file": Path("/dev/zero")},
            "/dev/zero without PEM",
        ),
        (
            {"endpoints": ("https://b:1",), "ca_cert_file": Path("/nowhere")},
            "/nowhere: No such file or directory",
        ),
        (
            {"endpoints": ("https://b:1",), "ca_cert_file": Path("/etc/hostname")},
            "/etc/hostname without PEM",
        ),
    ],
)
def test_settings_that_lead_nowhere_are_refused(
    change: dict[str, object], said: str
) -> None:
    given: dict[str, Any] = {"endpoints": ("http://a:1",), **change}
    with pytest.raises(InvalidResource) as caught:
        read_place(EtcdSettings(variable="ETCD_ENDPOINTS", **given))
    assert said in str(caught.value)


@pytest.mark.parametrize("host", ["a" * 63, "a.b.", "10.0.0.1", "[fd31::1]", "[::1]"])
def test_name_or_address_that_can_be_asked_for_is_taken(host: str) -> None:
    settings = EtcdSettings(variable="ETCD_ENDPOINTS", endpoints=(f"http://{host}:1",))
    assert read_place(settings).endpoints[0].target == f"{host}:1"


def test_user_is_the_common_name(secure: EtcdCluster) -> None:
    assert common_name(read_place(secure.settings()).certificate) == "root"
    assert common_name(b"no certificate") is None


def test_user_who_may_not_is_named_with_the_key(
    secure: EtcdCluster, authority: Authority
) -> None:
    guest = authority.sign("guest")
    secure.etcdctl("user", "add", "root", "--no-password")
    secure.etcdctl("user", "grant-role", "root", "root")
    secure.etcdctl("user", "add", "guest", "--no-password")
    secure.etcdctl("role", "add", "guest")
    secure.etcdctl(
        *("role", "grant-permission", "guest", "read", "--prefix=true"),
        "/calico/store/v1/",
    )
    secure.etcdctl("user", "grant-role", "guest", "guest")
    secure.etcdctl("auth", "enable")
    try:
        store = opening(secure.settings(client=guest))
        with pytest.raises(StoreNotPermitted) as caught:
            store.get("/calico/v1/Ready")
        assert "user guest may not read /calico/v1/Ready" in str(caught.value)
        watch = store.watch(
            "/calico/v1/", store.list_prefix("/calico/store/v1/").revision
        )
        with pytest.raises(StoreNotPermitted) as caught:
            watch.read(10.0)
        assert "user guest may not watch below '/calico/v1/'" in str(caught.value)
        watch.close()
        store.close()
        said = refusal(secure.settings(client=authority.sign("stranger")))
        assert "user stranger may not read /calico/store/v1/id" in said
    finally:
        secure.etcdctl("auth", "disable")
