"""A shop.toml that was written to edit is replaced until somebody edits it, and an edit is never ignored."""

from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.shop.mapping import Shop
from pipeline.core.shop.written import NAME, is_changed, refuse_ignored, write_to_edit
from pipeline.runtime.resources import RawSources


def test_a_file_that_nobody_edited_is_replaced_and_an_edited_one_stays(tmp_path: Path):
    path, shop = tmp_path / NAME, Shop(layout="caf\u00e9")
    for text in ("# other\n", shop.toml()):
        write_to_edit(path, text)
        assert not is_changed(path)
    assert Shop.of(path) == shop
    edited = path.read_text().replace("caf\u00e9", "mine")
    path.write_text(edited)
    with pytest.raises(InputError, match="not replaced; name another file"):
        write_to_edit(path, shop.toml())
    assert path.read_text() == edited


@pytest.mark.parametrize("how", ["edited", "without its last line", "another's"])
def test_an_edited_file_of_a_home_stops_a_run_that_does_not_name_it(tmp_path: Path, how: str):
    path = tmp_path / NAME
    write_to_edit(path, Shop().toml())
    raw = RawSources(home=str(tmp_path))
    assert raw.shop_layout([], []) is None
    refuse_ignored(tmp_path / "no home")
    kept = path.read_text()
    path.write_text({"edited": kept.replace("own", "mine"), "another's": "layout = 'own'"}.get(how, kept[:-40]))
    with pytest.raises(InputError, match=f"Set ATELIER_SHOP={path} to use it, or delete it"):
        raw.shop_layout([], [])
    assert RawSources(home=str(tmp_path), shop=str(path)).picture_folders() == ()
