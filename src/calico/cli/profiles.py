"""What the commands about profiles share: reading one, or refusing."""

from collections.abc import Iterable

from calico.cli.refusal import Refused, paragraph
from calico.codec.keys import encode_key, profile_prefix
from calico.model.errors import InvalidResource
from calico.model.names import (
    MAX_NAME_LENGTH,
    ProfileId,
    TagName,
    parse_profile_id,
    parse_tag_name,
)
from calico.model.rule import ProfileRules
from calico.model.snapshot import (
    ProfileRulesKey,
    ProfileTagsKey,
    Resource,
    ResourceKey,
    Undecodable,
)
from calico.store.api import KeyValue, Scope, Store, View
from calico.store.resources import decode_item, profiles_in

_CHARACTERS = "can only contain numbers, letters, dots, dashes and underscores"
BAD_PROFILE_NAME = paragraph(
    f"Profile names must be 1 to {MAX_NAME_LENGTH} characters long and {_CHARACTERS};"
    " '.' and '..' are not names."
)
BAD_TAG_NAME = paragraph(
    f"Tags names {_CHARACTERS}, and must be 1 to {MAX_NAME_LENGTH} characters long."
)


def profile_name(text: str) -> ProfileId:
    """Take a word as a profile's name.

    Raises:
        Refused: It is no valid name.
    """
    try:
        return parse_profile_id(text)
    except InvalidResource:
        raise Refused(BAD_PROFILE_NAME) from None


def tag_name(text: str) -> TagName:
    """Take a word as a tag.

    Raises:
        Refused: It is no valid name.
    """
    try:
        return parse_tag_name(text)
    except InvalidResource:
        raise Refused(BAD_TAG_NAME) from None


def scope_of(profile: ProfileId) -> Scope:
    """Return what a change of one profile is decided on."""
    return Scope(prefixes=(profile_prefix(profile),))


def read_profile(store: Store, profile: ProfileId) -> View:
    """Read all keys of a profile.

    Raises:
        Refused: There is no such profile.
        Unavailable: The store cannot be read.
    """
    listing = store.list_prefix(profile_prefix(profile))
    view = View({item.key: item for item in listing.items}, listing.revision)
    require_profile(view, profile)
    return view


def require_profile(view: View, profile: ProfileId) -> None:
    """Make sure that a profile exists.

    Raises:
        Refused: It does not.
    """
    if profile not in profiles_in(view.below(profile_prefix(profile))):
        raise Refused(f"Profile {profile} not found.")


def tags_in(view: View, profile: ProfileId) -> tuple[TagName, ...]:
    """Return a profile's tags in the order they were added.

    Raises:
        Refused: There is no such profile, or its tags cannot be read.
    """
    require_profile(view, profile)
    found = _decoded(view, ProfileTagsKey(profile))
    if isinstance(found, Undecodable):
        mend = (
            f"`calicoctl profile remove {profile} --no-check` and"
            f" `calicoctl profile add {profile}` make it anew"
        )
        raise _unreadable("tags", profile, found, mend)
    return found if isinstance(found, tuple) else ()


def rules_in(view: View, profile: ProfileId) -> ProfileRules:
    """Return a profile's rules; without a rules key there are none.

    Raises:
        Refused: There is no such profile, or its rules cannot be read.
    """
    require_profile(view, profile)
    found = _decoded(view, ProfileRulesKey(profile))
    if isinstance(found, Undecodable):
        mend = f"`calicoctl profile {profile} rule update` replaces them"
        raise _unreadable("rules", profile, found, mend)
    return found if isinstance(found, ProfileRules) else ProfileRules()


def _decoded(view: View, key: ResourceKey) -> Resource | None:
    item = view.get(encode_key(key))
    decoded = None if item is None else decode_item(item)
    return None if decoded is None else decoded[1]


def _unreadable(
    what: str, profile: ProfileId, found: Undecodable, mend: str
) -> Refused:
    return Refused(
        f"The {what} of profile {profile} cannot be read: {found.reason}.",
        f"They are in {found.store_key}; {mend}.",
    )


def tags_carried(items: Iterable[KeyValue]) -> frozenset[TagName]:
    """Return every tag that a profile carries."""
    found: set[TagName] = set()
    for item in items:
        # Only the tags are decoded: rules can be long.
        if item.key.endswith("/tags"):
            decoded = decode_item(item)
            if decoded is not None and isinstance(decoded[1], tuple):
                found.update(decoded[1])
    return frozenset(found)
