import pytest
from strategies import endpoint_key

from calico.ir.origin import (
    EndOfProfiles,
    Fault,
    FaultOrigin,
    Fixed,
    FixedOrigin,
    InactiveEndpoint,
    Origin,
    RuleOrigin,
    SourceCheck,
    endpoint_text,
)
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    OrchestratorId,
    ProfileId,
    WorkloadId,
)
from calico.model.rule import Direction

WEB = ProfileId("WEB")
# What a kernel rule's comment holds.
LONGEST_COMMENT = 250


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (RuleOrigin(WEB, Direction.INBOUND, 2), "profile WEB inbound rule 2"),
        (FaultOrigin(WEB, Fault.MISSING), "profile WEB does not exist"),
        (EndOfProfiles((), Direction.OUTBOUND), "end of profiles outbound: (none)"),
        (
            EndOfProfiles((WEB, ProfileId("DB")), Direction.INBOUND),
            "end of profiles inbound: WEB DB",
        ),
        (SourceCheck(endpoint_key(0)), "source check of namespace/w0/eth0"),
        (InactiveEndpoint(endpoint_key(0)), "inactive endpoint namespace/w0/eth0"),
        (FixedOrigin(Fixed.OWN_HOST), "the host reaches its own workloads"),
    ],
)
def test_origin_reads_well(origin: Origin, text: str) -> None:
    assert origin.text == text


def test_long_lists_are_short_and_told_apart() -> None:
    common = tuple(ProfileId(f"profile-{n:03}") for n in range(99))
    lists = [(*common, ProfileId(last)) for last in ("x", "y")]
    texts = {EndOfProfiles(each, Direction.INBOUND).text for each in lists}
    assert len(texts) == 2
    assert all("100 profiles" in text for text in texts)
    assert all(len(text.encode()) <= LONGEST_COMMENT for text in texts)


def test_long_endpoints_are_short_and_told_apart() -> None:
    def name(middle: str) -> EndpointKey:
        return EndpointKey(
            HostName("h"),
            OrchestratorId("o" * 60),
            WorkloadId("w" * 60 + middle + "w" * 60),
            EndpointId("e" * 60),
        )

    texts = {endpoint_text(name(middle)) for middle in "ab"}
    assert len(texts) == 2
    assert all(len(text.encode()) <= LONGEST_COMMENT for text in texts)
