"""`calicoctl ipam`."""

import json

from calico.cli import output
from calico.cli.call import Call
from calico.cli.refusal import Refused
from calico.codec.json_text import Json
from calico.codec.keys import HOST_PREFIX
from calico.codec.rule_parts import parse_address
from calico.ipam.release import read_attributes
from calico.ipam.release import release as release_addresses
from calico.model.endpoint import WorkloadEndpoint
from calico.model.errors import InvalidResource
from calico.netset import Address
from calico.store.resources import decode_item


def release(call: Call) -> int:
    """Give an address back that no endpoint has."""
    address = _address(call)
    _refuse_used(call, address)
    if release_addresses(call.store, [address], call.note()):
        raise Refused("Failed to release address", f"{address} is free already")
    output.line("Address successfully released")
    return 0


def _refuse_used(call: Call, address: Address) -> None:
    """Refuse to release an address that would then have two owners.

    Raises:
        Refused: An endpoint has it.
    """
    for item in call.store.list_prefix(HOST_PREFIX).items:
        _, found = decode_item(item) or (None, None)
        if isinstance(found, WorkloadEndpoint) and address in found.addresses:
            key = found.key
            raise Refused(
                "Failed to release address",
                f"{address} belongs to the workload {key.workload} on host"
                f" {key.host}; there `calicoctl container {key.workload} ip remove"
                f" {address}` takes it away",
            )


def info(call: Call) -> int:
    """Show what is known about an address."""
    address = _address(call)
    known = read_attributes(call.store, address)
    attributes: dict[str, Json] = {} if known is None else dict(known.secondary)
    handle = None if known is None else known.handle

    def text() -> None:
        if known is None:
            output.line(f"IP {address} is not currently assigned")
        elif handle is None and not attributes:
            output.line(f"No attributes defined for {address}")
        else:
            shown = attributes if handle is None else {"handle": handle, **attributes}
            output.line(json.dumps(shown))

    value: Json = {
        "address": str(address),
        "assigned": known is not None,
        "handle": handle,
        "attributes": attributes,
    }
    return call.show(value, [str(address)], text)


def _address(call: Call) -> Address:
    try:
        return parse_address(call.word("IP"))
    except InvalidResource:
        raise Refused("Invalid IP address specified.") from None
