from calico.ir.match import AddressMatch, IcmpMatch, TagSetId
from calico.model.names import TagName
from calico.netset import AddressSet, Family


def test_tag_sets_of_two_families_are_two() -> None:
    assert len({TagSetId(TagName("web"), family) for family in Family}) == 2


def test_absent_parts_restrict_nothing() -> None:
    assert AddressMatch(AddressSet.everything(Family.V4)).tag_set is None
    assert IcmpMatch(8).icmp_code is None
