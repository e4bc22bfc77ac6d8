"""Workload endpoints as JSON."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from calico.codec.json_text import Field, Json, optional
from calico.model.endpoint import MAX_PROFILES, EndpointState, WorkloadEndpoint
from calico.model.errors import InvalidResource
from calico.model.names import (
    EndpointKey,
    ProfileId,
    parse_interface_name,
    parse_profile_id,
)
from calico.netset import Address, Family

_KEYS = frozenset(
    (
        "state",
        "name",
        "mac",
        "profile_id",
        "profile_ids",
        "labels",
        "ipv4_nets",
        "ipv6_nets",
        "ipv4_nat",
        "ipv6_nat",
        "ipv4_gateway",
        "ipv6_gateway",
    )
)
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}\Z")
_LABEL_KEY = re.compile(r"[A-Za-z0-9_./-]+\Z")
_RARE = tuple((f, f"ipv{f.value}_nat", f"ipv{f.value}_gateway") for f in Family)
_NETS = tuple((f, f"ipv{f.value}_nets") for f in Family)
# Thousands of endpoints list the same few profiles, and share their names then.
_profile_id = lru_cache(maxsize=4096)(parse_profile_id)
_STATES = tuple(each.value for each in EndpointState)
_LENGTHS = {Family.V4: "/32", Family.V6: "/128"}


def decode_endpoint(field: Field, key: EndpointKey) -> WorkloadEndpoint:
    """Read a workload endpoint.

    Raises:
        InvalidResource: With the path of what cannot be used.
    """
    found = field.fields(_KEYS)
    # `null` stands for absent everywhere else, but an endpoint that means to
    # have a MAC and has none must not go unchecked.
    mac = found.get("mac") or field.members().get("mac")
    for family, nat, gateway in _RARE:
        if nat in found and any(found[nat].items()):
            raise found[nat].refuse("no floating IPs: they are not supported")
        if gateway in found:
            _parse_address(found[gateway], found[gateway].text(), family)
    state = _required(found, "state", field)
    return WorkloadEndpoint(
        key=key,
        state=EndpointState(state.one_of(_STATES)),
        interface=_required(found, "name", field).parsed_by(parse_interface_name),
        mac=optional(mac, _decode_mac),
        profile_ids=_decode_profiles(found),
        addresses=tuple(
            address
            for family, nets in _NETS
            for address in _decode_nets(found.get(nets), family)
        ),
        labels=optional(found.get("labels"), decode_labels) or {},
    )


def encode_endpoint(endpoint: WorkloadEndpoint) -> Json:
    """Write a workload endpoint."""
    fields: dict[str, Json] = {
        "state": endpoint.state.value,
        "name": endpoint.interface,
        "mac": endpoint.mac and endpoint.mac.hex(":"),
        "profile_ids": list(endpoint.profile_ids),
        "labels": dict(endpoint.labels),
        "ipv4_nets": _encode_nets(endpoint, Family.V4),
        "ipv6_nets": _encode_nets(endpoint, Family.V6),
    }
    return {key: value for key, value in fields.items() if value is not None}


def replace_profiles(field: Field, profile_ids: Sequence[ProfileId]) -> Json:
    """Write an endpoint as it was read, with another list of profiles.

    Raises:
        InvalidResource: The field is no object.
    """
    kept: dict[str, Json] = {
        name: each.value
        for name, each in field.members().items()
        if name not in {"profile_id", "profile_ids"}
    }
    return {**kept, "profile_ids": list(profile_ids)}


def _encode_nets(endpoint: WorkloadEndpoint, family: Family) -> list[Json]:
    addresses = sorted(int(each) for each in endpoint.addresses_of(family))
    make = IPv4Address if family is Family.V4 else IPv6Address
    return [f"{make(address)}{_LENGTHS[family]}" for address in addresses]


def _required(found: dict[str, Field], name: str, field: Field) -> Field:
    if name not in found:
        raise InvalidResource(field.path, f"no `{name}`", f"an endpoint with `{name}`")
    return found[name]


def _decode_mac(field: Field) -> bytes:
    accepted = "a MAC address such as ee:ee:ee:ee:ee:ee"
    text = field.text(accepted)
    if not _MAC.match(text):
        raise field.refuse(accepted)
    return bytes.fromhex(text.replace(":", "").replace("-", ""))


def _decode_profiles(found: dict[str, Field]) -> tuple[ProfileId, ...]:
    if "profile_ids" in found:
        field = found["profile_ids"]
        profiles = tuple(each.parsed_by(_profile_id) for each in field.items())
        if len(profiles) > MAX_PROFILES:
            raise InvalidResource(
                field.path, f"{len(profiles)} profiles", f"at most {MAX_PROFILES}"
            )
        return profiles
    legacy = found.get("profile_id")
    return () if legacy is None else (legacy.parsed_by(_profile_id),)


def _decode_nets(field: Field | None, family: Family) -> tuple[Address, ...]:
    if field is None or field.value == []:
        return ()
    # Kept once each, in the order written.
    return tuple(dict.fromkeys(_decode_net(each, family) for each in field.items()))


def _decode_net(field: Field, family: Family) -> Address:
    # A network of more than one address would need a route to all of it.
    length = _LENGTHS[family]
    return _parse_address(field, field.text().removesuffix(length), family)


def _parse_address(field: Field, text: str, family: Family) -> Address:
    make = IPv4Address if family is Family.V4 else IPv6Address
    try:
        if "%" not in text:
            return make(text)
    except AddressValueError:
        pass
    length = _LENGTHS[family]
    raise field.refuse(f"an IPv{family.value} address, as a network with {length}")


def decode_labels(field: Field) -> dict[str, str]:
    """Read the labels of an endpoint or a profile.

    Raises:
        InvalidResource: With the path of what cannot be used.
    """
    found = field.members()
    for key in found:
        if not _LABEL_KEY.match(key):
            raise InvalidResource(
                field.path, f"the label {key!r}", "letters, digits and _ . - /"
            )
    return {key: each.text() for key, each in found.items()}
