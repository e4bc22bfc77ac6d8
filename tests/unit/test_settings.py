"""What the environment says, and what it says when it is silent."""

import os
import re
from pathlib import Path

import pytest

from calico.model.errors import InvalidResource
from calico.model.names import HostName
from calico.settings import BadAuthority, EtcdSettings, Settings


def test_an_empty_environment_gives_the_documented_places() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings(
        hostname=settings.hostname,
        data_dir=Path("/var/lib/calico"),
        run_dir=Path("/run/calico"),
        log_dir=Path("/var/log/calico"),
        etcd=None,
    )
    assert settings.hostname == os.uname().nodename


def test_an_empty_value_counts_as_unset() -> None:
    names = (
        *("ETCD_ENDPOINTS", "ETCD_AUTHORITY", "ETCD_SCHEME", "HOSTNAME"),
        *("CALICO_DATA_DIR", "CALICO_RUN_DIR", "CALICO_LOG_DIR"),
    )
    assert Settings.from_environment(
        dict.fromkeys(names, "")
    ) == Settings.from_environment({})


def test_directories_and_host_name_are_taken_as_given() -> None:
    settings = Settings.from_environment(
        {
            "HOSTNAME": "node-1.example",
            "CALICO_DATA_DIR": "/d",
            "CALICO_RUN_DIR": "/r",
            "CALICO_LOG_DIR": "relative",
        }
    )
    assert settings == Settings(
        HostName("node-1.example"), Path("/d"), Path("/r"), Path.cwd() / "relative"
    )


def test_a_host_name_that_is_none_is_refused_by_its_variable() -> None:
    with pytest.raises(InvalidResource) as caught:
        Settings.from_environment({"HOSTNAME": "a/b"})
    assert caught.value.where == "HOSTNAME"
    assert "a/b" in str(caught.value)


def test_endpoints_win_over_authority() -> None:
    settings = Settings.from_environment(
        {"ETCD_ENDPOINTS": "https://a:1, https://b:2", "ETCD_AUTHORITY": "c:3"}
    )
    assert settings.etcd == EtcdSettings(
        ("https://a:1", "https://b:2"), "ETCD_ENDPOINTS"
    )


@pytest.mark.parametrize(
    ("scheme", "endpoint"),
    [("", "http://c:3"), ("http", "http://c:3"), ("https", "https://c:3")],
)
def test_authority_is_one_endpoint_of_the_scheme(scheme: str, endpoint: str) -> None:
    environ = {"ETCD_AUTHORITY": "c:3", "ETCD_SCHEME": scheme, "ETCD_KEY_FILE": "/k"}
    assert Settings.from_environment(environ).etcd == EtcdSettings(
        (endpoint,), "ETCD_AUTHORITY", key_file=Path("/k")
    )


def test_endpoints_that_name_none_are_refused_not_ignored() -> None:
    with pytest.raises(InvalidResource, match="ETCD_ENDPOINTS"):
        Settings.from_environment({"ETCD_ENDPOINTS": " , "})


@pytest.mark.parametrize(
    "text",
    ["noport", ":2379", "a:", "a:b", "a:0", "a:65536", "::1", "http://a:1", "a:²"],
)
def test_authority_without_address_or_port_is_refused(text: str) -> None:
    with pytest.raises(BadAuthority, match=re.escape(f"Value provided is '{text}'")):
        Settings.from_environment({"ETCD_AUTHORITY": text})


@pytest.mark.parametrize("text", ["a:65535", "10.0.0.1:1", "[::1]:2379"])
def test_authority_with_address_and_port_is_taken(text: str) -> None:
    etcd = Settings.from_environment({"ETCD_AUTHORITY": text}).etcd
    assert etcd is not None
    assert etcd.endpoints == (f"http://{text}",)


def test_tests_keep_off_the_directories_of_the_machine() -> None:
    found = Settings.from_environment(os.environ)
    machine = Settings.from_environment({"HOSTNAME": "h"})
    assert found.data_dir != machine.data_dir
    assert found.run_dir != machine.run_dir
    assert found.log_dir != machine.log_dir
    assert not found.data_dir.exists()
