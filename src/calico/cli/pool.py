"""`calicoctl pool`."""

import platform
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import summarize_address_range
from pathlib import Path

from calico.cli import output
from calico.cli.call import Call
from calico.cli.output import count
from calico.cli.refusal import Refused, paragraph
from calico.codec.json_text import Json
from calico.codec.keys import POOL_PREFIXES, decode_key
from calico.codec.rule_parts import parse_address, parse_cidr
from calico.model.errors import Conflict, InvalidResource
from calico.model.network import Pool
from calico.model.snapshot import PoolKey, SettingKey, Undecodable
from calico.netset import Address, Family, Network, family_of
from calico.store.api import KeyValue, Note, Operation, Scope, Transaction, View
from calico.store.resources import decode_item, delete_resource, put_resource

_LONGEST = {Family.V4: 26, Family.V6: 122}
_IPIP_ENABLED = SettingKey("IpInIpEnabled")
_SCOPE = Scope(prefixes=tuple(POOL_PREFIXES.values()))


def add(call: Call) -> int:
    """Add pools, or give pools that exist other options."""
    networks = [_network(word) for word in call.all_words("CIDRS")]
    _require_usable(networks)
    _require_options(call, networks)
    operations = _operations(call, networks)
    note = call.note()

    def decide(view: View) -> tuple[Transaction | None, None]:
        existing = _cidrs(view.items.values())
        for network in networks:
            # The same network again is a change of its options.
            other = _overlapping(
                network, [each for each in existing if each != network]
            )
            if other is not None:
                raise Refused(
                    f"Cannot add IP pool {network} - pool overlaps with an existing"
                    f" pool {other}"
                )
        return Transaction((), operations, note), None

    call.store.update(_SCOPE, decide)
    return 0


def _require_usable(networks: Sequence[Network]) -> None:
    """Refuse networks that are too small, or that overlap each other."""
    for index, network in enumerate(networks):
        longest = _LONGEST[family_of(network)]
        if network.prefixlen > longest:
            raise Refused(
                f"An {_name(network)} pool must have a prefix length of {longest} or"
                " lower.",
                f"Given: {network}.",
                "No pools added.",
            )
        other = _overlapping(network, networks[:index])
        if other is not None:
            raise Refused(
                f"Cannot add IP pool {network} - pool overlaps with another new pool"
                f" {other}"
            )


def _overlapping(network: Network, others: Sequence[Network]) -> Network | None:
    return next((other for other in others if network.overlaps(other)), None)


def add_range(call: Call) -> int:
    """Add the pools that hold exactly the addresses of a range."""
    start = _address(call.word("START_IP"), "START_IP")
    end = _address(call.word("END_IP"), "END_IP")
    if family_of(start) is not family_of(end):
        raise Refused("START_IP and END_IP must be the same ip version")
    if int(start) >= int(end):
        raise Refused("START_IP must be a smaller ip address than END_IP")
    networks: list[Network] = list(summarize_address_range(start, end))
    longest = _LONGEST[family_of(start)]
    if any(network.prefixlen > longest for network in networks):
        raise Refused(
            f"{_name(start)} ranges are split into pools, with the smallest pool size"
            f" allowed having a prefix length of /{longest}. One or more of the"
            " generated pools is too small (prefix length is too high).",
            f"Range given: {start} - {end}",
            f"Pools: {[str(network) for network in networks]}",
            "No pools added.",
        )
    _require_options(call, networks)
    operations = _operations(call, networks)
    note = call.note()

    def decide(view: View) -> tuple[Transaction | None, None]:
        for existing in _cidrs(view.items.values()):
            if any(existing.overlaps(network) for network in networks):
                raise Refused(
                    f"Cannot add range - range conflicts with pool {existing}"
                )
        return Transaction((), operations, note), None

    call.store.update(_SCOPE, decide)
    return 0


def remove(call: Call) -> int:
    """Remove pools one after the other, with what hosts hold of them."""
    networks = [_network(word) for word in call.all_words("CIDRS")]
    note = call.note()
    for network in networks:
        try:
            _remove(call, network, note)
        except Conflict:
            raise Refused(
                paragraph(
                    "Conflicting modifications have been made to the IPAM configuration"
                    " for this pool.  Please retry the command."
                )
            ) from None
    return 0


def _remove(call: Call, network: Network, note: Note) -> None:
    # Imported late: only this command touches blocks.
    from calico.ipam.release import release_pool  # noqa: PLC0415 -- see above

    key = PoolKey(network)

    def disable(view: View) -> tuple[Transaction | None, None]:
        pools = dict(_pools(view.items.values()))
        if network not in pools:
            raise Refused(f"{network} is not a configured pool.")
        pool = pools[network]
        if isinstance(pool, Undecodable) or pool.is_disabled:
            return None, None
        put = put_resource(key, replace(pool, is_disabled=True))
        return Transaction((), (put,), note), None

    call.store.update(_SCOPE, disable)
    output.line("Disabling IP Pool")
    output.line("Removing IPAM configuration for pool")
    left = release_pool(call.store, network, note)
    call.store.commit(Transaction((), (delete_resource(key),), note))
    output.line("Deleted IP Pool")
    if left.n_addresses:
        output.complain(
            f"{count(left.n_addresses, 'address', 'addresses')} of {network}"
            f" {'stays' if left.n_addresses == 1 else 'stay'} allocated, in"
            f" {count(left.n_blocks, 'block', 'blocks')}: workloads that have"
            " them keep them, with their policy, until they are removed. What belongs"
            " to being in a pool ends now: masquerade (`--nat-outgoing`), and the"
            " routes to other hosts."
        )


