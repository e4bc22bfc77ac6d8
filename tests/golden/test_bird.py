"""What BIRD is told, as recorded and read by people.

`GOLDEN=record` in the environment writes the files anew; read the difference
before committing it.
"""

import os
from pathlib import Path

import pytest
from routing_states import NAMED

from calico.render.bird import render_bird

DIRECTORY = Path(__file__).parent / "bird"
IS_RECORDING = os.environ.get("GOLDEN") == "record"


@pytest.mark.parametrize("name", NAMED)
def test_configuration_is_as_recorded(name: str) -> None:
    text = render_bird(NAMED[name])
    path = DIRECTORY / f"{name}.conf"
    if IS_RECORDING:
        path.write_text(text)
    assert text == path.read_text()


def test_every_file_belongs_to_a_routing() -> None:
    assert {path.stem for path in DIRECTORY.glob("*")} == set(NAMED)
