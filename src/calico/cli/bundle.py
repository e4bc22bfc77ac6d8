"""What to attach to a report that kernel and explainer disagree."""

import json
import platform
import shutil
import subprocess
from pathlib import Path

from calico import __version__
from calico.cli import output
from calico.cli.call import Call
from calico.cli.datastore import make_export
from calico.cli.whole_file import write_whole
from calico.codec.export_json import encode_export
from calico.codec.json_text import Json
from calico.model.errors import CalicoError
from calico.store.api import Store

_NFT_WITHIN_S = 60.0


def report_disagreement(call: Call, shown: Json) -> None:
    """Write what a report needs to where `--bundle` says, and say so.

    Args:
        call: The command that has found the disagreement.
        shown: The explanation with its proofs, as the command shows them.

    What cannot be written is told, and the disagreement all the same.
    """
    output.complain(
        "The kernel and the explainer disagree. Unless another program of this host"
        " translates the packet's address or port, this is a fault of Calico."
    )
    path = Path(call.option("--bundle") or "calico-disagreement.json")
    try:
        _write_bundle(path, call.store, shown)
    except CalicoError as error:
        output.complain(str(error))
        return
    output.complain(
        f"{path} holds what is needed to find it: the explanation, the kernel's path,"
        " the datastore and the table."
    )


def _write_bundle(path: Path, store: Store, explanation: Json) -> None:
    """Write the explanation, the datastore and the table, for its owner only.

    Raises:
        Refused: The file cannot be written.
        Unavailable: The datastore cannot be read.
    """
    bundle: dict[str, Json] = {
        "kind": "calico-disagreement",
        "version": 1,
        "calico": __version__,
        "kernel": platform.release(),
        "explanation": explanation,
        "table": _read_table(),
        "datastore": "\n".join(encode_export(make_export(store))),
    }
    write_whole(path, json.dumps(bundle, indent=2).splitlines(), mode=0o600)


def _read_table() -> str:
    """List our table as nft(8) shows it, or say why it cannot."""
    program = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return "nft(8) is not installed"
    words = [program, "-a", "list", "table", "inet", "calico"]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=_NFT_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout or done.stderr
