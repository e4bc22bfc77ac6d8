import pytest
from strategies import HOST, OTHER

from calico.compiler.settings import compile_settings
from calico.model.network import DEFAULT_SETTINGS, EndpointToHostAction, HostSettings
from calico.model.snapshot import SettingKey, Undecodable

DROP, RETURN, ACCEPT = (
    EndpointToHostAction.DROP,
    EndpointToHostAction.RETURN,
    EndpointToHostAction.ACCEPT,
)


def one(name: str, text: str) -> tuple[HostSettings, dict[str, str]]:
    return compile_settings({SettingKey(name): text}, HOST)


def test_unset_means_the_default() -> None:
    assert compile_settings({}, HOST) == (DEFAULT_SETTINGS, {})


@pytest.mark.parametrize(
    ("text", "action"),
    [("DROP", DROP), ("RETURN", RETURN), ("ACCEPT", ACCEPT), (" return ", RETURN)],
)
def test_action_is_read(text: str, action: EndpointToHostAction) -> None:
    settings, problems = one("DefaultEndpointToHostAction", text)
    assert settings.endpoint_to_host is action
    assert problems == {}


@pytest.mark.parametrize("text", ["true", "True", "1", "yes", "on"])
def test_switch_is_on(text: str) -> None:
    assert one("WorkloadDns", text) == (DEFAULT_SETTINGS, {})


@pytest.mark.parametrize("text", ["false", "FALSE", "0", "no", " off"])
def test_switch_is_off(text: str) -> None:
    settings, problems = one("WorkloadDhcp", text)
    assert not settings.workload_dhcp
    assert settings.workload_dns
    assert problems == {}


def test_drop_log_is_on_unless_switched_off() -> None:
    assert one("WorkloadDhcp", "true")[0].drop_log
    assert one("DropLog", "off") == (HostSettings(drop_log=False), {})


@pytest.mark.parametrize(
    ("text", "prefixes"),
    [
        ("tap", ("tap", "cali")),
        ("cali,tap", ("cali", "tap")),
        (" tap , tap", ("tap", "cali")),
    ],
)
def test_prefixes_are_read(text: str, prefixes: tuple[str, ...]) -> None:
    settings, problems = one("InterfacePrefix", text)
    assert settings.interface_prefixes == prefixes
    assert problems == {}


@pytest.mark.parametrize(
    ("name", "text", "closed"),
    [
        (
            "DefaultEndpointToHostAction",
            "REJECT",
            HostSettings(endpoint_to_host=EndpointToHostAction.DROP),
        ),
        ("WorkloadDns", "perhaps", HostSettings(workload_dns=False)),
        ("WorkloadDhcp", "", HostSettings(workload_dhcp=False)),
        ("CutEstablishedFlows", "2", HostSettings(cut_established=True)),
        ("DropLog", "of", HostSettings(drop_log=True)),
        ("InterfacePrefix", "", HostSettings()),
        ("InterfacePrefix", "no/slash", HostSettings()),
        ("InterfacePrefix", "x" * 16, HostSettings()),
        ("InterfacePrefix", "tap,", HostSettings(interface_prefixes=("tap", "cali"))),
    ],
)
def test_bad_value_takes_the_closed_side_and_is_a_problem(
    name: str, text: str, closed: HostSettings
) -> None:
    settings, problems = one(name, text)
    assert settings == closed
    assert list(problems) == [f"setting {name}"]
    assert f"found `{text}`" in problems[f"setting {name}"]


@pytest.mark.parametrize(
    ("name", "closed"),
    [
        ("DefaultEndpointToHostAction", HostSettings()),
        ("WorkloadDns", HostSettings(workload_dns=False)),
        ("InterfacePrefix", HostSettings()),
    ],
)
def test_undecodable_value_is_a_problem_by_its_key(
    name: str, closed: HostSettings
) -> None:
    broken = Undecodable("/calico/v1/config/x", "no text")
    settings, problems = compile_settings({SettingKey(name): broken}, HOST)
    assert settings == closed
    assert problems["/calico/v1/config/x"].startswith("no text, expected ")


def test_host_value_counts_before_the_global_one() -> None:
    name = "DefaultEndpointToHostAction"
    parameters = {
        SettingKey(name): "RETURN",
        SettingKey(name, HOST): "ACCEPT",
        SettingKey(name, OTHER): "DROP",
    }
    assert compile_settings(parameters, HOST)[0].endpoint_to_host is ACCEPT
    assert compile_settings(parameters, OTHER)[0].endpoint_to_host is DROP


def test_bad_host_value_does_not_fall_back_to_the_global_one() -> None:
    parameters = {
        SettingKey("WorkloadDns"): "true",
        SettingKey("WorkloadDns", HOST): "ture",
    }
    settings, problems = compile_settings(parameters, HOST)
    assert not settings.workload_dns
    assert list(problems) == [f"setting WorkloadDns of host {HOST}"]


def test_bad_global_value_is_no_problem_where_the_host_has_its_own() -> None:
    parameters = {
        SettingKey("WorkloadDns"): "ture",
        SettingKey("WorkloadDns", HOST): "true",
    }
    assert compile_settings(parameters, HOST) == (DEFAULT_SETTINGS, {})


def test_other_parameters_have_no_effect() -> None:
    assert one("LogSeverityScreen", "nonsense") == (DEFAULT_SETTINGS, {})
