"""Print what tells the kernel's packet log of a drop, in front of the drop.

A rule ends where its limit is exceeded, so what logs and what drops are two
rules with the same conditions. The limit is one for each interface and
direction: a flood at one endpoint hides nothing of another's, and nothing of
its own in the other direction.
"""

from calico.ir.drop_name import LOG_GROUP, DropName
from calico.model.rule import Direction
from calico.render.objects import (
    Chain,
    Field,
    LimitEach,
    Log,
    NftRule,
    Ruleset,
    SetSpec,
    Statement,
)
from calico.render.rules import DROP

PER_SECOND = 10
BURST = 20

# Longer than an exhausted limit takes to fill up again.
_FORGOTTEN_AFTER_S = 60

LIMITS = {
    Direction.OUTBOUND: SetSpec(
        "drop-log-out", (Field.IIFNAME,), timeout_s=_FORGOTTEN_AFTER_S
    ),
    Direction.INBOUND: SetSpec(
        "drop-log-in", (Field.OIFNAME,), timeout_s=_FORGOTTEN_AFTER_S
    ),
}
"""The sets that hold the limits, by the direction that is judged."""

_LIMIT_OF = {
    direction: LimitEach(spec.key, spec.name, PER_SECOND, BURST)
    for direction, spec in LIMITS.items()
}


def render_log(name: DropName, *conditions: Statement) -> NftRule:
    """Print the rule that logs what the next one drops."""
    log = Log(name.prefix, LOG_GROUP)
    return NftRule((*conditions, _LIMIT_OF[name.direction], log))


def with_log(drop: NftRule, name: DropName, *, is_logged: bool) -> tuple[NftRule, ...]:
    """Put the rule that logs before one that drops, where drops are logged.

    Args:
        drop: Ends in a counter and the drop.
        name: What the log calls it.
        is_logged: Whether drops are logged here.
    """
    if not is_logged:
        return (drop,)
    *conditions, _, _ = drop.statements
    return render_log(name, *conditions), drop


def render_log_probe() -> Ruleset:
    """Print a chain that no packet sees, with all that a kernel needs for logs."""
    spec = SetSpec("log-probe", (Field.IIFNAME,), timeout_s=_FORGOTTEN_AFTER_S)
    limit = LimitEach(spec.key, spec.name, PER_SECOND, BURST)
    rule = NftRule((limit, Log("calico probe", LOG_GROUP), DROP))
    return Ruleset(
        chains={"log-probe": Chain("log-probe", (rule,))}, sets={spec.name: spec}
    )
