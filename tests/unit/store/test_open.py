"""Which datastore the settings lead to."""

from collections.abc import Callable
from pathlib import Path

import pytest
from store_contract import put

from calico.model.errors import Unavailable
from calico.settings import Settings
from calico.store.api import Store
from calico.store.open import open_existing_store, open_store


def test_without_etcd_it_is_the_file_in_the_data_directory(tmp_path: Path) -> None:
    directory = tmp_path / "a?b#c%d"
    environ = {"CALICO_DATA_DIR": str(directory), "ETCD_ENDPOINTS": ""}
    store = open_store(Settings.from_environment(environ))
    assert put(store, "/a") == 1
    store.close()
    assert (directory / "calico.db").exists()


@pytest.mark.parametrize("opening", [open_store, open_existing_store])
@pytest.mark.parametrize(
    ("variable", "value"),
    [("ETCD_ENDPOINTS", "http://127.0.0.1:1"), ("ETCD_AUTHORITY", "127.0.0.1:1")],
)
def test_etcd_is_never_replaced_by_a_file(
    tmp_path: Path, variable: str, value: str, opening: Callable[[Settings], Store]
) -> None:
    environ = {"CALICO_DATA_DIR": str(tmp_path), variable: value}
    with pytest.raises(Unavailable) as caught:
        opening(Settings.from_environment(environ))
    assert str(caught.value) == (
        "http://127.0.0.1:1: cannot be connected to: Connection refused; see that"
        " etcd runs there and that the address is right"
    )
    assert list(tmp_path.iterdir()) == []


def test_store_that_is_only_followed_is_not_made(tmp_path: Path) -> None:
    settings = Settings.from_environment({"CALICO_DATA_DIR": str(tmp_path / "data")})
    with pytest.raises(Unavailable, match="does not exist"):
        open_existing_store(settings)
    assert not (tmp_path / "data").exists()
    open_store(settings).close()
    open_existing_store(settings).close()
