from strategies import endpoint_key

from calico.compiler.problems import (
    address_problem,
    interface_problem,
    refusal_problems,
    remote_problems,
    undecodable_problems,
)
from calico.compiler.profiles import ProfileSources
from calico.model.names import ProfileId
from calico.model.rule import ProfileRules
from calico.model.snapshot import Undecodable


def test_undecodable_values_go_by_their_key() -> None:
    resources = (Undecodable("/a", "why"), ProfileRules(), Undecodable("/b", "how"))
    assert undecodable_problems(resources) == {"/a": "why", "/b": "how"}


def test_endpoints_of_other_hosts_are_counted_and_not_named() -> None:
    assert remote_problems(0) == {}
    assert remote_problems(3) == {
        "endpoints of other hosts": "3 cannot be decoded and are in no tag"
    }


def test_only_usable_rules_can_be_refused() -> None:
    web, gone = ProfileId("web"), ProfileId("gone")
    refused = {web: "too big", gone: "too late"}
    sources = ProfileSources({}, {web: ProfileRules()}, {}, refused)
    assert refusal_problems(sources) == {
        "profile web": "the kernel refused its rules: too big"
    }


def test_quarrels_go_by_a_readable_name() -> None:
    assert interface_problem(endpoint_key(0)) == "endpoint namespace/w0/eth0"
    assert address_problem(b"\x0a\x00\x00\x01") == "address 10.0.0.1"
