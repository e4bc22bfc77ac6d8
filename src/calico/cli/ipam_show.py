"""`calicoctl ipam show`."""

from collections.abc import Iterator

from calico.cli import output
from calico.cli.call import Call
from calico.cli.output import count
from calico.cli.refusal import Refused
from calico.codec.json_text import Json
from calico.codec.rule_parts import parse_address
from calico.ipam.blocks import allocated
from calico.ipam.check import show_endpoint
from calico.ipam.survey import Survey, read_survey
from calico.model.block import N_BLOCK_ADDRESSES, Attributes, Block, block_of
from calico.model.errors import InvalidResource
from calico.model.network import Pool
from calico.netset import Address, Network

_NO_POOL = "none"


def show(call: Call) -> int:
    """Show how full the pools are, the blocks, or who has an address."""
    given = call.option("--ip")
    address = None if given is None else _parse(given)
    survey = read_survey(call.existing_store)
    if address is not None:
        return _show_address(call, survey, address)
    if call.has_option("--blocks"):
        return _show_blocks(call, survey)
    return _show_pools(call, survey)


def _parse(text: str) -> Address:
    try:
        return parse_address(text)
    except InvalidResource:
        raise Refused("Invalid IP address specified.") from None


def _n_used(block: Block) -> int:
    return sum(1 for _ in allocated(block))


def _show_pools(call: Call, survey: Survey) -> int:
    rows: list[dict[str, Json]] = []
    for cidr, pool in sorted(survey.pools.items(), key=lambda each: str(each[0])):
        within = [b for b in survey.blocks.values() if b.cidr.network_address in cidr]
        used = sum(map(_n_used, within))
        is_disabled = isinstance(pool, Pool) and pool.is_disabled
        rows.append(
            {
                "cidr": str(cidr),
                "size": cidr.num_addresses,
                "used": used,
                "free": cidr.num_addresses - used,
                "blocks": len(within),
                "disabled": is_disabled,
            }
        )
    outside = [b for b in survey.blocks.values() if survey.pool_of(b.cidr) is None]

    def text() -> None:
        output.table(
            ["Pool", "Size", "Used", "Free", "Blocks"],
            [[each[k] for k in ("cidr", "size", "used", "free", "blocks")]
             for each in rows],
        )  # fmt: skip
        if outside:
            output.line(
                "Outside every pool:"
                f" {count(sum(map(_n_used, outside)), 'address', 'addresses')} used, in"
                f" {count(len(outside), 'block', 'blocks')};"
                " `calicoctl ipam show --blocks` shows them."
            )
        for key, reason in survey.unreadable.items():
            output.complain(f"Warning: {key} cannot be read: {reason}")

    return call.show([*rows], [str(each["cidr"]) for each in rows], text)


def _show_blocks(call: Call, survey: Survey) -> int:
    rows = list(_blocks(survey))

    def text() -> None:
        cells = [
            [
                each["cidr"],
                each["pool"] or _NO_POOL,
                each["host"] or "",
                each["used"],
                each["free"],
                each["borrowed"],
            ]
            for each in rows
        ]
        output.table(["Block", "Pool", "Host", "Used", "Free", "Borrowed"], cells)
        for key, reason in survey.unreadable.items():
            output.complain(f"Warning: {key} cannot be read: {reason}")

    return call.show([*rows], [str(each["cidr"]) for each in rows], text)


def _blocks(survey: Survey) -> Iterator[dict[str, Json]]:
    for network, block in survey.blocks.items():
        used = _n_used(block)
        yield {
            "cidr": str(network),
            "pool": _pool_name(survey, network),
            "host": block.affinity,
            "strict": block.is_strict,
            "used": used,
            "free": N_BLOCK_ADDRESSES - used,
            "borrowed": sum(
                _is_borrowed(survey, block, address, known)
                for address, known in allocated(block)
            ),
        }


def _is_borrowed(
    survey: Survey, block: Block, address: Address, known: Attributes
) -> bool:
    """Tell whether a host uses an address of another one's block."""
    users = survey.users.get(address, ())
    owner = survey.owners.get(known.handle or "")
    hosts = {key.host for key in users} or ({owner.host} if owner else set())
    return block.affinity is not None and bool(hosts - {block.affinity})


def _pool_name(survey: Survey, network: Network) -> str | None:
    first = network.network_address
    return next((str(cidr) for cidr in survey.pools if first in cidr), None)


def _show_address(call: Call, survey: Survey, address: Address) -> int:
    network = block_of(address)
    block = survey.blocks.get(network)
    known = None if block is None else block.attributes_of(address)
    users = survey.users.get(address, ())
    host = None if block is None else block.affinity
    value: dict[str, Json] = {
        "address": str(address),
        "allocated": known is not None,
        "handle": None if known is None else known.handle,
        "attributes": {} if known is None else dict(known.secondary),
        "block": None if block is None else str(network),
        "host": host,
        "pool": _pool_name(survey, network),
        "endpoints": [
            {
                "host": key.host,
                "orchestrator": key.orchestrator,
                "workload": key.workload,
                "endpoint": key.endpoint,
            }
            for key in users
        ],
    }

    def text() -> None:
        output.line(
            f"IP {address} is {'allocated' if known is not None else 'not allocated'}"
        )
        if known is not None and known.handle is not None:
            output.line(f"  handle: {known.handle}")
        for name, each in () if known is None else known.secondary.items():
            output.line(f"  {name}: {each}")
        for key in users:
            output.line(f"  endpoint: {key.endpoint} of {show_endpoint(key)}")
        if block is not None:
            owner = f"of host {host}" if host else "of no host"
            output.line(f"  block: {network}, {owner}")
        output.line(f"  pool: {_pool_name(survey, network) or _NO_POOL}")

    return call.show(value, [str(address)], text)
