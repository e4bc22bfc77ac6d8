"""The last packets that were dropped here, for whoever asks.

They are named when they come in, because what names them changes, and kept in
a ring of fixed size. Whoever waits for the next one is answered when it comes
or when the time is over.
"""

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import assert_never

from calico.agent.drop_names import DropNames, origin_at, place_of, reason_of
from calico.agent.events import Asked, Dropped
from calico.control.drops import Drop, Drops, encode_drops
from calico.ir.drop_name import DropName
from calico.ir.origin import FaultOrigin, Origin, RuleOrigin
from calico.ir.state import LocalEndpoint
from calico.linux.nflog import LoggedPacket
from calico.model.rule import Direction

MAX_KEPT = 1000
MAX_WAITING_S = 3600.0

_SWITCHED_OFF = "the setting DropLog is false"


@dataclass(frozen=True, slots=True)
class _Waiter:
    asked: Asked
    deadline: float


class DropLog:
    """What was dropped, and who waits for more."""

    def __init__(self) -> None:
        self._kept: deque[Drop] = deque(maxlen=MAX_KEPT)
        self._newest = 0
        self._n_lost = 0
        self._waiters: list[_Waiter] = []
        self._deafness = ""
        self._is_on = True

    def note_deaf(self, reason: str) -> None:
        """Take down why the kernel tells us of no drops, whatever the settings."""
        self._deafness = reason

    def note_setting(self, *, is_on: bool) -> None:
        """Take down whether drops are logged."""
        self._is_on = is_on

    def take(self, dropped: Dropped, names: DropNames) -> None:
        """Take in what was dropped."""
        for packet in dropped.packets:
            self._n_lost += packet.n_lost
            name = names.find(packet.prefix)
            if name is None:
                # Of an agent before us whose policy we do not know yet.
                self._n_lost += 1
                continue
            self._newest += 1
            endpoint = names.endpoint_at(_interface_of(packet, name))
            drop = _describe(packet, name, endpoint)
            counted = replace(drop, sequence=self._newest, at=dropped.at)
            self._kept.append(replace(counted, n_lost=self._n_lost))
            self._n_lost = 0

    def take_request(self, asked: Asked) -> None:
        """Remember who asks; `settle` answers."""
        wait_s = min(max(asked.request.timeout_s, 0.0), MAX_WAITING_S)
        self._waiters.append(_Waiter(asked, time.monotonic() + wait_s))

    def settle(self, now: float) -> None:
        """Answer those for whom there is something, or whose time is over."""
        still: list[_Waiter] = []
        for waiter in self._waiters:
            drops = self.since(waiter.asked.request.since)
            if drops or waiter.deadline <= now:
                silence = self._deafness or ("" if self._is_on else _SWITCHED_OFF)
                answer = Drops(self._newest, drops, silence)
                waiter.asked.answer(encode_drops(answer))
            else:
                still.append(waiter)
        self._waiters = still

    def next_due(self) -> float | None:
        """Return when `settle` has something to do even if nothing happens."""
        return min((each.deadline for each in self._waiters), default=None)

    def since(self, number: int) -> tuple[Drop, ...]:
        """List what came after a number; all if we have not come so far yet."""
        known = number if number <= self._newest else 0
        n_new = min(self._newest - max(known, 0), len(self._kept))
        if not n_new:
            return ()
        return tuple(self._kept)[-n_new:]


def _interface_of(packet: LoggedPacket, name: DropName) -> str:
    """Name the interface of the endpoint that was judged."""
    match name.direction:
        case Direction.OUTBOUND:
            return packet.in_interface
        case Direction.INBOUND:
            return packet.out_interface
        case _:
            assert_never(name.direction)


def _describe(
    packet: LoggedPacket, name: DropName, endpoint: LocalEndpoint | None
) -> Drop:
    """Put into words what was dropped; number and time come apart."""
    origin = origin_at(name, endpoint)
    headers = packet.headers
    return Drop(
        sequence=0,
        at="",
        direction=place_of(name.direction, packet.hook).value,
        reason=reason_of(name.origin).value,
        rule="" if origin is None else origin.text,
        profile=_profile_of(origin),
        number=origin.number if isinstance(origin, RuleOrigin) else None,
        interface=_interface_of(packet, name),
        orchestrator="" if endpoint is None else endpoint.key.orchestrator,
        workload="" if endpoint is None else endpoint.key.workload,
        endpoint="" if endpoint is None else endpoint.key.endpoint,
        source=str(headers.source or ""),
        destination=str(headers.destination or ""),
        protocol=headers.protocol,
        source_port=headers.source_port,
        destination_port=headers.destination_port,
        icmp_type=headers.icmp_type,
        icmp_code=headers.icmp_code,
    )


def _profile_of(origin: Origin | None) -> str:
    return origin.profile if isinstance(origin, RuleOrigin | FaultOrigin) else ""
