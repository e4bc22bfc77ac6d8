"""`calicoctl profile <PROFILE> tag …`."""

from calico.cli import output
from calico.cli.call import Call
from calico.cli.profiles import (
    profile_name,
    read_profile,
    require_profile,
    scope_of,
    tag_name,
    tags_in,
)
from calico.cli.refusal import Refused
from calico.model.snapshot import ProfileTagsKey
from calico.store.api import Transaction, View
from calico.store.resources import put_resource


def show(call: Call) -> int:
    """Print a profile's tags in the order they were added."""
    profile = profile_name(call.word("PROFILE"))
    tags = tags_in(read_profile(call.store, profile), profile)

    def text() -> None:
        for tag in tags:
            output.line(tag)

    return call.show({"profile": profile, "tags": list(tags)}, tags, text)


def change(call: Call) -> int:
    """Add a tag to a profile or remove it."""
    profile, tag = profile_name(call.word("PROFILE")), call.word("TAG")
    if call.has("add"):
        tag = tag_name(tag)
    note = call.note()

    def decide(view: View) -> tuple[Transaction | None, None]:
        require_profile(view, profile)
        tags = tags_in(view, profile)
        if call.has("add"):
            changed = tags if tag in tags else (*tags, tag_name(tag))
        elif tag in tags:
            changed = tuple(each for each in tags if each != tag)
        else:
            raise Refused(f"Tag {tag} is not on profile {profile}")
        if changed == tags:
            return None, None
        put = put_resource(ProfileTagsKey(profile), changed)
        return Transaction((), (put,), note), None

    call.store.update(scope_of(profile), decide)
    done = "added to" if call.has("add") else "removed from"
    output.line(f"Tag {tag} {done} profile {profile}")
    return 0
