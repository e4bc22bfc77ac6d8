"""Find what does not fit in a survey: a function from values to values.

An address that is allocated and that no endpoint has is a leak, or an endpoint
in the making: the address is taken before the endpoint is written. Which of
them, only time tells (`mend`). What the survey cannot tell, because an endpoint
cannot be read, is no leak.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from calico.ipam.blocks import allocated, is_empty
from calico.ipam.survey import Survey
from calico.model.block import Attributes, Block, block_of
from calico.model.names import EndpointKey, HostName
from calico.model.network import Pool
from calico.netset import Address, Network


class Kind(Enum):
    """What does not fit; the value is what people read."""

    DOUBLE = "address of several endpoints"
    UNREADABLE = "block that cannot be read"
    LEAK = "address that no endpoint has"
    OTHER_HANDLE = "address under the handle of another"
    UNCOVERED = "address of an endpoint, not allocated"
    ORPHAN_HANDLE = "handle without addresses"
    WRONG_HANDLE = "handle with wrong counts"
    STRAY_MARK = "mark of affinity without its block"
    MISSING_MARK = "block without its mark of affinity"
    OUTSIDE = "block outside every pool"
    GONE_HOST = "block of a host that is gone"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit.

    Attributes:
        kind: What it is.
        subject: The address, block or handle, as text.
        detail: What was found.
        address: The address, if it is about one.
        network: The block, if it is about one.
        host: The host of the affinity, if it is about one.
        handle: The handle, if there is one.
        attributes: Of the allocation, if it is about one.
        endpoints: The endpoints that have the address.
    """

    kind: Kind
    subject: str
    detail: str
    address: Address | None = None
    network: Network | None = None
    host: HostName | None = None
    handle: str | None = None
    attributes: Attributes | None = None
    endpoints: tuple[EndpointKey, ...] = ()


def check(survey: Survey) -> tuple[Finding, ...]:
    """List what does not fit, by kind and then by subject as found."""
    found = (
        *_doubles(survey),
        *(_unreadable(key, why) for key, why in survey.unreadable.items()),
        *_allocations(survey),
        *_uncovered(survey),
        *_handles(survey),
        *_affinities(survey),
        *_places(survey),
    )
    order = list(Kind)
    return tuple(sorted(found, key=lambda each: order.index(each.kind)))


def show_endpoint(key: EndpointKey) -> str:
    """Name an endpoint to people."""
    return f"{key.workload} on host {key.host}"


def _doubles(survey: Survey) -> Iterator[Finding]:
    for address, keys in survey.users.items():
        if len(keys) > 1:
            names = ", ".join(show_endpoint(key) for key in keys)
            yield Finding(
                Kind.DOUBLE, str(address), names, address=address, endpoints=keys
            )


def _unreadable(key: str, reason: str) -> Finding:
    return Finding(Kind.UNREADABLE, key, reason)


def _allocations(survey: Survey) -> Iterator[Finding]:
    for block in survey.blocks.values():
        for address, known in allocated(block):
            users = survey.users.get(address, ())
            if not users:
                if _is_leak(survey, address, known):
                    yield _leak(survey, address, known)
            elif len(users) == 1 and known.handle is not None:
                yield from _other_handle(survey, address, known, users[0])


def _is_leak(survey: Survey, address: Address, known: Attributes) -> bool:
    is_own = address in survey.of_hosts or known.handle in survey.handles_of_hosts
    if is_own or survey.is_obscured(address):
        return False
    owner = survey.owners.get(known.handle or "")
    # An endpoint that is there and has no such address can be read.
    return owner is None or survey.endpoints[owner].value not in survey.obscure


def _leak(survey: Survey, address: Address, known: Attributes) -> Finding:
    owner = survey.owners.get(known.handle or "")
    if known.handle is None:
        detail = "taken without a handle"
    elif owner is None:
        detail = f"taken under {known.handle}, of which there is no endpoint"
    else:
        detail = f"taken for {show_endpoint(owner)}, whose endpoint has it not"
    if time := known.secondary.get("time"):
        detail += f", at {time}"
    return Finding(
        Kind.LEAK,
        str(address),
        detail,
        address=address,
        network=block_of(address),
        handle=known.handle,
        attributes=known,
    )


