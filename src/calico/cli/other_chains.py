"""Chains of other programs that can drop our traffic, and how to let it pass."""

from dataclasses import dataclass
from pathlib import Path

from calico.linux.nft_others import OtherChain
from calico.linux.nft_socket import NftSocket
from calico.model.errors import CalicoError

_LEGACY = (Path("/proc/net/ip_tables_names"), Path("/proc/net/ip6_tables_names"))
_IPTABLES = {"ip": "iptables", "ip6": "ip6tables"}
_BUILT_IN = frozenset({"FORWARD", "INPUT"})
_MATCHES = ("-i cali+", "-o cali+")


@dataclass(frozen=True, slots=True)
class Passage:
    """A chain that can drop our traffic, and what would let it pass.

    Attributes:
        chain: The chain.
        commands: To be run by whoever is in charge of it; we touch nothing
            that is not ours.
    """

    chain: OtherChain
    commands: tuple[str, ...]


def read_passages() -> tuple[Passage, ...] | None:
    """Find the chains; `None` when we may not look."""
    try:
        nft = NftSocket.open()
    except OSError:
        return None
    try:
        return tuple(Passage(each, _commands(each)) for each in nft.other_chains())
    except (CalicoError, OSError):
        return None
    finally:
        nft.close()


def iptables_legacy_tables() -> tuple[str, ...]:
    """List the tables of the older iptables, which nf_tables does not show."""
    found: dict[str, None] = {}
    for path in _LEGACY:
        try:
            found.update(dict.fromkeys(path.read_text().split()))
        except OSError:
            continue
    return tuple(found)


def _commands(chain: OtherChain) -> tuple[str, ...]:
    is_forward = chain.point == "forward"
    if chain.family in _IPTABLES and chain.name in _BUILT_IN:
        command = _IPTABLES[chain.family]
        matches = _MATCHES if is_forward else _MATCHES[:1]
        return tuple(f"{command} -I {chain.name} {each} -j ACCEPT" for each in matches)
    where = f"{chain.family} {chain.table} {chain.name}"
    fields = ("iifname", "oifname") if is_forward else ("iifname",)
    return tuple(f"nft insert rule {where} {each} 'cali*' accept" for each in fields)
