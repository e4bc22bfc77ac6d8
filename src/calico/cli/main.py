"""The entry point: find the group, understand the words, carry them out.

The one place of the process that catches everything. Which exit code an error
gets is decided here and nowhere else.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import NoReturn

from calico.cli import output
from calico.cli.exit_codes import (
    DONE,
    FAILED,
    INTERRUPTED,
    UNAVAILABLE,
    UNKNOWN_OUTCOME,
    USAGE,
)
from calico.cli.groups import SUMMARIES, load_group
from calico.cli.parse import HELP, parse_command
from calico.cli.refusal import Refused
from calico.cli.usage import UsageError, nearest
from calico.model.errors import (
    CalicoError,
    OutcomeUnknown,
    RuleSyntaxError,
    Unavailable,
)

_DEBUG = "--debug"


def run() -> NoReturn:
    """Be the process `calicoctl`.

    It ends at once, with nothing left to write: to take the interpreter apart
    first costs as much as reading a profile, and cannot change anything.
    """
    code = main()
    os._exit(code)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line of `calicoctl`.

    Args:
        words: The command line without the program; `None` means the process's.

    Returns:
        The exit code.
    """
    if words is None:
        words = sys.argv[1:]
    before_end = words[: words.index("--")] if "--" in words else words
    try:
        code = _run(words, os.environ)
    except output.ReaderGone:
        # Whoever read our output has read enough.
        code = DONE
    except KeyboardInterrupt:
        output.complain("Aborted command.")
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 -- the top of the process
        if _DEBUG in before_end:
            _print_traceback(error)
        code = _report(error)
    return _flush(code)


def _flush(code: int) -> int:
    """Write what is still in memory, and return the exit code with that done."""
    try:
        output.flush()
    except output.ReaderGone:
        output.drop()
    except output.OutputLost as error:
        output.drop()
        return code or _report(error)
    return code


def _run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    start = 0
    while start < len(words) and words[start] == _DEBUG:
        start += 1
    if start == len(words) or words[start] in HELP:
        from calico.cli.help import top_help  # noqa: PLC0415 -- few ask for it

        output.line(top_help())
        return DONE
    if words[start] not in SUMMARIES:
        raise _unknown_group(words, start)
    return _run_group(words[start:], environ)


def _run_group(words: Sequence[str], environ: Mapping[str, str]) -> int:
    group = load_group(words[0])
    command = parse_command(group, words)
    if command is None:
        from calico.cli.help import group_help  # noqa: PLC0415 -- few ask for it

        output.line(group_help(group))
        return DONE
    from calico.cli.call import Call  # noqa: PLC0415 -- not needed for help

    module, _, function = command.form.run.partition(".")
    run: Callable[[Call], int] = getattr(
        import_module(f"calico.cli.{module}"), function
    )
    call = Call(words, command, environ)
    try:
        return run(call)
    finally:
        call.close()


def _unknown_group(words: Sequence[str], index: int) -> UsageError:
    word = words[index]
    if word == "--version":
        complaint = "the version is `calicoctl version`"
    else:
        near = nearest(word, SUMMARIES)
        hint = f" (did you mean '{near}'?)" if near else ""
        complaint = f"expected a command{hint}"
    return UsageError(words, index, f"{complaint}; there are {', '.join(SUMMARIES)}")


def _print_traceback(error: Exception) -> None:
    import traceback  # noqa: PLC0415 -- takes 10 ms, and only --debug needs it

    output.complain("".join(traceback.format_exception(error)).rstrip())


def _report(error: Exception) -> int:
    """Tell the user about an error and return its exit code."""
    match error:
        case Refused():
            for text in error.lines:
                if text.endswith("\n"):
                    output.complain_paragraph(text.removesuffix("\n"))
                else:
                    output.complain(text)
            return error.exit_code
        case UsageError():
            output.complain(str(error))
            return USAGE
        case CalicoError():
            output.complain(f"calicoctl: {error}")
            return _exit_code(error)
        case _:
            name = type(error).__name__
            output.complain(
                f"calicoctl: internal error: {name}: {error}\n"
                "This is a fault of calicoctl; run the command again with --debug"
                " to see where it happened."
            )
            return FAILED


def _exit_code(error: CalicoError) -> int:
    match error:
        case RuleSyntaxError():
            return USAGE
        case Unavailable():
            return UNAVAILABLE
        case OutcomeUnknown():
            return UNKNOWN_OUTCOME
        case _:
            return FAILED
