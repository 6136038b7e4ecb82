"""The order of the runs of one command."""

import dagster as dg
import pytest

from pipeline.core.errors import InputError
from pipeline.home.partitions import image_modes
from pipeline.runtime.plan import WITHOUT_REVIEWS, Segment, names, plan

MODES = image_modes.get_partition_keys()


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    from pipeline.build import build_definitions

    return build_definitions()


def places(segments: list[Segment]) -> dict[tuple[str, str | None], list[int]]:
    """Map (asset, mode) to its position in the plan."""
    found: dict[tuple[str, str | None], list[int]] = {}
    for number, segment in enumerate(segments):
        for key in segment.assets:
            found.setdefault((key.to_user_string(), segment.partition), []).append(number)
    return found


def test_every_asset_is_made_once_and_every_partitioned_one_once_a_mode(definitions):
    graph = definitions.resolve_asset_graph()
    wanted = {
        (key.to_user_string(), mode)
        for key in graph.materializable_asset_keys
        for mode in (MODES if graph.get(key).is_partitioned else [None])
    }
    found = places(plan(definitions))
    assert set(found) == wanted
    assert all(len(where) == 1 for where in found.values())


def test_an_assets_inputs_are_made_before_it(definitions):
    graph, found = definitions.resolve_asset_graph(), places(plan(definitions))
    checked = 0
    for (name, mode), [where] in found.items():
        for parent in graph.get(dg.AssetKey(name)).parent_keys & graph.materializable_asset_keys:
            modes = [None]
            if graph.get(parent).is_partitioned:
                modes = [mode] if mode else MODES
            for other in modes:
                assert found[parent.to_user_string(), other][0] <= where, (parent, name, mode)
                checked += 1
    assert checked > 40


def test_no_run_mixes_partitioned_and_whole_assets(definitions):
    graph = definitions.resolve_asset_graph()
    for segment in plan(definitions):
        assert {graph.get(key).is_partitioned for key in segment.assets} == {segment.partition is not None}


def test_a_selection_includes_every_mode_of_its_assets(definitions):
    segments = plan(definitions, "key:dvbpr")
    assert segments == [Segment((dg.AssetKey("dvbpr"),), mode) for mode in MODES]


def test_only_the_image_modes_that_were_asked_for_are_planned(definitions):
    segments = plan(definitions, "+key:catalogue", modes=["vendor_all", "vendor_single"])
    assert [segment.partition for segment in segments] == [None, "vendor_single", "vendor_all"]
    whole = {segment.partition for segment in plan(definitions, modes=["vendor_customer"])}
    assert whole == {None, "vendor_customer"}


def test_a_selection_keeps_the_order_of_the_graph(definitions):
    found = places(plan(definitions, "key:recommender_comparison or key:image_bank or key:dvbpr"))
    assert [name for name, _ in found] == ["image_bank", "dvbpr", "dvbpr", "dvbpr", "recommender_comparison"]


def test_without_reviews_only_assets_that_need_none_are_planned(definitions):
    made = {name for name, _ in places(plan(definitions, with_reviews=False))}
    assert made == set(WITHOUT_REVIEWS) & set(names(definitions))
    assert {"garments", "lsgan", "generator_evaluation", "generated_garments"} <= made
    assert not made & {"splits", "dvbpr", "personal_designs", "image_bank"}


SHOWN = {"lookbook", "model_cards"}  # read whatever exists


def test_assets_made_without_reviews_read_only_such_assets(definitions):
    graph = definitions.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        if key.to_user_string() in WITHOUT_REVIEWS and key.to_user_string() not in SHOWN:
            parents = graph.get(key).parent_keys & graph.materializable_asset_keys
            assert {parent.to_user_string() for parent in parents} <= set(WITHOUT_REVIEWS), key


@pytest.mark.parametrize("select", ["key:dvbprr", "group:nothing", "key:raw_reviews"])
def test_an_empty_selection_lists_the_assets(definitions, select: str):
    with pytest.raises(InputError) as caught:
        plan(definitions, select)
    assert select in str(caught.value)
    if "selects nothing" in str(caught.value):
        assert "dvbpr" in str(caught.value)


def test_a_selection_with_a_syntax_error_is_refused(definitions):
    with pytest.raises(InputError, match="is not understood"):
        plan(definitions, "key:dvbpr and and")


def test_a_recommenders_asset_without_reviews_selects_nothing(definitions):
    with pytest.raises(InputError, match="selects nothing"):
        plan(definitions, "key:dvbpr", with_reviews=False)


def test_assets_of_one_op_are_selected_together(definitions):
    [segment] = plan(definitions, "key:interactions")
    assert {key.to_user_string() for key in segment.assets} == {"interactions", "users", "items"}