def _other_handle(
    survey: Survey, address: Address, known: Attributes, user: EndpointKey
) -> Iterator[Finding]:
    if survey.owners.get(known.handle or "") == user:
        return
    yield Finding(
        Kind.OTHER_HANDLE,
        str(address),
        f"{show_endpoint(user)} has it, and it is taken under {known.handle}",
        address=address,
        network=block_of(address),
        handle=known.handle,
        attributes=known,
        endpoints=(user,),
    )


def _uncovered(survey: Survey) -> Iterator[Finding]:
    unreadable = survey.unreadable
    for address, keys in survey.users.items():
        network = block_of(address)
        block = survey.blocks.get(network)
        if block is None:
            pool = survey.pool_of(address)
            is_covered = not (isinstance(pool, Pool) and pool.is_for_ipam) or any(
                key.endswith(str(network).replace("/", "-")) for key in unreadable
            )
        else:
            is_covered = block.attributes_of(address) is not None
        if not is_covered:
            yield Finding(
                Kind.UNCOVERED,
                str(address),
                f"{show_endpoint(keys[0])} has it",
                address=address,
                network=network,
                endpoints=keys,
            )


def counts_of(survey: Survey) -> dict[str, Counter[Network]]:
    """Count the addresses of each handle by block, as the blocks have them."""
    counts: dict[str, Counter[Network]] = {}
    for network, block in survey.blocks.items():
        for _, known in allocated(block):
            if known.handle is not None:
                counts.setdefault(known.handle, Counter())[network] += 1
    return counts


def _handles(survey: Survey) -> Iterator[Finding]:
    if survey.unreadable:
        # What a block that cannot be read holds is not known.
        return
    counts = counts_of(survey)
    for handle in sorted(survey.handles.keys() | counts.keys()):
        wanted = counts.get(handle, Counter[Network]())
        stored = survey.handles.get(handle)
        if stored is not None and wanted and dict(stored.counts) == dict(wanted):
            continue
        is_orphan = not wanted
        n_found = sum(stored.counts.values()) if stored is not None else 0
        what = "is missing" if handle not in survey.handles else f"counts {n_found}"
        if handle in survey.handles and stored is None:
            what = "cannot be read"
        yield Finding(
            Kind.ORPHAN_HANDLE if is_orphan else Kind.WRONG_HANDLE,
            handle,
            f"{what}; the blocks have {sum(wanted.values())}",
            handle=handle,
        )


def _affinities(survey: Survey) -> Iterator[Finding]:
    for host, network in sorted(survey.marks, key=str):
        block = survey.blocks.get(network)
        if block is None and any(
            key.endswith("/" + str(network).replace("/", "-"))
            for key in survey.unreadable
        ):
            continue
        if block is None or block.affinity != host:
            owner = None if block is None else block.affinity
            detail = "there is no such block"
            if block is not None:
                detail = f"the block is {owner}'s" if owner else "the block is nobody's"
            yield Finding(
                Kind.STRAY_MARK,
                str(network),
                f"marked for host {host}; {detail}",
                network=network,
                host=host,
            )
    for network, block in survey.blocks.items():
        host_of = block.affinity
        if host_of is not None and (host_of, network) not in survey.marks:
            yield Finding(
                Kind.MISSING_MARK,
                str(network),
                f"of host {host_of}",
                network=network,
                host=host_of,
            )


def _places(survey: Survey) -> Iterator[Finding]:
    for network, block in survey.blocks.items():
        n_used = sum(1 for _ in allocated(block))
        detail = f"{n_used} of its addresses are allocated"
        host = block.affinity
        if survey.pool_of(network) is None and (host or is_empty(block)):
            yield _place(Kind.OUTSIDE, block, detail)
        elif host is not None and host not in survey.hosts and not _begins(block, host):
            yield _place(Kind.GONE_HOST, block, f"{host}; {detail}")


def _begins(block: Block, host: HostName) -> bool:
    """Tell whether a host may be at work on its first endpoint."""
    return any(
        known.handle is not None and known.handle.startswith(f"{host}.")
        for _, known in allocated(block)
    )


def _place(kind: Kind, block: Block, detail: str) -> Finding:
    return Finding(
        kind, str(block.cidr), detail, network=block.cidr, host=block.affinity
    )
