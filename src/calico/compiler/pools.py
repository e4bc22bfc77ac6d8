"""Compile pools to what leaves with the host's address."""

from collections.abc import Mapping

from calico.ir.state import Translation
from calico.model.network import Pool
from calico.model.snapshot import Undecodable
from calico.netset import AddressSet, Family, Network, family_of


def compile_translation(pools: Mapping[Network, Pool | Undecodable]) -> Translation:
    """Compile the IPv4 pools; IPv6 is never masqueraded.

    A pool whose value cannot be read still counts as a pool: its network is
    known from its key, and masquerading what goes there would hide its sender
    from the inbound policy of another host.
    """
    networks = [cidr for cidr in pools if family_of(cidr) is Family.V4]
    return Translation(
        sources=AddressSet.of(
            Family.V4, (cidr for cidr in networks if _is_masqueraded(pools[cidr]))
        ),
        pools=AddressSet.of(Family.V4, networks),
    )


def _is_masqueraded(pool: Pool | Undecodable) -> bool:
    return isinstance(pool, Pool) and pool.masquerade
