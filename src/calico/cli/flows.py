"""`calicoctl flows`."""

from dataclasses import asdict

from calico.cli import output
from calico.cli.call import Call
from calico.codec.json_text import Json
from calico.control.cuts import FILE_NAME, CutFlow, read_cuts


def cut(call: Call) -> int:
    """Show which established flows were cut."""
    log_dir = call.settings.log_dir
    history = read_cuts(log_dir)
    if history.n_unreadable:
        output.complain(
            f"calicoctl: {log_dir / FILE_NAME}: "
            f"{history.n_unreadable} lines cannot be read and are left out"
        )
    cuts = history.cuts

    def print_text() -> None:
        output.table(("Time", "Flow", "Denied by", "Endpoint"), [*map(_row, cuts)])

    shown: list[Json] = [{**asdict(each), "side": each.side.value} for each in cuts]
    return call.show(shown, [each.flow for each in cuts], print_text)


def _row(each: CutFlow) -> tuple[str, str, str, str]:
    return each.at, each.flow, each.rule, f"{each.endpoint} ({each.side.value})"