def show(call: Call) -> int:
    """Show the pools of one family or of both."""
    families = [
        family
        for family in Family
        if not (call.has_option("--ipv4") or call.has_option("--ipv6"))
        or call.has_option(f"--ipv{family.value}")
    ]
    pools = {
        family: _pools(call.store.list_prefix(POOL_PREFIXES[family]).items)
        for family in families
    }

    def text() -> None:
        for family in families:
            rows = [[str(cidr), _flags(pool)] for cidr, pool in pools[family]]
            output.table([f"IPv{family.value} CIDR", "Options"], rows)

    shown = [pool for family in families for pool in pools[family]]
    return call.show(
        [_value(cidr, pool) for cidr, pool in shown], [str(c) for c, _ in shown], text
    )


def _flags(pool: Pool | Undecodable) -> str:
    if isinstance(pool, Undecodable):
        return "cannot be read"
    flags = {
        "ipip": pool.ipip,
        "vxlan": pool.vxlan,
        "nat-outgoing": pool.masquerade,
        "disabled": pool.is_disabled,
    }
    return ",".join(name for name, is_set in flags.items() if is_set)


def _value(cidr: Network, pool: Pool | Undecodable) -> Json:
    identity: dict[str, Json] = {"cidr": str(cidr), "family": family_of(cidr).value}
    if isinstance(pool, Undecodable):
        return {**identity, "problem": pool.reason}
    return {
        **identity,
        "ipip": pool.ipip,
        "vxlan": pool.vxlan,
        "nat_outgoing": pool.masquerade,
        "ipam": pool.is_for_ipam,
        "disabled": pool.is_disabled,
    }


def _pools(
    items: Iterable[KeyValue],
) -> list[tuple[Network, Pool | Undecodable]]:
    """Decode the pools among some items, sorted as text."""
    found: list[tuple[Network, Pool | Undecodable]] = []
    for item in items:
        decoded = decode_item(item)
        match decoded:
            case (PoolKey(cidr), (Pool() | Undecodable()) as pool):
                found.append((cidr, pool))
            case _:
                pass
    return sorted(found, key=lambda each: str(each[0]))


def _cidrs(items: Iterable[KeyValue]) -> list[Network]:
    keys = (decode_key(item.key) for item in items)
    return [key.cidr for key in keys if isinstance(key, PoolKey)]


def _operations(call: Call, networks: Sequence[Network]) -> tuple[Operation, ...]:
    ipip = call.has_option("--ipip")
    vxlan = call.has_option("--vxlan")
    masquerade = call.has_option("--nat-outgoing")
    puts = tuple(
        put_resource(
            PoolKey(network),
            Pool(network, ipip=ipip, vxlan=vxlan, masquerade=masquerade),
        )
        for network in networks
    )
    return (*puts, put_resource(_IPIP_ENABLED, "true")) if ipip else puts


def _require_options(call: Call, networks: Sequence[Network]) -> None:
    """Refuse options that a network or this kernel does not allow."""
    has_v6 = any(family_of(network) is Family.V6 for network in networks)
    if call.has_option("--ipip"):
        if has_v6:
            raise Refused("IP in IP not supported for IPv6 pools")
        _require_device("ipip", "IP in IP")
    if call.has_option("--vxlan"):
        _require_device("vxlan", "VXLAN")
    if call.has_option("--nat-outgoing") and has_v6:
        raise Refused(
            "--nat-outgoing is not supported for IPv6 pools: IPv6 is not masqueraded.",
            "No pools added.",
        )


def _require_device(module: str, what: str) -> None:
    if not has_device(module, Path("/"), platform.release()):
        raise Refused(
            f"{what} is not possible: this kernel has no {module.upper()} device (no"
            f" module `{module}`).",
            "No pools added.",
        )


_MADE_BY_MODULE = {"ipip": "tunl0"}


def has_device(module: str, root: Path, release: str) -> bool:
    """Report whether the kernel has a kind of tunnel, or can load it.

    Args:
        module: The module that has it, `ipip` or `vxlan`; it may be built in.
        root: The root of the file system.
        release: The release of the running kernel.
    """
    made = _MADE_BY_MODULE.get(module)
    if made is not None and (root / "sys/class/net" / made).exists():
        return True
    if (root / "sys/module" / module).exists():
        return True
    modules = root / "lib/modules" / release
    for name in ("modules.builtin", "modules.dep"):
        try:
            if f"/{module}.ko" in (modules / name).read_text(encoding="utf-8"):
                return True
        except (OSError, UnicodeDecodeError):
            continue
    return False


def _network(word: str) -> Network:
    try:
        return parse_cidr(word).network
    except InvalidResource:
        raise Refused(f"Invalid CIDR specified {word}") from None


def _address(word: str, name: str) -> Address:
    try:
        return parse_address(word)
    except InvalidResource:
        raise Refused(f"Invalid {name} specified.") from None


def _name(value: Address | Network) -> str:
    return f"IPv{value.version}"
