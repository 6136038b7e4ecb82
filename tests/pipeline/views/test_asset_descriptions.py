"""What Dagster's UI shows about every asset before it runs: description, owner, group, kinds, columns, settings."""

import dataclasses

import dagster as dg
import pytest

from pipeline.build import build_definitions
from pipeline.core import column_docs
from pipeline.core.errors import InputError
from pipeline.home import environment
from pipeline.home.io_managers import SCHEMAS
from pipeline.settings.launchpad import CONFIGS, help_texts
from pipeline.settings.ops import OPS

GRAPH = build_definitions().resolve_asset_graph()
ASSETS = {node.key.to_user_string(): node for node in GRAPH.asset_nodes}


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_every_asset_has_a_description_an_owner_and_kinds(name: str):
    asset = ASSETS[name]
    assert len(asset.description or "") > 20
    assert [owner for owner in asset.owners if owner.startswith("team:")]
    assert asset.group_name in {"ingest", "images", "dataset", "recommender", "generator", "report"}
    assert asset.kinds


@pytest.mark.parametrize("name", sorted({*SCHEMAS, "triplets"}))
def test_the_columns_of_every_table_are_described_before_it_exists(name: str):
    columns = ASSETS[name].metadata["dagster/column_schema"].columns
    assert columns
    assert [column.name for column in columns if not column.description] == []


def test_every_column_has_a_meaning_and_every_meaning_a_column():
    for name, schema in column_docs.known().items():
        assert set(column_docs.of(name)) == set(schema.names), name
        assert set(column_docs.OF_TABLE.get(name, {})) <= set(schema.names), name
    everywhere = {column for schema in column_docs.known().values() for column in schema.names}
    assert set(column_docs.EVERYWHERE) <= everywhere


@pytest.mark.parametrize("op", sorted(OPS))
def test_the_launchpad_shows_the_help_and_the_default_of_every_field(op: str):
    shown = CONFIGS[op].model_fields
    for settings in OPS[op]:
        texts = help_texts(settings)
        assert list(texts) == [field.name for field in dataclasses.fields(settings)]
        for name, text in texts.items():
            assert text[0] not in " #" and text.endswith("."), f"{settings.__name__}.{name}: write a sentence"
            if name in shown:
                assert shown[name].description.startswith(f"{text} When not set: the profile's value, else ")


def test_every_op_in_dagster_takes_the_settings_that_the_table_lists():
    found = {}
    for asset in ASSETS.values():
        config = asset.assets_def.op.config_schema.config_type
        found[asset.assets_def.op.name] = set(getattr(config, "fields", {}))
    assert {op: fields for op, fields in found.items() if fields} == {
        op: set(config.model_fields) for op, config in CONFIGS.items()
    }


def test_an_owner_that_dagster_does_not_accept_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATELIER_OWNERS", "team:vision, ada")
    with pytest.raises(InputError, match="ATELIER_OWNERS: 'ada' is neither"):
        environment.owners()


def test_a_shop_can_set_its_own_owners(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATELIER_OWNERS", "team:vision, ada@shop.example")
    graph = build_definitions().resolve_asset_graph()
    assert {tuple(graph.get(dg.AssetKey(name)).owners) for name in ("reviews", "lookbook", "raw_reviews")} == {
        ("team:vision", "ada@shop.example")
    }
