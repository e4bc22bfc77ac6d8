"""Pools as JSON."""

from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError

from calico.codec.json_text import Field, Json, optional
from calico.model.errors import InvalidResource
from calico.model.network import Pool
from calico.netset import Network

TUNNEL = "tunl0"
"""The device of the kernel that speaks IP in IP."""

VXLAN_DEVICE = "vxlan.calico"
"""The device of ours that speaks VXLAN."""

_KEYS = ("cidr", "ipip", "vxlan", "masquerade", "ipam", "disabled")


def decode_pool(field: Field, cidr: Network) -> Pool:
    """Read a pool.

    Args:
        field: The pool.
        cidr: The network in its key; the one in the value must be the same.

    Raises:
        InvalidResource: With the path of what cannot be used.
    """
    found = field.fields(_KEYS)
    if "cidr" not in found:
        raise InvalidResource(field.path, "no `cidr`", f'`cidr`: "{cidr}"')
    if found["cidr"].parsed_by(_parse_network) != cidr:
        raise found["cidr"].refuse(f'"{cidr}", as in the key')
    ipip = optional(found.get("ipip"), _decode_ipip) or False
    vxlan = optional(found.get("vxlan"), _decode_vxlan) or False
    if ipip and vxlan:
        raise found["vxlan"].refuse("no `vxlan` beside `ipip`")
    return Pool(
        cidr=cidr,
        ipip=ipip,
        vxlan=vxlan,
        masquerade=optional(found.get("masquerade"), Field.boolean) or False,
        is_for_ipam=optional(found.get("ipam"), Field.boolean) is not False,
        is_disabled=optional(found.get("disabled"), Field.boolean) or False,
    )


def _decode_ipip(field: Field) -> bool:
    field.one_of([TUNNEL])
    return True


def _decode_vxlan(field: Field) -> bool:
    field.one_of([VXLAN_DEVICE])
    return True


def _parse_network(text: str) -> Network:
    make = IPv6Network if ":" in text else IPv4Network
    try:
        return make(text)
    except (AddressValueError, NetmaskValueError, ValueError):
        raise InvalidResource("network", text, "a network without host bits") from None


def encode_pool(pool: Pool) -> Json:
    """Write a pool; what is as usual is left out."""
    fields: dict[str, Json] = {"cidr": str(pool.cidr)}
    if pool.ipip:
        fields["ipip"] = TUNNEL
    if pool.vxlan:
        fields["vxlan"] = VXLAN_DEVICE
    if pool.masquerade:
        fields["masquerade"] = True
    if not pool.is_for_ipam:
        fields["ipam"] = False
    if pool.is_disabled:
        fields["disabled"] = True
    return fields
